//! Who sits on the connections of a shard: seats, logins on their way, and looking at everybody anew.
//!
//! Never judges a credential; that is done in `gateway/src/auth.rs`. What a grant means is the hub's.

use std::sync::Arc;

use fanout::{ClientId, GrantEnd};

use super::Shard;
use crate::auth::{Admission, LoginRequest, Review, Seat, Verdict};

/// Seats by the number of their client; as long as nobody presents anything, nothing.
#[derive(Debug, Default)]
pub(super) struct Seats {
    seats: Vec<Option<Box<Seat>>>,
    /// The generation of keys and revocations that everybody was held against last.
    generation: u64,
}

impl Seats {
    /// Puts a seat in the place of the one that was there, which is given back.
    pub(super) fn put(&mut self, id: ClientId, seat: Option<Box<Seat>>) {
        let index = id.0 as usize;
        if seat.is_some() && self.seats.len() <= index {
            self.seats.resize_with(index + 1, || None);
        }
        if let Some(place) = self.seats.get_mut(index) {
            *place = seat;
        }
    }

    fn of(&mut self, id: ClientId) -> Option<&mut Seat> {
        self.seats.get_mut(id.0 as usize)?.as_deref_mut()
    }
}

impl Shard {
    /// Gives a client what it was let in with.
    pub(super) fn admit(&mut self, id: ClientId, admission: Admission) {
        let Admission { grant, seat } = admission;
        if let Some(grant) = grant {
            self.hub.handle_grant(id, grant, self.clock.now());
        }
        self.seats.put(id, seat);
        // Whatever was revoked since it was judged.
        self.review(id);
    }

    /// Hands tokens to the keeper.
    pub(super) fn pass_logins_on(&mut self) {
        while let Some(login) = self.hub.poll_login() {
            let held = self.seats.of(login.client).map(|seat| seat.subject().into());
            let request = LoginRequest { shard: self.settings.index, login, held };
            if let Err(refused) = self.settings.auth.pass_on(request) {
                let reason = auth::Refusal::Busy.to_string();
                self.hub.handle_login(refused.login, Err(&reason), self.clock.now());
            }
        }
    }

    /// Tells a client what became of its login.
    pub(super) fn handle_verdict(&mut self, verdict: Verdict) {
        let Verdict { login, outcome } = verdict;
        let (id, now) = (login.client, self.clock.now());
        match outcome {
            // When the client has gone its seat is given back.
            Ok((grant, seat)) => {
                if self.hub.handle_login(login, Ok(grant), now) {
                    self.seats.put(id, Some(seat));
                    self.review(id);
                }
            }
            Err(refusal) => drop(self.hub.handle_login(login, Err(&refusal.to_string()), now)),
        }
        self.drain_outputs();
    }

    /// Looks at everybody who sits when keys or revocations have changed. Asked at every tick, which costs a look at one number: a
    /// message could find no room just when somebody must be stopped.
    pub(super) fn review_when_due(&mut self) {
        let generation = self.settings.auth.generation();
        if std::mem::replace(&mut self.seats.generation, generation) == generation {
            return;
        }
        for index in 0..self.seats.seats.len() {
            self.review(ClientId(index as u32));
        }
        self.drain_outputs();
    }

    fn review(&mut self, id: ClientId) {
        let auth = Arc::clone(&self.settings.auth);
        let Some(seat) = self.seats.of(id) else { return };
        match auth.review(seat) {
            Review::Holds => {}
            Review::Changed(grant) => self.hub.handle_grant(id, grant, self.clock.now()),
            Review::Ended => self.hub.end_grant(id, GrantEnd::Revoked),
        }
    }
}
