//! A world without a seed: somebody outside decides what happens, act by act, and what was decided is all that happens.
//!
//! Made for a fuzzer, which finds out by trial which acts lead to code that was not reached before. The acts are finer than the steps
//! of a seeded world: time stands still between them, the engine answers when an act says so, each socket takes what it is
//! told to take. The oracle is the same, and is asked after every act.

use fanout::{ClientId, FrameSpan, Item, Join, Limits, TierBounds};
use model::{Channel, Epoch, InstrumentId, Nanos, Policy, Sequence, StreamKey};
use wire::close::CloseCode;
use wire::ws::{Opcode, header_len, write_header};

use super::checks::STALLED;
use super::{Report, Violation, World, fold};
use crate::client::{KERNEL_BYTES, Sent, Sockets, Temper};
use crate::rng::{CHOICES, Rng};
use crate::scenario::Scenario;

/// Most clients at once.
const CLIENTS_MAX: usize = 8;

/// Something that happens in a driven world. Whom it happens to and how is up to the choices that come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A few events of the venue.
    Happen,
    /// An event whose line is lost, doubled or garbled.
    Mishap,
    /// The gateway reads what the venue told, and the venue what it was asked.
    ReadFeed,
    /// The connection to the venue breaks and comes back, perhaps in another epoch.
    Reconnect,
    /// The shard takes what the engine published.
    Deliver,
    /// The same, but the entries in it are given up first, as when a lane is full.
    GiveUp,
    /// So much of other streams goes through the byte log that what is in it is overwritten.
    Fill,
    /// The frames in the lane become long.
    Lengthen,
    /// The engine answers one question of the shard.
    AnswerOne,
    /// The engine answers all questions.
    AnswerAll,
    /// The shard writes a few dirty clients.
    Sweep,
    /// The shard writes all of them.
    SweepAll,
    /// Time passes.
    Wait,
    /// The shard looks at what is due, as it does twenty times a second.
    Tick,
    /// The shard looks at its timers only.
    Timers,
    /// Somebody connects.
    Connect,
    /// A connection ends; where it stood is remembered.
    CutOff,
    /// A connection breaks, and the next write finds out.
    Break,
    /// A client reads a few bytes.
    Read,
    /// A client reads everything.
    ReadAll,
    /// The kernel holds another number of bytes for a client.
    Resize,
    /// A socket is said to take bytes, whether it does or not.
    Writable,
    /// Subscriptions.
    Subscribe,
    /// The end of a subscription.
    Unsubscribe,
    /// The end of a subscription, and the same again at once.
    ChangeMind,
    /// Other terms, a pause, the end of a pause, a bandwidth.
    Configure,
    /// A plain client opts in.
    OptIn,
    /// Somebody who was cut off goes on from where it stood.
    Resume,
    /// A request that is refused.
    Lie,
    /// What is no request.
    Noise,
    /// A ping.
    Ping,
    /// A client says goodbye.
    Goodbye,
    /// A client breaks the protocol.
    Violate,
    /// An operator sets a policy.
    OrderPolicy,
    /// An operator moves a client to another tier.
    OrderTier,
    /// An operator closes a client.
    Kick,
    /// The gateway closes all clients.
    CloseAll,
    /// Somebody looks at all reports.
    Report,
}

impl Act {
    /// All of them.
    pub const ALL: [Self; 38] = [
        Self::Happen,
        Self::Mishap,
        Self::ReadFeed,
        Self::Reconnect,
        Self::Deliver,
        Self::GiveUp,
        Self::Fill,
        Self::Lengthen,
        Self::AnswerOne,
        Self::AnswerAll,
        Self::Sweep,
        Self::SweepAll,
        Self::Wait,
        Self::Tick,
        Self::Timers,
        Self::Connect,
        Self::CutOff,
        Self::Break,
        Self::Read,
        Self::ReadAll,
        Self::Resize,
        Self::Writable,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::ChangeMind,
        Self::Configure,
        Self::OptIn,
        Self::Resume,
        Self::Lie,
        Self::Noise,
        Self::Ping,
        Self::Goodbye,
        Self::Violate,
        Self::OrderPolicy,
        Self::OrderTier,
        Self::Kick,
        Self::CloseAll,
        Self::Report,
    ];
}

