//! When the shard itself is the slow one: everybody is brought on in rounds.
//!
//! With more news than can be written, each client would fall behind at a place of its own, and the merge that brings it back would be
//! for it alone: that costs more than what it replaces, and the shard would stay behind. So, once many began to lag because their turn
//! did not come, all lag together: news only moves heads, and each round brings all from one place to the next, so that one merge
//! does for all readers of a stream. It ends when a round begins and no news waits. What a client is sent and told is what it would be
//! if it were slow itself.

use super::Hub;
use crate::client::{ClientId, Mode, SubState};

/// It is an overrun when a share of the clients lagged for want of their turn: one of so many.
const SHARE: usize = 8;

impl Hub {
    /// Whether the shard is overrun. The caller then takes all the news it can within a moment, and visits everybody before it takes more.
    #[must_use]
    pub const fn is_overrun(&self) -> bool {
        self.overrun
    }

    /// Clients that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.dirty.len()
    }

    /// No news waits: an overrun is over, and who lags for it is brought on.
    pub fn handle_calm(&mut self) {
        if !std::mem::take(&mut self.overrun) {
            return;
        }
        self.late = 0;
        for index in 0..self.clients.len() {
            if self.clients[index].as_ref().is_some_and(|client| client.mode == Mode::Lagging) {
                self.make_dirty(ClientId(index as u32));
            }
        }
    }

    /// A client begins to lag although its socket would have taken what it lacks.
    pub(super) fn note_late(&mut self) {
        self.late += 1;
        if !self.overrun && self.late >= self.limits.overrun_clients.max(self.stats.clients as usize / SHARE)
        {
            self.overrun = true;
            self.stats.overruns += 1;
        }
    }

    /// Lets a client that was sent everything wait for the next round, instead of giving it each frame.
    pub(super) fn join_rounds(&mut self, id: ClientId) {
        let end = self.log.end();
        let Some(client) = self.client(id) else { return };
        let is_free = client.mode == Mode::Live
            && client.rate().is_none()
            && !client.blocked
            && client.ranges.is_empty();
        if is_free && self.stays_in_rounds(id) {
            self.lag_told(id, end);
        }
    }

    /// Whether a client needs nothing but merges: a snapshot is only given to who keeps up.
    pub(super) fn stays_in_rounds(&self, id: ClientId) -> bool {
        let Some(client) = self.clients[id.index()].as_ref() else { return false };
        self.overrun && client.subs.iter().all(|sub| sub.state == SubState::Active)
    }
}
