//! How a client leaves at the end of a run, so that what it received can be compared with what the gateway says it wrote.
//!
//! Who lags or has paused first reads on. Then the client ends its subscriptions: nothing comes behind the acknowledgements, so
//! everything that was written for it has been read. Owns those steps; what is read on the way is verified as ever.

use super::pace::Pace;
use super::{Client, Env, Stage};
use crate::frame;
use crate::plan::Profile;
use crate::time;
use std::time::{Duration, Instant};

/// How long a client that lags reads on before it ends its subscriptions.
const CATCH_UP: Duration = Duration::from_millis(700);
/// How long the goodbye may take.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);
/// How long the acknowledgements may take.
const END_LIMIT: Duration = Duration::from_secs(8);
const CLOSE_NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

impl Client {
    /// The run ends.
    pub(crate) fn leave(&mut self, env: &mut Env<'_>) {
        if self.stage != Stage::Open {
            self.hang_up(env);
            self.stage = Stage::Gone;
            return;
        }
        self.action_at = None;
        self.read_at = None;
        self.pace = Pace::Free;
        self.may_read = true;
        let now = time::now();
        let Some(verifier) = &mut self.verifier else { return };
        verifier.excuse_silence(now);
        self.stage = Stage::CatchingUp;
        if matches!(self.profile, Profile::Paused { .. }) {
            let request = verifier.pause(false, now);
            self.send(&request, env);
        }
        self.deadline = Some(if self.profile.is_prompt() { env.now } else { env.now + CATCH_UP });
    }

    /// Gives up on a client that does not come to an end.
    pub(crate) fn abandon(&mut self, env: &mut Env<'_>) {
        self.hang_up(env);
        self.stage = Stage::Gone;
    }

    /// The next step out, when the present one is done or has lasted long enough.
    pub(super) fn leave_on(&mut self, env: &mut Env<'_>) {
        match self.stage {
            Stage::CatchingUp => self.end_subscriptions(env),
            Stage::Ending => {
                let is_answered = self.verifier.as_ref().is_some_and(|verifier| verifier.is_answered());
                if is_answered || self.deadline.is_none() {
                    env.desk.tally.quiet_ends += u64::from(is_answered);
                    if let Some(verifier) = &mut self.verifier {
                        verifier.handle_leave(time::now(), &mut env.desk.tally);
                    }
                    self.say_goodbye(env);
                }
            }
            Stage::Closing => self.abandon(env),
            _ => {}
        }
    }

    fn end_subscriptions(&mut self, env: &mut Env<'_>) {
        self.stage = Stage::Ending;
        self.deadline = Some(env.now + END_LIMIT);
        let group = &env.plan.settings.groups[self.group];
        let Some(verifier) = &mut self.verifier else { return };
        match verifier.unsubscribe_all(group, time::now()) {
            Some(request) => self.send(&request, env),
            None => self.leave_on(env),
        }
    }

    fn say_goodbye(&mut self, env: &mut Env<'_>) {
        self.stage = Stage::Closing;
        self.deadline = Some(env.now + GOODBYE_LIMIT);
        if let Some(link) = &mut self.link
            && link.send(frame::CLOSE, &CLOSE_NORMAL).is_err()
        {
            self.abandon(env);
        }
    }
}

/// When a run that ends has to be over, whoever is left.
pub(crate) fn leaving_limit(now: Instant) -> Instant {
    now + CATCH_UP + END_LIMIT + GOODBYE_LIMIT
}
