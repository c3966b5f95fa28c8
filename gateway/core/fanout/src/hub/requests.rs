//! What clients ask: subscribe, unsubscribe, ping; logins are in `grants.rs`. Every answer is queued before what it announces.

use model::{InstrumentId, Nanos, StreamId, StreamKey};
use wire::close::CloseCode;
use wire::reply::{self, Failure, Refusal, Stamp};
use wire::request::{self, ChannelParams, Method, Params, ReqId, Target};

use super::{Hub, Now};
use crate::bucket::Allowance;
use crate::client::{Client, ClientId, Mode, Sub, SubState};
use crate::planted::{self, Bug};
use crate::stream::{Stream, SubRef, Waiter};

/// What a request is answered with, whatever comes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) method: &'static str,
    req_id: Option<ReqId>,
    now: Now,
}

impl Asked {
    /// The stamp of an answer that took a while.
    pub(super) const fn answered_at(&self, now: Now) -> Stamp {
        Stamp { time_in: self.now.wall, time_out: now.wall, req_id: self.req_id }
    }

    const fn stamp(&self) -> Stamp {
        Stamp { time_in: self.now.wall, time_out: self.now.wall, req_id: self.req_id }
    }
}

impl Hub {
    /// Takes one whole message of a client; it is parsed in place.
    pub fn handle_message(&mut self, id: ClientId, payload: &mut [u8], now: Now) {
        if self.client(id).is_none_or(|client| matches!(client.mode, Mode::Closing(_) | Mode::Closed)) {
            return;
        }
        self.stats.requests += 1;
        let refusals = self.refusals;
        if self.is_within_rate(id, now) {
            self.handle_request(id, payload, now);
        }
        self.close_flooders();
        // A request counts once, however many of its symbols are refused.
        self.stats.requests_refused += u64::from(self.refusals > refusals);
    }

    /// Counts one message of a client, whatever it is; `false` when the client is or was closed, and need not be read further.
    pub fn is_heard(&mut self, id: ClientId, now: Now) -> bool {
        let allowance = self.limits.messages;
        let Some(client) = self.client(id) else { return false };
        if matches!(client.mode, Mode::Closing(_) | Mode::Closed) {
            return false;
        }
        if client.messages.take(allowance, now.mono) == 0 {
            return true;
        }
        self.stats.message_floods += 1;
        let Allowance { per_s, burst } = allowance;
        self.close(
            id,
            CloseCode::PolicyViolation,
            &format!("more than {per_s} messages a second, {burst} at once"),
        );
        false
    }

    /// Counts a request. One too many is answered with the venue's error; who goes on like that is closed.
    fn is_within_rate(&mut self, id: ClientId, now: Now) -> bool {
        let allowance = self.limits.requests;
        let Some(client) = self.client(id) else { return false };
        let owed = client.requests.take(allowance, now.mono);
        if owed == 0 {
            return true;
        }
        self.refusals += 1;
        self.stats.requests_limited += 1;
        if owed > allowance.burst {
            let per_s = allowance.per_s;
            self.close(id, CloseCode::PolicyViolation, &format!("more than {per_s} requests a second"));
        } else {
            // Which request it was is not known: it was not read.
            let failure = Failure { text: &Refusal::Rate.to_string(), method: None, symbol: None };
            let stamp = Stamp { time_in: now.wall, time_out: now.wall, req_id: None };
            self.answer(id, |out| reply::error(&failure, stamp, out));
        }
        false
    }

    fn handle_request(&mut self, id: ClientId, payload: &mut [u8], now: Now) {
        let request = match request::decode_within(payload, &self.limits.request) {
            Ok(request) => request,
            Err(error) => {
                self.refusals += 1;
                self.stats.count_request_limit(&error.kind);
                let stamp = Stamp { time_in: now.wall, time_out: now.wall, req_id: None };
                return self.answer(id, |out| reply::request_error(&error, stamp, out));
            }
        };
        let asked = Asked { method: request.method.name(), req_id: request.req_id, now };
        if !self.may_ask(id, now) {
            return self.refuse(id, asked, &Refusal::Rate.to_string(), None);
        }
        match request.method {
            Method::Ping => self.answer(id, |out| reply::pong(asked.stamp(), out)),
            Method::Subscribe(params) => {
                if params.superset {
                    self.opt_in(id);
                }
                if let Some(bytes_per_s) = params.max_bytes_per_s {
                    self.set_rate(id, bytes_per_s, now);
                }
                self.for_each_stream(id, params.channel, &params.symbols, asked, |hub, key| {
                    hub.subscribe(id, key, &params, asked)
                });
            }
            Method::Unsubscribe(params) => {
                self.for_each_stream(id, params.channel, &params.symbols, asked, |hub, key| {
                    hub.unsubscribe(id, key, asked)
                });
            }
            Method::Configure(configure) => self.configure(id, &configure, asked),
            Method::Pause(target) => self.pause(id, &target, true, asked),
            Method::Resume(target) => self.pause(id, &target, false, asked),
            Method::Login(token) => self.login(id, token, asked),
        }
    }

