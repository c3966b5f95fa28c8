//! The end of a run: when everything is over, how it ended, and how long the client was behind until then.

use model::Nanos;
use wire::close::CloseCode;

use super::World;
use crate::explain::plan::Window;
use crate::explain::received::{Kind, Received};
use crate::explain::summary::Summary;
use crate::explain::{Answer, Ending, ExplainError, Watch};

/// How long is waited after the last event of the tape and the last stall: for the tape to end, and for the client to receive what
/// is left.
const PATIENCE: Nanos = Nanos::from_secs(3_600);

/// How long the client was behind.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::explain) struct Lag {
    /// When the spell at hand began.
    since: Option<Nanos>,
    pub(in crate::explain) total: Nanos,
    pub(in crate::explain) spells: u64,
    /// Most entries between the client and the head.
    pub(in crate::explain) entries_max: u64,
}

impl World<'_> {
    /// Looks whether the client keeps up, and whether it is being closed.
    pub(super) fn note_lag(&mut self) {
        let report = self.hub.clients(self.clocks()).into_iter().next();
        let mode = report.as_ref().map_or("", |one| one.mode);
        if mode == "closing" {
            self.closing_at.get_or_insert(self.now);
        }
        let is_behind = mode == "lagging";
        self.lag.entries_max = self.lag.entries_max.max(report.map_or(0, |one| one.lag_entries));
        match (is_behind, self.lag.since) {
            (true, None) => {
                self.lag.since = Some(self.now);
                self.lag.spells += 1;
            }
            (false, Some(since)) => {
                self.lag.total = self.lag.total + self.now.since(since);
                self.lag.since = None;
            }
            _ => {}
        }
    }

    /// How it ended, once everything is over.
    pub(super) fn conclude(&mut self) -> Result<Option<Ending>, ExplainError> {
        if self.ending.is_some() {
            return Ok(self.ending.clone());
        }
        if self.feed_due.is_some() {
            return if self.is_hopeless() { Err(ExplainError::Endless) } else { Ok(None) };
        }
        if self.client.is_none() {
            return Err(ExplainError::NeverThere(self.symbol.symbol.clone()));
        }
        let report = self.hub.clients(self.clocks()).into_iter().next();
        let has_all =
            report.is_some_and(|one| one.mode == "live" && one.lag_entries == 0 && one.held_bytes == 0);
        if has_all && self.socket.link.is_empty(self.now) {
            return Ok(Some(Ending::Live));
        }
        Ok(self.is_hopeless().then_some(Ending::Behind))
    }

    pub(super) fn is_hopeless(&self) -> bool {
        let stalls = self.plan.stalls.iter().map(|stall| stall.to).filter(|&to| to < Window::NEVER);
        let since = stalls.max().unwrap_or_default().max(self.survey.span());
        self.now > since + PATIENCE
    }

    /// Tells the end of a connection that had no close frame, and closes the books.
    pub(super) fn finish(mut self, end: Ending, watch: &mut dyn Watch) -> Result<Answer, ExplainError> {
        if let Some(since) = self.lag.since.take() {
            self.lag.total = self.lag.total + self.now.since(since);
        }
        let received = self.socket.link.received_at(0);
        // The main subscription was not refused, so it was acknowledged before anything could end.
        let Some((_, mut reader)) = self.main.take() else {
            return Err(ExplainError::NeverThere(self.symbol.symbol.clone()));
        };
        match end {
            Ending::Closed { told: false, .. } if received < Window::NEVER => {
                let offset = received.max(self.now);
                watch.received(&Received { kind: Kind::End, offset, ..Received::default() });
            }
            Ending::Closed { .. } => {}
            Ending::Live | Ending::Behind => reader.note_silence(self.now),
        }
        let over = self.now.max(Some(received).filter(|&at| at < Window::NEVER).unwrap_or_default());
        Ok(Answer {
            summary: Summary::new(&reader, &self.lag, end, &self.market),
            ages: reader.tally.ages,
            window: (self.connected_at, over),
        })
    }

    /// How the gateway ended the connection; the kernel goes on to send what it holds.
    pub(super) fn closed(&self, whole: bool) -> Ending {
        let closes = self.hub.stats().closes;
        let code = CloseCode::ALL.into_iter().zip(closes).find(|(_, count)| *count > 0).map(|(code, _)| code);
        let code = code.unwrap_or(CloseCode::Normal);
        Ending::Closed {
            code: code.code(),
            offset: self.closing_at.unwrap_or(self.now),
            told: whole && self.socket.link.received_at(0) < Window::NEVER,
        }
    }
}
