//! The counts of this moment, and whether they are true.
//!
//! Counts are kept up to date where their causes are, so reading them looks at no client. Counting anew looks at every client and
//! subscription, which takes milliseconds; it is for tests, and for moments at which nothing else waits. Changes no client.

use model::Policy;

use super::Hub;
use crate::client::{Client, Mode, SubState};
use crate::stats::{HubStats, Standing};

/// Clients looked at between two questions whether to go on: some microseconds.
const CLIENTS_PER_STEP: usize = 64;

impl Hub {
    /// The counts of this moment.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        let (log_bytes, log_bytes_max) = self.log.room();
        HubStats {
            ring_bytes: self.ring_bytes as u64,
            ring_bytes_max: self.limits.ring_bytes_total as u64,
            log_bytes,
            log_bytes_max,
            ..self.stats.clone()
        }
    }

    /// Counts anew what stands at this moment, as long as `may_go_on`; none when it had to give up.
    pub fn recount(&self, mut may_go_on: impl FnMut() -> bool) -> Option<Standing> {
        let mut standing = Standing::default();
        for clients in self.clients.chunks(CLIENTS_PER_STEP) {
            if !may_go_on() {
                return None;
            }
            clients.iter().flatten().for_each(|client| self.recount_client(client, &mut standing));
        }
        Some(standing)
    }

    fn recount_client(&self, client: &Client, standing: &mut Standing) {
        standing.clients += 1;
        standing.lagging += u64::from(client.mode == Mode::Lagging);
        for (pending, count) in standing.pending.iter_mut().zip(client.given) {
            *pending += u64::from(count);
        }
        for sub in &client.subs {
            let Some(stream) = self.streams[sub.stream.index()].as_deref() else { continue };
            let channel = stream.key.channel() as usize;
            standing.subscriptions[channel][sub.terms.policy as usize] += 1;
            let has_cursor = client.mode == Mode::Lagging || !sub.is_fed();
            if has_cursor && sub.state == SubState::Active {
                standing.pending[channel] += stream.published - sub.cursor;
            }
        }
    }

    /// Counts anew and compares, as long as `may_go_on`. Says what was found wrong, if anything; none when it had to give up.
    pub fn audit(&mut self, may_go_on: impl FnMut() -> bool) -> Option<Result<(), String>> {
        let counted = self.recount(may_go_on)?;
        self.stats.audits += 1;
        let verdict = self.stats.verdict(&counted);
        self.stats.conservation_breaches += u64::from(verdict.is_err());
        Some(verdict)
    }
}

impl HubStats {
    /// Whether the counts agree with what was counted anew, and the deliveries of each channel add up.
    ///
    /// # Errors
    /// What does not.
    pub fn verdict(&self, counted: &Standing) -> Result<(), String> {
        let kept = self.standing();
        if kept != *counted {
            return Err(format!("kept {kept:?}, counted {counted:?}"));
        }
        for channel in model::Channel::ALL {
            let counts = self.channels[channel as usize];
            if counts.imbalance() != 0 {
                return Err(format!("{} is off by {}: {counts:?}", channel.name(), counts.imbalance()));
            }
        }
        Ok(())
    }

    /// A subscription with such a policy begins.
    pub(crate) const fn subscribed(&mut self, channel: model::Channel, policy: Policy) {
        self.channel(channel).subscriptions[policy as usize] += 1;
    }

    /// A subscription with such a policy ends.
    pub(crate) const fn unsubscribed(&mut self, channel: model::Channel, policy: Policy) {
        self.channel(channel).subscriptions[policy as usize] -= 1;
    }
}