    /// A client that uses the superset is told what only it can understand.
    pub(super) fn opt_in(&mut self, id: ClientId) {
        if let Some(client) = self.client(id) {
            client.ext = true;
        }
    }

    /// Sets how existing subscriptions, or the connection, are served from now on.
    fn configure(&mut self, id: ClientId, configure: &request::Configure, asked: Asked) {
        self.opt_in(id);
        if let Some(bytes_per_s) = configure.max_bytes_per_s {
            let granted = self.set_rate(id, bytes_per_s, asked.now);
            self.answer(id, |out| reply::configured_connection(granted, asked.stamp(), out));
        }
        let Target::Some(channel, symbols) = &configure.target else {
            if configure.max_bytes_per_s.is_none() {
                self.refuse(
                    id,
                    asked,
                    "Malformed request: name params.channel and symbol, or max_bytes_per_s",
                    None,
                );
            }
            return;
        };
        self.for_each_stream(id, *channel, symbols, asked, |hub, key| {
            let index = hub.find_subscription(id, key)?;
            let (key, terms) = hub.set_terms(id, index, &configure.delivery, asked.now)?;
            let symbol = hub.symbol(key).to_owned();
            hub.answer(id, |out| reply::configured(key, &symbol, &terms, asked.stamp(), out));
            Ok(())
        });
    }

    fn pause(&mut self, id: ClientId, target: &Target, paused: bool, asked: Asked) {
        self.opt_in(id);
        match target {
            Target::All => {
                let count = self.client(id).map_or(0, |client| client.subs.len());
                for index in 0..count as u32 {
                    self.set_paused(id, index, paused, asked.now);
                }
                self.answer(id, |out| reply::paused_all(count, paused, asked.stamp(), out));
            }
            Target::Some(channel, symbols) => {
                self.for_each_stream(id, *channel, symbols, asked, |hub, key| {
                    let index = hub.find_subscription(id, key)?;
                    let key = hub.set_paused(id, index, paused, asked.now).unwrap_or(key);
                    let symbol = hub.symbol(key).to_owned();
                    hub.answer(id, |out| reply::paused(key, &symbol, paused, asked.stamp(), out));
                    Ok(())
                });
            }
        }
    }

    fn find_subscription(&mut self, id: ClientId, key: StreamKey) -> Result<u32, String> {
        let position = self.client(id).and_then(|client| {
            client.subs.iter().position(|sub| is_same_subscription(sub.stream.into(), key))
        });
        position.map(|position| position as u32).ok_or_else(|| Refusal::NotFound.to_string())
    }

    /// Runs an action for the stream of every symbol; what fails is answered and does not stop the others.
    fn for_each_stream(
        &mut self,
        id: ClientId,
        channel: ChannelParams,
        symbols: &[Box<str>],
        asked: Asked,
        mut action: impl FnMut(&mut Self, StreamKey) -> Result<(), String>,
    ) {
        if symbols.is_empty() {
            let result = channel.stream_key(InstrumentId(0)).map_err(|refusal| refusal.to_string());
            if let Err(text) = result.and_then(|key| action(self, key)) {
                self.refuse(id, asked, &text, None);
            }
        }
        for symbol in symbols {
            let key = match self.table.id(symbol) {
                Some(instrument) => channel.stream_key(instrument),
                None => Err(Refusal::UnknownSymbol(symbol)),
            };
            let result = key.map_err(|refusal| refusal.to_string()).and_then(|key| action(self, key));
            if let Err(text) = result {
                self.refuse(id, asked, &text, Some(symbol));
            }
        }
    }

    pub(super) fn refuse(&mut self, id: ClientId, asked: Asked, text: &str, symbol: Option<&str>) {
        self.refusals += 1;
        let failure = Failure { text, method: Some(asked.method), symbol };
        self.answer(id, |out| reply::error(&failure, asked.stamp(), out));
    }

