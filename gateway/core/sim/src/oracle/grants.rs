//! What a client may have, held against what it is sent: nothing begins behind the end of a grant, and every end is told.

use std::mem;

use model::Nanos;

use super::{Key, Oracle, Verdict};
use crate::granting::Granted;

/// Codes of closes for the sake of a grant, which whoever opted in is told of before.
const NOT_ENTITLED: u16 = 4403;
const EXPIRED: u16 = 4410;

impl Oracle {
    /// Whether the grant in force covers a subscription.
    pub(crate) fn may_have(&self, key: Key, depth: usize) -> bool {
        self.granted.as_ref().is_none_or(|granted| granted.covers(key, depth))
    }

    /// Has another grant from now on, when so many bytes are on their way. Returns how many subscriptions it does not cover; each of them
    /// is told, or for the sake of any of them the connection ends.
    pub(crate) fn take_grant(&mut self, granted: Granted, on_its_way: u64, ext: bool) -> usize {
        let held = self.views.iter_mut().filter(|(_, view)| !view.leaving);
        let mut revoked = 0;
        for (_, view) in held.filter(|&(&key, ref view)| !granted.covers(key, view.depth)) {
            revoked += 1;
            // Whoever is told when the notice comes asks nothing about it before.
            (view.leaving, view.revoked_at) = (true, Some(on_its_way));
        }
        if revoked > 0 && !ext {
            self.end_grant(on_its_way);
        }
        self.granted = Some(granted);
        revoked
    }

    /// The whole grant is over, when so many bytes are on their way.
    pub(crate) fn end_grant(&mut self, on_its_way: u64) {
        self.ended_at.get_or_insert(on_its_way);
    }

    /// Whether the whole grant is known to be over.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended_at.is_some()
    }

    /// When the grant in force ends (monotonic).
    pub(crate) fn granted_until(&self) -> Option<Nanos> {
        self.granted.as_ref()?.ends
    }

    /// What is sent of a subscription began before its grant ended.
    pub(super) fn check_granted(&self, key: Key) -> Verdict {
        let is_behind = |end: Option<u64>| end.is_some_and(|end| self.at >= end);
        if is_behind(self.ended_at) {
            return Err("data behind the end of the grant".into());
        }
        match self.views.get(&key) {
            Some(view) if is_behind(view.revoked_at) => Err(format!("data of what was revoked: {key:?}")),
            _ => Ok(()),
        }
    }

    /// A subscription is told to have ended, which was acknowledged before and is not covered.
    pub(super) fn take_revocation(&mut self, key: Key) -> Verdict {
        let view = self.views.remove(&key).ok_or_else(|| format!("revoked, but never had: {key:?}"))?;
        if view.revoked_at.is_none() {
            return Err(format!("revoked although it is granted: {key:?}"));
        }
        if !view.acknowledged {
            return Err(format!("revoked and never acknowledged: {key:?}"));
        }
        self.revoked += 1;
        Ok(())
    }

    /// A close frame came.
    pub(crate) fn take_close(&mut self, code: u16) -> Verdict {
        self.closed = Some(code);
        let told = mem::take(&mut self.told_end);
        if self.ext && (code == NOT_ENTITLED || code == EXPIRED) && !told {
            return Err(format!("closed with {code} without having been told why"));
        }
        Ok(())
    }

    /// At the end everybody has been told what was taken away.
    pub(crate) fn untold(&self) -> Option<String> {
        if self.ended_at.is_some() {
            return Some("its grant has ended and it is still there".into());
        }
        let untold = self.views.iter().find(|(_, view)| view.revoked_at.is_some());
        untold.map(|(key, _)| format!("nobody told it that {key:?} was revoked"))
    }
}