impl World {
    /// A world with these limits and numbers, in which all instruments are announced and nothing happens by itself.
    #[must_use]
    pub fn driven(choices: [u8; CHOICES]) -> Self {
        let mut rng = Rng::given(choices);
        let scenario = Scenario {
            name: "driven",
            steps: 0,
            symbols: 1 + rng.below(4) as usize,
            clients: CLIENTS_MAX,
            ring_entries: rng.among(&[2, 4, 8, 16, 40]),
            ..Scenario::calm_feed()
        };
        let limits = Limits {
            log_bytes: 1 << 20,
            ring_entries: scenario.ring_entries,
            ring_bytes: 65_536,
            ring_bytes_total: 65_536,
            ranges_max: rng.among(&[2, 6, 256]),
            overrun_clients: 2,
            write_bytes_max: rng.among(&[4_096, 32_768]),
            bulky_bytes: rng.among(&[1_000, 100_000]),
            deep_asks_max: 1,
            resyncs_max: 2,
            control_bytes_max: 16_384,
            subscriptions_max: rng.among(&[4_000, 4_000, 4_000, 3]),
            stall_max: Nanos::from_secs(rng.among(&[1_000, 2])),
            linger: Nanos::from_millis(300),
            ..Limits::default()
        };
        let mut world = Self::build(rng, scenario, limits, tiers());
        // Requests are for announced instruments from the beginning.
        world.step = 100;
        world.take_feed();
        world.hand_over();
        world.driven = true;
        world
    }

    /// Lets something happen, and then asks the oracle. The choices say to whom and how; messages are shown as their clients read
    /// them.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn act(
        &mut self,
        act: Act,
        choices: [u8; CHOICES],
        watch: &mut dyn FnMut(Sent<'_>),
    ) -> Result<(), Violation> {
        self.rng = Rng::given(choices);
        let verdict = self.perform(act, watch).and_then(|()| self.check_act());
        verdict.map_err(|what| self.violation(what))
    }

