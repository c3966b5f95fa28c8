//! Seats: the connections of each subject, counted, and the rate of requests that they share.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::auth::Identity;
use fanout::RequestRate;
use parking_lot::Mutex;

/// What a subject may take, by its tier.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Requests per second; 0 is no limit.
    pub(super) requests_per_s: u32,
    /// Connections; none is no limit.
    pub(super) connections_max: Option<u32>,
}

/// What the connections of one subject share.
#[derive(Debug, Default)]
struct Subject {
    connections: u32,
    requests: Option<Arc<RequestRate>>,
    requests_per_s: u32,
}

/// Everybody who sits. A lock, because it is touched only when a connection begins or ends.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<BTreeMap<Box<str>, Subject>>);

impl Seats {
    /// Counts one more connection of a subject, and gives the rate that it shares with the others; `None` when it has enough.
    pub(super) fn take(&self, subject: &str, share: Share) -> Option<Option<Arc<RequestRate>>> {
        let mut subjects = self.0.lock();
        let Share { requests_per_s, connections_max } = share;
        let one = subjects.entry(subject.into()).or_default();
        // The most is above 0: who is refused has other seats, for which the entry is there.
        if connections_max.is_some_and(|most| one.connections >= most) {
            return None;
        }
        one.connections += 1;
        if one.requests_per_s != requests_per_s {
            one.requests = (requests_per_s > 0).then(|| Arc::new(RequestRate::new(requests_per_s)));
            one.requests_per_s = requests_per_s;
        }
        Some(one.requests.clone())
    }

    fn leave(&self, subject: &str) {
        let mut subjects = self.0.lock();
        if let Some(one) = subjects.get_mut(subject) {
            one.connections -= 1;
            if one.connections == 0 {
                subjects.remove(subject);
            }
        }
    }
}

/// The place of one connection; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    identity: Identity,
    generation: u64,
    requests: Option<Arc<RequestRate>>,
    seats: Arc<Seats>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.leave(&self.identity.subject);
    }
}

impl Seat {
    /// The seat that was taken before.
    pub(super) const fn new(
        identity: Identity,
        generation: u64,
        requests: Option<Arc<RequestRate>>,
        seats: Arc<Seats>,
    ) -> Self {
        Self { identity, generation, requests, seats }
    }

    pub(super) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Who sits here.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.identity.subject
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn requests(&self) -> Option<Arc<RequestRate>> {
        self.requests.clone()
    }

    /// It was looked at again, with this outcome. What its subject shares stays as it was when it sat down.
    pub(super) fn renew(&mut self, identity: Option<Identity>, generation: u64) {
        if let Some(identity) = identity {
            assert_eq!(identity.subject, self.identity.subject, "a seat is counted for one subject");
            self.identity = identity;
        }
        self.generation = generation;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sit(seats: &Arc<Seats>, subject: &str, most: u32) -> Option<Seat> {
        let requests =
            seats.take(subject, Share { requests_per_s: 5, connections_max: (most > 0).then_some(most) })?;
        let identity = Identity {
            subject: subject.into(),
            tier: None,
            narrowing: Default::default(),
            expires_s: None,
            proof: ::auth::Proof::ApiKey([0; 32]),
        };
        Some(Seat::new(identity, 1, requests, Arc::clone(seats)))
    }

    #[test]
    fn a_subject_has_so_many_seats_and_gets_them_back() {
        let seats = Arc::<Seats>::default();
        let first = sit(&seats, "alice", 2).unwrap();
        let second = sit(&seats, "alice", 2).unwrap();
        assert!(sit(&seats, "alice", 2).is_none());
        assert!(sit(&seats, "bob", 2).is_some(), "others are others");
        assert!(sit(&seats, "alice", 0).is_some(), "0 is no limit");
        assert!(Arc::ptr_eq(&first.requests().unwrap(), &second.requests().unwrap()));
        drop(first);
        let third = sit(&seats, "alice", 2);
        assert!(third.is_some());
        drop((second, third));
        assert!(seats.0.lock().is_empty(), "who has gone leaves nothing behind");
    }
}
