//! What operators ask about clients and streams, and what they order. Reads everything, so it is for people and not for loops.

use model::{Channel, Nanos, Policy, StreamId, StreamKey};
use wire::close::CloseCode;
use wire::reply::Terms;
use wire::request::Delivery;

use super::{Hub, Now};
use crate::client::{Client, ClientId, Mode, SubState};

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientReport {
    /// Its number within the shard.
    pub id: ClientId,
    /// Its number on the wire.
    pub connection_id: u64,
    /// Whether it opted in to the superset.
    pub ext: bool,
    /// How long it is connected.
    pub connected_for: Nanos,
    /// Name of its tier.
    pub tier: Box<str>,
    /// Who it is; empty when it presented nothing.
    pub subject: Box<str>,
    /// `live`, `lagging`, `closing`.
    pub mode: &'static str,
    /// Since when it lags, or zero; as an age.
    pub lagging_for: Nanos,
    /// Age of its oldest unsent entry; at least that, when the oldest is gone.
    pub lag_age: Nanos,
    /// Entries not sent yet.
    pub lag_entries: u64,
    /// Policy of the subscription that lacks most; of the first when none lacks anything.
    pub policy: Option<Policy>,
    /// Bytes that its socket took since it connected.
    pub written_bytes: u64,
    /// Entries dropped for it since it connected.
    pub dropped: u64,
    /// Bandwidth limit; 0 is none.
    pub bytes_per_s: u64,
    /// Bytes held for it: the rest of a frame and unread answers.
    pub held_bytes: usize,
    /// Subscriptions.
    pub subscriptions: usize,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionReport {
    /// Of what.
    pub stream: StreamKey,
    /// Symbol, or empty.
    pub symbol: String,
    /// `subscribing`, `active`, `unsynced`, `resyncing`.
    pub state: &'static str,
    /// Terms in force.
    pub terms: Terms,
    /// Whether it is paused.
    pub paused: bool,
    /// Sequence at its cursor; of a client that keeps up, the head's.
    pub seq: u64,
    /// Entries not sent yet.
    pub lag_entries: u64,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Which.
    pub stream: StreamKey,
    /// Symbol, or empty.
    pub symbol: String,
    /// Subscriptions.
    pub subscribers: usize,
    /// Entries since the shard joined it.
    pub published: u64,
    /// Entries in its ring.
    pub ring_entries: u64,
    /// Sequence of its newest entry.
    pub seq: u64,
}

impl Hub {
    /// Every client, in no order.
    #[must_use]
    pub fn clients(&self, now: Now) -> Vec<ClientReport> {
        let ids = (0..self.clients.len() as u32).map(ClientId);
        ids.filter_map(|id| Some(self.report(id, self.clients[id.index()].as_ref()?, now))).collect()
    }

    fn report(&self, id: ClientId, client: &Client, now: Now) -> ClientReport {
        let mut report = ClientReport {
            id,
            connection_id: client.connection_id,
            ext: client.ext,
            connected_for: now.mono.since(client.connected),
            tier: self.tiers[usize::from(client.tier)].name.clone(),
            subject: client.grant().map_or_else(Box::default, |grant| grant.subject.clone()),
            mode: match client.mode {
                Mode::Live => "live",
                Mode::Lagging => "lagging",
                Mode::Closing(_) | Mode::Closed => "closing",
            },
            lagging_for: client.lagging_since().map_or(Nanos(0), |since| now.mono.since(since)),
            lag_age: Nanos(0),
            lag_entries: client.given.map(u64::from).iter().sum(),
            policy: client.subs.first().map(|sub| sub.terms.policy),
            written_bytes: client.written_bytes,
            dropped: client.rare.as_ref().map_or(0, |rare| rare.dropped),
            bytes_per_s: client.rate().map_or(0, |rate| rate.bytes_per_s),
            held_bytes: client.out.len(),
            subscriptions: client.subs.len(),
        };
        let mut most = 0;
        for sub in client.subs.iter().filter(|sub| sub.state == SubState::Active) {
            if client.mode != Mode::Lagging && sub.is_fed() {
                continue;
            }
            if let Some(stream) = self.streams[sub.stream.index()].as_deref() {
                let lacks = stream.published - sub.cursor;
                report.lag_entries += lacks;
                if lacks > most {
                    (most, report.policy) = (lacks, Some(sub.terms.policy));
                }
                // Of entries that are gone all that is known is that they are older than those that are there.
                let known = sub.cursor.max(stream.oldest() - 1);
                report.lag_age = report.lag_age.max(stream.lag_age(known, now.wall));
            }
        }
        report
    }

    /// The subscriptions of one client; none when it has gone.
    #[must_use]
    pub fn subscriptions(&self, connection_id: u64) -> Option<Vec<SubscriptionReport>> {
        let client = self.clients.iter().flatten().find(|client| client.connection_id == connection_id)?;
        let report = |sub: &crate::client::Sub| {
            let stream = self.streams.get(sub.stream.index())?.as_deref()?;
            let has_cursor = client.mode == Mode::Lagging || !sub.is_fed();
            let state = match sub.state {
                SubState::Subscribing => "subscribing",
                SubState::Active => "active",
                SubState::Unsynced => "unsynced",
                SubState::Resyncing => "resyncing",
            };
            Some(SubscriptionReport {
                stream: stream.key,
                symbol: self.symbol(stream.key).to_owned(),
                state,
                terms: sub.terms,
                paused: sub.paused,
                seq: if has_cursor { sub.cursor_seq.0 } else { stream.head.0 },
                lag_entries: if has_cursor { stream.published - sub.cursor } else { 0 },
            })
        };
        Some(client.subs.iter().filter_map(report).collect())
    }

    /// Every stream that somebody subscribes to or that is kept for who comes back.
    pub fn streams(&self) -> impl Iterator<Item = StreamReport> {
        self.streams.iter().flatten().filter(|stream| stream.active).map(|stream| StreamReport {
            stream: stream.key,
            symbol: self.symbol(stream.key).to_owned(),
            subscribers: stream.readers().count(),
            published: stream.published,
            ring_entries: stream.published + 1 - stream.oldest(),
            seq: stream.head.0,
        })
    }

    /// An operator closes a client; `false` when it has gone.
    pub fn kick(&mut self, connection_id: u64) -> bool {
        let Some(id) = self.find(connection_id) else { return false };
        self.close(id, CloseCode::PolicyViolation, "closed by an operator");
        true
    }

    /// An operator sets the policy of a client's subscriptions to one channel; says how many were changed, or which
    /// policies are allowed.
    ///
    /// # Errors
    /// When the policy is not allowed on the channel.
    pub fn order_policy(
        &mut self,
        connection_id: u64,
        channel: Channel,
        policy: Policy,
        now: Now,
    ) -> Result<Option<usize>, String> {
        let Some(id) = self.find(connection_id) else { return Ok(None) };
        let streams: Vec<StreamId> = match self.client(id) {
            Some(client) => client.subs.iter().map(|sub| sub.stream).collect(),
            None => Vec::new(),
        };
        let asked = Delivery { policy: Some(policy), ..Delivery::default() };
        let mut changed = 0;
        for (index, stream) in streams.into_iter().enumerate() {
            if StreamKey::from(stream).channel() == channel {
                self.set_terms(id, index as u32, &asked, now)?;
                changed += 1;
            }
        }
        Ok(Some(changed))
    }

    /// An operator puts a client into a tier; `false` when it has gone.
    ///
    /// # Errors
    /// The names of the tiers, when there is none of that name.
    pub fn order_tier(&mut self, connection_id: u64, name: &str, now: Now) -> Result<bool, String> {
        let Some(tier) = self.tiers.iter().position(|tier| &*tier.name == name) else {
            let names: Vec<&str> = self.tiers.iter().map(|tier| &*tier.name).collect();
            return Err(names.join(", "));
        };
        let Some(id) = self.find(connection_id) else { return Ok(false) };
        self.set_tier(id, tier as u8, now);
        Ok(true)
    }

    fn find(&self, connection_id: u64) -> Option<ClientId> {
        let is_it =
            |client: &Option<Client>| client.as_ref().is_some_and(|one| one.connection_id == connection_id);
        self.clients.iter().position(is_it).map(|index| ClientId(index as u32))
    }
}
