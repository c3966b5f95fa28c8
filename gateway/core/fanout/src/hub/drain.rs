//! The end of a gateway: its clients are told, then closed one after the other, and asked to come back at different times.
//!
//! Owns who is closed when. That all must be gone by some time is up to the shell, which ends the sockets then.

use model::Nanos;
use wire::close::CloseCode;
use wire::reply::{Notice, NoticeCode};

use super::{ClientId, Hub};

/// Who is closed when.
#[derive(Debug)]
pub(super) struct Drain {
    code: CloseCode,
    begun: Nanos,
    /// Time for all of them.
    window: Nanos,
    /// Clients when it began.
    total: u64,
    /// How many of them were closed.
    closed: u64,
    /// Where the search for the next goes on.
    next: usize,
}

impl Hub {
    /// Closes every connection at once. Who opted in is told before that, and when to come back.
    pub fn close_all(&mut self, code: CloseCode) {
        self.drain = None;
        for index in 0..self.clients.len() {
            self.tell(ClientId(index as u32), code);
            self.say_goodbye(ClientId(index as u32), code);
        }
    }

    /// Tells every client that opted in, then closes them evenly over a window, but none later than `each_max` after the one before
    /// it: a few need no window. Says how long it will take.
    pub fn drain(&mut self, code: CloseCode, window: Nanos, each_max: Nanos, now: Nanos) -> Nanos {
        let total = self.stats.clients;
        let window = window.min(Nanos(each_max.0.saturating_mul(total)));
        for index in 0..self.clients.len() {
            self.tell(ClientId(index as u32), code);
        }
        self.drain = Some(Drain { code, begun: now, window, total, closed: 0, next: 0 });
        self.drain_on(now);
        window
    }

    /// Closes who is due.
    pub(super) fn drain_on(&mut self, now: Nanos) {
        let Some(mut drain) = self.drain.take() else { return };
        let elapsed = now.since(drain.begun);
        let share = u128::from(drain.total) * u128::from(elapsed.0) / u128::from(drain.window.0.max(1));
        let is_over = elapsed >= drain.window;
        while (is_over || u128::from(drain.closed) < share) && drain.next < self.clients.len() {
            // Who has left meanwhile, or is closed already, is no goodbye.
            drain.closed += u64::from(self.say_goodbye(ClientId(drain.next as u32), drain.code));
            drain.next += 1;
        }
        self.drain = Some(drain);
    }

    fn tell(&mut self, id: ClientId, code: CloseCode) {
        let notice = Notice {
            retry_ms: self.retry_ms(id),
            text: Some(code.reason()),
            ..Notice::new(NoticeCode::Closing)
        };
        self.notify(id, &notice);
    }

    /// Closes a client; `false` when there is none, or when it is closed already.
    fn say_goodbye(&mut self, id: ClientId, code: CloseCode) -> bool {
        let closed = |hub: &Self| hub.stats.closes.iter().sum::<u64>();
        let before = closed(self);
        match self.retry_ms(id) {
            Some(retry_ms) => {
                let reason = format!("{}, come back after {retry_ms} ms", code.reason());
                self.close(id, code, &reason);
            }
            None => self.close(id, code, code.reason()),
        }
        closed(self) > before
    }

    /// When a client should come back: clients that came one after the other are spread evenly.
    fn retry_ms(&mut self, id: ClientId) -> Option<u64> {
        /// 2^64 divided by the golden ratio: its multiples fill the range without gaps that stay.
        const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
        let max_ms = u128::from(self.limits.reconnect_max.0 / Nanos::MILLI.0);
        let client = self.client(id)?;
        let share = u128::from(client.connection_id.wrapping_mul(SPREAD));
        (max_ms > 0).then(|| ((share * max_ms) >> 64) as u64)
    }
}
