//! Changes of how a client is served while it is connected: terms, pauses, bandwidth, and the limits of a lag.

use model::{Nanos, Policy, StreamKey};
use wire::close::CloseCode;
use wire::reply::{Refusal, Terms};
use wire::request::Delivery;

use super::{Hub, Now};
use crate::client::{ClientId, SubState};
use crate::planted::{self, Bug};
use crate::terms::{Rate, TierBounds};

impl Hub {
    /// Sets new terms of a subscription and says which are in force.
    ///
    /// # Errors
    /// The answer, when the policy is not allowed.
    pub(super) fn set_terms(
        &mut self,
        id: ClientId,
        index: u32,
        asked: &Delivery,
        now: Now,
    ) -> Result<(StreamKey, Terms), String> {
        let Some(sub) = self.client(id).map(|client| client.subs[index as usize]) else {
            return Err(Refusal::NotFound.to_string());
        };
        let key = StreamKey::from(sub.stream);
        let terms = self
            .tier(id)
            .change(key.channel(), &sub.terms, asked)
            .map_err(|policies| Refusal::Policy(&policies).to_string());
        self.stats.policies_refused += u64::from(terms.is_err());
        let terms = terms?;
        self.change_serving(id, index, now.mono, |sub| sub.terms = terms);
        Ok((key, terms))
    }

    /// Pauses a subscription or lets it go on; says which stream it is.
    pub(super) fn set_paused(
        &mut self,
        id: ClientId,
        index: u32,
        paused: bool,
        now: Now,
    ) -> Option<StreamKey> {
        self.change_serving(id, index, now.mono, |sub| sub.paused = paused);
        let client = self.client(id)?;
        client.has_due = true;
        let key = client.subs[index as usize].stream.into();
        self.make_dirty(id);
        Some(key)
    }

    /// Changes a subscription that may move between the fed and the held: a live client lags for a moment, because only then everybody
    /// has a cursor.
    fn change_serving(
        &mut self,
        id: ClientId,
        index: u32,
        now: Nanos,
        change: impl FnOnce(&mut crate::client::Sub),
    ) {
        self.lag_live(id);
        let Some(client) = self.client(id) else { return };
        let sub = client.subs[index as usize];
        if sub.state == SubState::Active {
            self.remove_subscriber(id, index, sub.stream);
        }
        let Some(client) = self.client(id) else { return };
        let one = &mut client.subs[index as usize];
        change(one);
        let policy = one.terms.policy;
        let channel = StreamKey::from(sub.stream).channel();
        self.stats.unsubscribed(channel, sub.terms.policy);
        self.stats.subscribed(channel, policy);
        if sub.state == SubState::Active {
            self.add_subscriber(id, index, sub.stream);
        }
        self.arm(id, index, now);
        self.make_dirty(id);
    }

    /// What the operator allows a client.
    pub(super) fn tier(&mut self, id: ClientId) -> &TierBounds {
        let tier = self.client(id).map_or(0, |client| client.tier);
        &self.tiers[usize::from(tier)]
    }

    /// Puts a client into a tier: what it has is brought inside the new bounds or ends, and otherwise a client that opted in is told nothing of it
    /// but sees it in the next answer to `configure`.
    pub(super) fn set_tier(&mut self, id: ClientId, tier: u8, now: Now) {
        assert!(usize::from(tier) < self.tiers.len(), "tiers are named by the settings");
        let Some(client) = self.client(id) else { return };
        let before = std::mem::replace(&mut client.tier, tier);
        let asked_rate = client.rate().map_or(0, |rate| rate.asked);
        let count = client.subs.len() as u32;
        self.stats.tiers[usize::from(before)] -= 1;
        self.stats.tiers[usize::from(tier)] += 1;
        for index in 0..count {
            let Some(sub) = self.client(id).map(|client| client.subs[index as usize]) else { return };
            let terms = self.tier(id).bound(StreamKey::from(sub.stream).channel(), &sub.terms);
            if terms != sub.terms {
                self.change_serving(id, index, now.mono, |sub| sub.terms = terms);
            }
        }
        self.set_rate(id, asked_rate, now);
        self.enforce(id, now);
    }

    /// Limits the bandwidth of a connection; 0 asks for none. Says what is granted.
    pub(super) fn set_rate(&mut self, id: ClientId, bytes_per_s: u64, now: Now) -> u64 {
        let granted = match (bytes_per_s, self.tier(id).bytes_per_s_max) {
            (0, max) => max,
            (asked, 0) => asked,
            (asked, max) => asked.min(max),
        };
        if let Some(client) = self.client(id) {
            let rate = (granted > 0).then(|| Rate::new(granted, bytes_per_s, now.mono));
            if rate.is_some() || client.rare.is_some() {
                client.rare().rate = rate;
            }
        }
        self.make_dirty(id);
        granted
    }

    /// Looks how far a lagging client is behind: counts it, and closes it when its policy says so. What it paused does not count.
    pub(super) fn check_lag(&mut self, id: ClientId, wall: Nanos) {
        let Some(client) = self.clients.get(id.index()).and_then(Option::as_ref) else { return };
        let (mut entries, mut age, mut over) = (0, Nanos(0), false);
        for sub in client.subs.iter().filter(|sub| sub.state == SubState::Active && !sub.paused) {
            let Some(stream) = self.streams.get(sub.stream.index()).and_then(Option::as_deref) else {
                continue;
            };
            let lacks = stream.published - sub.cursor;
            if lacks == 0 {
                continue;
            }
            entries += lacks;
            // Of entries that are gone all that is known is that they are older than those that are there.
            let known = sub.cursor.max(stream.oldest() - 1);
            age = age.max(stream.lag_age(known, wall));
            over |= sub.terms.policy == Policy::Disconnect
                && (lacks > u64::from(sub.terms.max_lag_entries)
                    || planted::is(Bug::DisconnectHasty)
                    || stream.lag_age(sub.cursor, wall) > sub.terms.max_lag());
        }
        self.stats.lag_entries.observe(entries);
        self.stats.lag_age.observe(age.0);
        if over {
            self.close(id, CloseCode::SlowConsumer, "lag limit of the disconnect policy");
        }
    }
}