    /// Lets the world calm down until everybody has everything.
    ///
    /// # Errors
    /// What was found wrong.
    pub fn end(mut self, watch: &mut dyn FnMut(Sent<'_>)) -> Result<Report, Violation> {
        self.rng = Rng::new(0);
        self.leave_nobody_stuck();
        match self.live(watch) {
            Ok(()) => Ok(self.report),
            Err(what) => Err(self.violation(what)),
        }
    }

    fn violation(&self, what: String) -> Violation {
        Violation { step: self.step, what, trace: self.report.trace }
    }

    fn check_act(&mut self) -> Result<(), String> {
        let (now, stall_max) = (self.now().mono, self.limits.stall_max);
        for client in self.clients.iter_mut() {
            if client.refused_since.is_some_and(|since| now.since(since) > stall_max) {
                client.closings.extend([STALLED]);
            }
        }
        self.check_counts()?;
        self.check_held_bytes()?;
        self.wrong.take().map_or(Ok(()), Err)
    }

    fn perform(&mut self, act: Act, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        match act {
            Act::Happen => self.happen(),
            Act::Mishap => self.mishap(),
            Act::ReadFeed => self.take_feed(),
            Act::Reconnect => self.reconnect(),
            Act::Deliver => self.hand_over(),
            Act::GiveUp => self.give_up(),
            Act::Fill => self.fill(),
            Act::Lengthen => self.lengthen(),
            Act::AnswerOne => self.answer(1),
            Act::AnswerAll => self.answer(usize::MAX),
            Act::Sweep => self.sweep_some(),
            Act::SweepAll => while self.sweep_once(64) > 0 {},
            Act::Wait => self.step += self.rng.among(&[1, 2, 5, 10, 40, 300, 7_000]),
            Act::Tick => self.tick(),
            Act::Timers => self.hub.handle_timers(self.now().mono),
            Act::Connect if self.clients.len() < CLIENTS_MAX => self.connect_client(),
            Act::Connect => {}
            Act::CutOff => self.cut_somebody_off(),
            Act::Read | Act::ReadAll => return self.let_somebody_read(act == Act::ReadAll, watch),
            Act::Break | Act::Resize | Act::Writable => self.touch_socket(act),
            Act::Goodbye | Act::Violate | Act::Kick | Act::CloseAll => self.close_somebody(act),
            Act::OrderPolicy => self.order_policy(),
            Act::OrderTier => self.order_tier(),
            Act::Report => self.look_at_reports(),
            _ => self.ask_something(act),
        }
        self.drain_hub();
        Ok(())
    }

    fn ask_something(&mut self, act: Act) {
        // Who goes on from where it stood asks for more than it may have.
        let is_narrow = self.limits.subscriptions_max < 100;
        match act {
            Act::Subscribe => self.demand_subscription(),
            Act::Unsubscribe => self.unsubscribe_somebody(),
            Act::ChangeMind => self.change_somebodys_mind(),
            Act::Configure => self.configure_somebody(),
            Act::OptIn => self.opt_somebody_in(),
            Act::Resume if !self.ghosts.is_empty() && !is_narrow => self.resume_somebody(),
            Act::Lie if !is_narrow => self.lie(),
            Act::Noise => self.make_noise(),
            Act::Ping => self.ping_somebody(),
            _ => {}
        }
    }

    fn happen(&mut self) {
        let now = self.time();
        self.venue.trouble = 0;
        let events = 1 + self.rng.below(8);
        for _ in 0..events {
            self.venue.happen(&mut self.rng, now);
        }
    }

    fn mishap(&mut self) {
        self.scenario.feed_trouble = 1;
        self.venue.trouble = 1;
        let now = self.time();
        self.venue.happen(&mut self.rng, now);
    }

    fn reconnect(&mut self) {
        // What was on its way is lost.
        self.scenario.feed_trouble = 1;
        let restart = self.rng.one_in(2);
        self.connect_feed(restart);
    }

    fn hand_over(&mut self) {
        let now = self.now();
        let batch = &mut self.publisher.lanes()[0];
        batch.ts_publish = now.wall;
        self.hub.handle_batch(batch, now);
        batch.clear();
    }

    fn give_up(&mut self) {
        self.scenario.lossy_lane = true;
        self.publisher.lanes()[0].give_up_entries();
        self.hand_over();
    }

    /// Snapshots of a stream that nobody waits for: they go through the log and nowhere else.
    fn fill(&mut self) {
        const OTHER: StreamKey = StreamKey::Trade(InstrumentId(50));
        let bytes = self.rng.among(&[1_000, 100_000, 400_000, 524_288]);
        let batch = &mut self.publisher.lanes()[0];
        let snapshot = FrameSpan { start: batch.bytes.len() as u32, len: bytes };
        batch.bytes.resize(batch.bytes.len() + bytes as usize, b' ');
        let join = Join { stream: OTHER.id(), epoch: Epoch(0), seq: Sequence(0), snapshot };
        batch.items.push(Item::Join(join));
        self.hand_over();
    }

    /// Puts white space behind the messages in the lane: as if their books or names were longer.
    fn lengthen(&mut self) {
        // The last does not fit into the log: an entry may be so long, and no snapshot but that of many thousand instruments.
        let (more, more_of_entry) =
            self.rng.among(&[(100, 100), (5_000, 5_000), (70_000, 70_000), (0, 600_000)]);
        let batch = &mut self.publisher.lanes()[0];
        // Only the first few: a lane has a limit of its own.
        for item in batch.items.iter_mut().take(4) {
            let (span, more) = match item {
                Item::Entry(entry) => (&mut entry.frame, more_of_entry),
                Item::Join(join) => (&mut join.snapshot, more),
                _ => continue,
            };
            if span.len > 0 {
                *span = lengthened(&mut batch.bytes, *span, more);
                self.padded_bytes = self.padded_bytes.max(span.len as usize);
            }
        }
    }

    fn sweep_some(&mut self) {
        let visits = 1 + self.rng.below(4) as usize;
        self.sweep_once(visits);
    }

    fn sweep_once(&mut self, visits: usize) -> usize {
        let sockets = &mut Sockets { now: self.now(), clients: &mut self.clients };
        let visited = self.hub.sweep(visits, sockets);
        if visited == 0 {
            self.hub.handle_calm();
        }
        self.drain_hub();
        visited
    }

    fn tick(&mut self) {
        self.market.handle_timeout(self.time());
        self.drain_market();
        self.hub.handle_timeout(self.now());
    }

    fn let_somebody_read(&mut self, all: bool, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        let bytes = if all { usize::MAX } else { self.rng.among(&[1, 2, 7, 40, 300, 2_000]) };
        let Self { clients, hub, report, rng, instruments, step, .. } = self;
        let Some(client) = clients.pick(rng) else { return Ok(()) };
        let mut watch = |sent: Sent<'_>| {
            report.messages += 1;
            report.trace = fold(report.trace, sent.payload);
            watch(sent);
        };
        client.read_some(bytes, *step, instruments, &mut watch).map_err(|what| {
            format!("connection {} (ext {}): {what}", client.connection_id, client.oracle.ext)
        })?;
        let (id, is_open) = (client.id, client.is_open());
        if client.drained() {
            hub.handle_writable(id);
        }
        if !is_open {
            self.check_close(id)?;
            self.drop_client(id);
        }
        self.drain_hub();
        Ok(())
    }