    /// Adds a subscription that waits for the engine; acknowledgement and snapshot come with its answer.
    fn subscribe(
        &mut self,
        id: ClientId,
        key: StreamKey,
        params: &Params,
        asked: Asked,
    ) -> Result<(), String> {
        let (subscriptions_max, tight) = (self.limits.subscriptions_max, self.tight);
        let terms = self.tier(id).grant(key.channel(), &params.delivery);
        let resume = params.resume.as_ref().and_then(|resume| resume.point(self.symbol(key)));
        let Some(client) = self.client(id) else { return Ok(()) };
        if client.subs.iter().any(|sub| is_same_subscription(sub.stream.into(), key)) {
            return Err(Refusal::AlreadySubscribed.to_string());
        }
        if tight {
            self.stats.tight_refused += 1;
            return Err("Memory is short here, try again later".to_owned());
        }
        self.entitle(id, key)?;
        let Some(client) = self.client(id) else { return Ok(()) };
        if client.subs.len() >= subscriptions_max {
            self.stats.subscriptions_refused += 1;
            return Err(format!("Subscription limit of {subscriptions_max} per connection reached"));
        }
        let terms = match terms {
            Ok(terms) => terms,
            Err(policies) => {
                self.stats.policies_refused += 1;
                return Err(Refusal::Policy(&policies).to_string());
            }
        };
        let sub = client.subs.len() as u32;
        if client.subs.len() == client.subs.capacity() {
            // Most clients have one or a few for as long as they are there: no room on stock.
            client.subs.reserve_exact(1 + client.subs.len() / 2);
        }
        client.subs.push(Sub {
            stream: key.id(),
            slot: 0,
            state: SubState::Subscribing,
            terms,
            paused: false,
            told_stale: false,
            due: asked.now.mono,
            snapshot: params.snapshot(),
            snapshot_end: 0,
            cursor: 0,
            cursor_seq: Default::default(),
            cursor_epoch: Default::default(),
        });
        self.stats.subscribed(key.channel(), terms.policy);
        let asked = crate::stream::Asked { req_id: asked.req_id, time_in: asked.now.wall, resume };
        self.ask(key.id(), Waiter { reader: SubRef { client: id, sub }, asked: Some(asked) });
        Ok(())
    }

    fn unsubscribe(&mut self, id: ClientId, key: StreamKey, asked: Asked) -> Result<(), String> {
        let Some(client) = self.client(id) else { return Ok(()) };
        let position = client.subs.iter().position(|sub| is_same_subscription(sub.stream.into(), key));
        let Some(position) = position else { return Err(Refusal::NotFound.to_string()) };
        let sub = client.subs[position];
        self.acknowledge_before_end(id, position, asked.now);
        // What was fanned out to it comes before the acknowledgement, nothing after it.
        self.hand_over_ranges(id);
        self.discard_pending(id, position);
        self.drop_subscription(id, position, asked.now.mono);
        let symbol = self.symbol(sub.stream.into()).to_owned();
        self.answer(id, |out| reply::unsubscribed(sub.stream.into(), &symbol, asked.stamp(), out));
        Ok(())
    }

    /// A subscription that ends before the engine answered is acknowledged all the same: each request has its answer.
    pub(super) fn acknowledge_before_end(&mut self, id: ClientId, position: usize, now: Now) {
        let Some(sub) = self.client(id).map(|client| client.subs[position]) else { return };
        let waiting = &self.stream(sub.stream).waiting;
        let mine = waiting.iter().find(|waiter| waiter.reader == SubRef { client: id, sub: position as u32 });
        let Some(first) = mine.and_then(|waiter| waiter.asked) else { return };
        let stamp = Stamp { time_in: first.time_in, time_out: now.wall, req_id: first.req_id };
        let symbol = self.symbol(sub.stream.into()).to_owned();
        let made = reply::Subscribed {
            stream: sub.stream.into(),
            symbol: &symbol,
            snapshot: sub.snapshot,
            ext: None,
        };
        self.answer(id, |out| reply::subscribed(&made, stamp, out));
    }

    /// Moves the pending ranges of a live client in front of its next answer.
    pub(super) fn hand_over_ranges(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(id.index()).and_then(Option::as_mut) else { return };
        if client.mode != Mode::Live || client.ranges.is_empty() {
            return;
        }
        let bytes: u64 = client.ranges.iter().map(|range| range.end - range.start).sum();
        // Half of the room stays for answers: data that was handed over must not end the connection as a flood of them.
        let room = (self.limits.control_bytes_max / 2).saturating_sub(client.out.len());
        if !self.log.holds(client.ranges[0].start) || bytes > room as u64 {
            // Too much to be kept as bytes: it is merged when its turn comes.
            let written_to = client.ranges[0].start;
            return self.lag(id, written_to);
        }
        for range in client.ranges.drain(..) {
            client.out.extend_from_slice(self.log.read(range.start, range.end));
        }
        self.stats.write_given(&mut client.given);
    }

    /// Counts what a lagging client's subscription will not be sent any more.
    pub(super) fn discard_pending(&mut self, id: ClientId, position: usize) {
        let Some(client) = self.client(id) else { return };
        let sub = client.subs[position];
        let has_cursor = client.mode == Mode::Lagging || !sub.is_fed();
        if has_cursor && sub.state == SubState::Active {
            let stream = self.stream(sub.stream);
            let (channel, pending) = (stream.key.channel(), stream.published - sub.cursor);
            let counts = self.count(channel);
            counts.pending -= pending;
            counts.discarded += if planted::is(Bug::DiscardUncounted) { 0 } else { pending };
        }
    }

