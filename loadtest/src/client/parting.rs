//! How a connection of a client ends before the run does, and what the client does then.
//!
//! Owns the difference between an end that the client wanted, one that it has deserved, and one that is a violation. Where the run
//! itself ends is in [`super::leaving`].

use super::link::LinkError;
use super::pace::Pace;
use super::{Client, Env, Stage};
use crate::plan::Profile;
use crate::time;
use crate::violation::{Kind, Violation, quote};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a client stays away that lost its connection against its will.
const RETURN_AFTER: Duration = Duration::from_secs(1);
const CLOSE_SLOW_CONSUMER: u16 = 4008;
/// Who did not opt in cannot be given a second snapshot.
const CLOSE_OUT_OF_REACH: u16 = 4009;

/// How a connection ended that we did not end.
pub(super) struct Lost {
    code: Option<u16>,
    reason: String,
}

impl Client {
    /// Drops the connection and means to be back at a moment.
    pub(super) fn come_back(&mut self, env: &mut Env<'_>, at: Instant) {
        env.progress.reconnects.fetch_add(1, Ordering::Relaxed);
        if let Some(link) = &self.link {
            link.reset_at_end();
        }
        self.hang_up(env);
        self.stage = Stage::Waiting;
        self.meant_at = Some(at);
    }

    /// The connection is gone, for whatever reason.
    pub(super) fn hang_up(&mut self, env: &mut Env<'_>) {
        let was_alive =
            matches!(self.stage, Stage::Open | Stage::CatchingUp | Stage::Ending | Stage::Closing);
        if was_alive {
            env.progress.alive.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(mut link) = self.link.take() {
            // It is dropped with the registration, whether it can be withdrawn or not.
            let _ = env.registry.deregister(&mut link.stream);
        }
        if let Some(verifier) = &mut self.verifier {
            verifier.disconnect();
        }
        self.pace = Pace::Free;
        (self.may_read, self.is_read_closed, self.has_begun) = (false, false, false);
        (self.deadline, self.tick_at, self.action_at, self.read_at) = (None, None, None, None);
    }

    /// The link failed: the connection was not made, or is lost.
    pub(super) fn fail(&mut self, error: &LinkError, env: &mut Env<'_>) {
        if matches!(self.stage, Stage::Dialing | Stage::Upgrading) {
            env.progress.failed.fetch_add(1, Ordering::Relaxed);
            push_violation(self.number, env, Kind::ConnectFailed, "a connection", error.to_string());
            self.settle(env);
            self.hang_up(env);
            return self.stay_away(self.was_open, env);
        }
        self.lose(Lost { code: None, reason: error.to_string() }, env);
    }

    /// The server ended the connection.
    pub(super) fn lose(&mut self, lost: Lost, env: &mut Env<'_>) {
        if self.stage != Stage::Closing {
            *env.desk.tally.closes.entry((lost.code, lost.reason.clone())).or_default() += 1;
            let is_out_of_reach = lost.code == Some(CLOSE_OUT_OF_REACH) && !self.group(env.plan).opted_in;
            let is_slow = matches!(lost.code, None | Some(CLOSE_SLOW_CONSUMER));
            let is_own_fault = self.profile.may_lag() && (is_slow || is_out_of_reach);
            if is_own_fault {
                env.progress.closed_slow.fetch_add(1, Ordering::Relaxed);
            } else {
                env.progress.lost.fetch_add(1, Ordering::Relaxed);
                let code = lost.code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
                let got = format!("{code}, reason {:?}", lost.reason);
                push_violation(self.number, env, Kind::Closed, "an open connection", got);
            }
        }
        let comes_back = self.stage == Stage::Open && self.profile != Profile::Fast;
        self.settle(env);
        self.hang_up(env);
        self.stay_away(comes_back, env);
    }

    /// Comes back after a while, or not at all.
    fn stay_away(&mut self, comes_back: bool, env: &Env<'_>) {
        if comes_back && !env.is_leaving {
            self.stage = Stage::Waiting;
            self.meant_at = Some(env.now + RETURN_AFTER);
        } else {
            self.stage = Stage::Gone;
        }
    }
}

impl Lost {
    pub(super) fn from_payload(payload: &[u8]) -> Self {
        match payload {
            [high, low, reason @ ..] => {
                Self { code: Some(u16::from_be_bytes([*high, *low])), reason: quote(reason) }
            }
            _ => Self { code: None, reason: "close frame without code".to_owned() },
        }
    }
}

fn push_violation(client: u32, env: &mut Env<'_>, kind: Kind, expected: &str, got: String) {
    env.desk.tally.violations.push(kind, || Violation {
        kind: kind.name(),
        client: Some(client),
        symbol: String::new(),
        expected: expected.to_owned(),
        got,
        at_us: time::now(),
    });
}