    fn touch_socket(&mut self, act: Act) {
        let room = self.rng.among(&[KERNEL_BYTES, 0, 1, 10, 200, 20_000, usize::MAX]);
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        match act {
            Act::Break => client.gone = true,
            Act::Resize => client.room = room,
            // It may not be so: then the next write is refused, and it waits again.
            _ => {
                client.refused_since = None;
                let id = client.id;
                self.hub.handle_writable(id);
            }
        }
    }

    /// What the shell does when it is told to end a connection: there must be a reason.
    pub(super) fn abort(&mut self, id: ClientId) {
        let reports = self.hub.clients(self.now());
        let is_closing = reports.iter().any(|client| client.id == id && client.mode == "closing");
        match self.clients.find(id) {
            Some(client) if !client.gone && !is_closing => {
                let connection = client.connection_id;
                self.wrong =
                    Some(format!("connection {connection} is aborted and neither broken nor closed"));
            }
            _ => self.drop_client(id),
        }
    }

    fn close_somebody(&mut self, act: Act) {
        let number = self.rng.among(&[None, Some(1_000), Some(1_001), Some(4_999)]);
        let goes_away = CloseCode::GoingAway;
        if act == Act::CloseAll {
            self.clients.iter_mut().for_each(|client| client.closings.push(goes_away.code()));
            return self.hub.close_all(goes_away);
        }
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        let (id, connection_id) = (client.id, client.connection_id);
        let normal = CloseCode::Normal.code();
        match act {
            Act::Goodbye => {
                client.closings.push(number.unwrap_or(normal));
                self.hub.handle_close(id, number);
            }
            Act::Violate => {
                client.closings.push(CloseCode::ProtocolError.code());
                self.hub.close(id, CloseCode::ProtocolError, "a frame that breaks a rule");
            }
            _ => {
                client.closings.push(CloseCode::PolicyViolation.code());
                if !self.hub.kick(connection_id) {
                    self.wrong = Some(format!("connection {connection_id} is not known"));
                }
            }
        }
    }

    fn order_policy(&mut self) {
        let channel = self.rng.among(&Channel::ALL);
        let policy = self.rng.among(&Policy::ALL);
        let now = self.now();
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        client.oracle.note_order(Some(channel));
        let connection_id = client.connection_id;
        // What does not fit the channel is refused, and harms nobody.
        let _ = self.hub.order_policy(connection_id, channel, policy, now);
    }

    fn order_tier(&mut self) {
        let name = self.rng.among(&["default", "narrow", "none of these"]);
        let now = self.now();
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        client.oracle.note_order(None);
        let connection_id = client.connection_id;
        let _ = self.hub.order_tier(connection_id, name, now);
    }

    fn look_at_reports(&mut self) {
        let told: usize = self.hub.streams().map(|stream| stream.symbol.len() + stream.subscribers).sum();
        let connections: Vec<u64> = self.clients.iter().map(|client| client.connection_id).collect();
        let known = connections.iter().filter(|&&one| self.hub.subscriptions(one).is_some()).count();
        if known != connections.len() || self.hub.audit(|| true) != Some(Ok(())) {
            self.wrong = Some(format!("{known} of {connections:?} are known, {told}"));
        }
    }

    /// Broken connections end, and sockets take bytes again.
    fn leave_nobody_stuck(&mut self) {
        let gone: Vec<ClientId> = self.clients.iter().filter(|one| one.gone).map(|one| one.id).collect();
        gone.into_iter().for_each(|id| self.drop_client(id));
        for client in self.clients.iter_mut() {
            client.room = client.room.max(KERNEL_BYTES);
            client.temper = Temper::Fast;
        }
    }
}

/// What an operator allows: everything, or little.
fn tiers() -> Vec<TierBounds> {
    let mut narrow = TierBounds { name: "narrow".into(), bytes_per_s_max: 200_000, ..TierBounds::default() };
    for bounds in &mut narrow.channels {
        bounds.interval_ms_min = 20;
        bounds.max_lag_entries = 5;
    }
    vec![TierBounds::default(), narrow]
}

/// Writes a frame again, with so much white space behind its message.
fn lengthened(bytes: &mut Vec<u8>, span: FrameSpan, more: usize) -> FrameSpan {
    let frame = &bytes[span.start as usize..(span.start + span.len) as usize];
    // A header is as long as its payload wants it.
    let header = [2, 4, 10].into_iter().find(|&header| header_len(frame.len() - header) == header);
    let mut payload = frame[header.unwrap_or(2)..].to_vec();
    payload.resize(payload.len() + more, b' ');
    let start = bytes.len();
    write_header(Opcode::Text, payload.len(), bytes);
    bytes.extend_from_slice(&payload);
    FrameSpan { start: start as u32, len: (bytes.len() - start) as u32 }
}