    pub(super) fn drop_subscription(&mut self, id: ClientId, position: usize, now: Nanos) {
        let Some(client) = self.client(id) else { return };
        let sub = client.subs[position];
        if sub.state == SubState::Active {
            self.remove_subscriber(id, position as u32, sub.stream);
        } else {
            let waiter = SubRef { client: id, sub: position as u32 };
            self.stream(sub.stream).waiting.retain(|one| one.reader != waiter);
        }
        self.note_idle(sub.stream, now);
        let Some(client) = self.client(id) else { return };
        client.subs.swap_remove(position);
        self.stats.unsubscribed(StreamKey::from(sub.stream).channel(), sub.terms.policy);
        let Some(client) = self.client(id) else { return };
        let old = client.subs.len() as u32;
        if let Some(moved) = client.subs.get(position).copied() {
            self.renumber(SubRef { client: id, sub: old }, position as u32, &moved);
        }
    }

    /// Tells a stream that one of its subscriptions has another index in its client now.
    fn renumber(&mut self, old: SubRef, sub: u32, moved: &Sub) {
        let stream = self.stream(moved.stream);
        if moved.state == SubState::Active {
            let place = if moved.is_fed() { &mut stream.subscribers } else { &mut stream.held };
            place[moved.slot as usize].sub = sub;
        }
        for waiter in stream.waiting.iter_mut().filter(|waiter| waiter.reader == old) {
            waiter.reader.sub = sub;
        }
    }

    /// Takes a subscription out of the readers of its stream in one step; the last one moves into its place.
    pub(super) fn remove_subscriber(&mut self, id: ClientId, sub: u32, stream: StreamId) {
        let Some((client, stream)) = self.client_and_stream(id, stream) else { return };
        let one = &client.subs[sub as usize];
        let slot = one.slot as usize;
        let place = if one.is_fed() { &mut stream.subscribers } else { &mut stream.held };
        assert_eq!(place[slot], SubRef { client: id, sub }, "a subscription knows its place");
        place.swap_remove(slot);
        if let Some(&moved) = place.get(slot)
            && let Some(other) = self.client(moved.client)
        {
            other.subs[moved.sub as usize].slot = slot as u32;
        }
    }

    /// Puts a subscription among those that are fed or those that are held, as its terms say.
    pub(super) fn add_subscriber(&mut self, id: ClientId, sub: u32, stream: StreamId) {
        let Some((client, stream)) = self.client_and_stream(id, stream) else { return };
        let one = &mut client.subs[sub as usize];
        let place = if one.is_fed() { &mut stream.subscribers } else { &mut stream.held };
        one.slot = place.len() as u32;
        place.push(SubRef { client: id, sub });
        stream.idle_since = None;
        let id = stream.key.id();
        self.idle.remove(&id);
    }

    /// Ends all subscriptions of a client and counts what it was not sent.
    pub(super) fn discard_subscriptions(&mut self, id: ClientId) {
        let Some(client) = self.client(id) else { return };
        client.ranges = Vec::new();
        let given = std::mem::take(&mut client.given);
        for (channel, count) in self.stats.channels.iter_mut().zip(given.map(u64::from)) {
            channel.discarded += count;
            channel.pending -= count;
        }
        let now = self.client(id).map_or(Nanos(0), |client| client.last_sent);
        while let Some(last) = self.client(id).and_then(|client| client.subs.len().checked_sub(1)) {
            self.discard_pending(id, last);
            self.drop_subscription(id, last, now);
        }
    }

    pub(super) fn client_and_stream(
        &mut self,
        id: ClientId,
        stream: StreamId,
    ) -> Option<(&mut Client, &mut Stream)> {
        let client = self.clients.get_mut(id.index())?.as_mut()?;
        let stream = self.streams.get_mut(stream.index())?.as_deref_mut()?;
        Some((client, stream))
    }
}

/// Whether two streams are one subscription: the variant does not count, but a candle interval does.
const fn is_same_subscription(a: StreamKey, b: StreamKey) -> bool {
    match (a, b) {
        (StreamKey::Book(a, _), StreamKey::Book(b, _))
        | (StreamKey::Ticker(a, _), StreamKey::Ticker(b, _))
        | (StreamKey::Trade(a), StreamKey::Trade(b)) => a.0 == b.0,
        (StreamKey::Ohlc(a, i), StreamKey::Ohlc(b, j)) => a.0 == b.0 && i == j,
        (StreamKey::Instruments, StreamKey::Instruments) => true,
        _ => false,
    }
}
