//! One client, from its first connection to its last: what it does when, according to its profile.
//!
//! Owns the link of the moment and the client's times. Never judges a message: [`Verifier`] does. Readiness and time come from
//! [`crate::hall`]; everything is done without waiting.

pub(crate) mod leaving;
pub(crate) mod link;
mod pace;
mod parting;

use crate::frame;
use crate::plan::{Group, Plan, Profile};
use crate::run::Progress;
use crate::time::{self, Micros};
use crate::verify::{Desk, Verifier};
use link::{Dial, Incoming, Link, LinkError, READ_BYTES};
use mio::event::Event;
use mio::{Interest, Registry, Token};
use pace::Pace;
use parting::Lost;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long connecting and the handshake may take together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Receive buffer of a client that does not read at times: it should be felt by the server, not by its kernel.
const NARROW_BYTES: usize = 4_096;
/// Longest time between two looks at the clock for silence and overdue answers.
const TICK_MAX: Duration = Duration::from_secs(1);
/// The golden ratio's fraction: multiples of it are spread evenly.
const SPREAD: f64 = 0.618_033_988_749_895;

/// What a client needs of its thread.
pub(crate) struct Env<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) progress: &'a Progress,
    pub(crate) registry: &'a Registry,
    pub(crate) address: SocketAddr,
    pub(crate) desk: &'a mut Desk,
    /// What sockets are read into.
    pub(crate) buffer: &'a mut Vec<u8>,
    pub(crate) now: Instant,
    /// The client's own.
    pub(crate) token: Token,
    /// Whether the run ends, so that nobody comes back.
    pub(crate) is_leaving: bool,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It will connect at its time.
    Waiting,
    /// The socket is not connected yet.
    Dialing,
    /// The upgrade was asked for.
    Upgrading,
    /// It talks.
    Open,
    /// It reads what is left, then ends its subscriptions.
    CatchingUp,
    /// It has asked for the end of its subscriptions.
    Ending,
    /// It has said goodbye.
    Closing,
    /// It will not come back.
    Gone,
}

/// One client.
pub(crate) struct Client {
    number: u32,
    group: usize,
    profile: Profile,
    stage: Stage,
    link: Option<Link>,
    verifier: Option<Box<Verifier>>,
    pace: Pace,
    /// When it means to connect, or meant to.
    meant_at: Option<Instant>,
    /// Until when the present stage may last.
    deadline: Option<Instant>,
    tick_at: Option<Instant>,
    action_at: Option<Instant>,
    actions: u64,
    /// When its pace lets it read again.
    read_at: Option<Instant>,
    /// Whether the supervisor was told that it needs no more waiting for.
    is_settled: bool,
    /// Whether it has ever been connected.
    was_open: bool,
    /// Whether the socket may have something to read.
    may_read: bool,
    /// Whether the other end has said its last word, which is read without being told of again.
    is_read_closed: bool,
    /// Whether it behaves as its profile says by now.
    has_begun: bool,
}

impl Client {
    /// A client that connects at a time; one of a storm does not know its time yet.
    pub(crate) fn new(number: u32, plan: &Plan, meant_at: Option<Instant>) -> Self {
        let group = plan.group_of(number);
        Self {
            number,
            group,
            profile: plan.settings.groups[group].profile,
            stage: Stage::Waiting,
            link: None,
            verifier: None,
            pace: Pace::Free,
            meant_at,
            deadline: None,
            tick_at: None,
            action_at: None,
            actions: 0,
            read_at: None,
            is_settled: false,
            was_open: false,
            may_read: false,
            is_read_closed: false,
            has_begun: false,
        }
    }

    /// Its number in the run.
    pub(crate) const fn number(&self) -> u32 {
        self.number
    }

    /// Whether it will do nothing more.
    pub(crate) fn is_gone(&self) -> bool {
        self.stage == Stage::Gone
    }

    /// Whether it should be given a turn to read.
    pub(crate) const fn wants_turn(&self) -> bool {
        self.may_read && self.read_at.is_none()
    }

    /// When it wants to be looked at, whatever its socket does.
    pub(crate) fn due(&self) -> Option<Instant> {
        let connect = self.meant_at.filter(|_| self.stage == Stage::Waiting);
        let times = [connect, self.deadline, self.tick_at, self.action_at, self.read_at];
        times.into_iter().flatten().min()
    }

    /// Sets when a client of a storm connects.
    pub(crate) fn call(&mut self, at: Instant) {
        if self.stage == Stage::Waiting && self.meant_at.is_none() {
            self.meant_at = Some(at);
        }
    }

    /// Drops the connection, as a storm wants it, and comes back at once.
    pub(crate) fn jolt(&mut self, env: &mut Env<'_>) {
        if self.stage == Stage::Open {
            self.come_back(env, env.now);
        }
    }

    /// The socket may have something, or take something.
    pub(crate) fn handle_event(&mut self, event: &Event, env: &mut Env<'_>) {
        self.is_read_closed |= event.is_read_closed() || event.is_error();
        self.may_read |= event.is_readable() || self.is_read_closed;
        if !event.is_writable() {
            return;
        }
        let is_opted_in = self.group(env.plan).opted_in;
        let Some(link) = &mut self.link else { return };
        let result = if self.stage == Stage::Dialing {
            let path = env.plan.settings.target.path_for(is_opted_in);
            link.finish_dial(&env.plan.settings.target, &path)
        } else {
            link.flush().map(|()| false).map_err(Into::into)
        };
        match result {
            Ok(true) => self.stage = Stage::Upgrading,
            Ok(false) => {}
            Err(error) => self.fail(&error, env),
        }
    }

    /// Time has passed.
    pub(crate) fn handle_time(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.stage == Stage::Waiting && is_due(self.meant_at) {
            return self.dial(env);
        }
        if is_due(self.deadline) {
            self.deadline = None;
            self.handle_deadline(env);
        }
        if is_due(self.read_at) {
            self.read_at = None;
        }
        if is_due(self.tick_at) {
            self.tick(env);
        }
        if is_due(self.action_at) {
            self.act(env);
        }
    }

    fn handle_deadline(&mut self, env: &mut Env<'_>) {
        match self.stage {
            Stage::Dialing | Stage::Upgrading => {
                let limit = format!("not within {} s", CONNECT_LIMIT.as_secs());
                self.fail(&LinkError::Refused(limit), env);
            }
            _ => self.leave_on(env),
        }
    }

    /// Reads once and handles what came.
    pub(crate) fn take_turn(&mut self, env: &mut Env<'_>) {
        if self.stage == Stage::Upgrading {
            self.read_answer(env);
        }
        if matches!(self.stage, Stage::Open | Stage::CatchingUp | Stage::Ending | Stage::Closing) {
            self.read(env);
        } else if self.stage != Stage::Upgrading {
            self.may_read = false;
        }
    }

    fn group<'a>(&self, plan: &'a Plan) -> &'a Group {
        &plan.settings.groups[self.group]
    }

    /// The wall clock's time of a moment at or before now.
    fn wall(&self, moment: Instant, now: Instant) -> Micros {
        time::now() - now.saturating_duration_since(moment).as_micros() as Micros
    }

    fn dial(&mut self, env: &mut Env<'_>) {
        let dial = Dial {
            address: env.address,
            source: env
                .plan
                .source_of(self.number)
                .map(IpAddr::V4)
                .filter(|_| env.address.ip().is_loopback()),
            receive_bytes: self.profile.may_lag().then_some(NARROW_BYTES),
        };
        self.stage = Stage::Dialing;
        self.deadline = Some(env.now + CONNECT_LIMIT);
        let salt = u64::from(self.number) << 32 | self.actions;
        let registered = Link::dial(&dial, salt).and_then(|mut link| {
            env.registry.register(&mut link.stream, env.token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(link)
        });
        match registered {
            Ok(link) => self.link = Some(link),
            Err(error) => self.fail(&error.into(), env),
        }
    }

    fn read_answer(&mut self, env: &mut Env<'_>) {
        let Some(link) = &mut self.link else { return };
        match link.read_answer(env.buffer) {
            Ok(true) => self.open(env),
            Ok(false) => self.may_read = false,
            Err(error) => self.fail(&error, env),
        }
    }

    /// The handshake is done: the client asks for what it wants.
    fn open(&mut self, env: &mut Env<'_>) {
        let meant_at = self.meant_at.unwrap_or(env.now);
        let took = env.now.saturating_duration_since(meant_at);
        let tally = &mut env.desk.tally;
        tally.connects.saturating_record(took.as_micros() as u64);
        tally.handshakes += 1;
        self.stage = Stage::Open;
        self.deadline = None;
        let tick = TICK_MAX.min(env.plan.settings.silence / 5).max(Duration::from_millis(1));
        self.tick_at = Some(env.now + tick);
        if !std::mem::replace(&mut self.was_open, true) {
            env.progress.connected.fetch_add(1, Ordering::Relaxed);
        }
        env.progress.alive.fetch_add(1, Ordering::Relaxed);
        let now = time::now();
        let verifier =
            self.verifier.get_or_insert_with(|| Box::new(Verifier::new(self.number, env.plan, now)));
        verifier.reconnect(now);
        // The subscription is meant to follow the handshake at once.
        let requests = verifier.subscribe_all(&env.plan.settings.groups[self.group], now);
        for request in requests {
            self.send(&request, env);
        }
    }

    fn send(&mut self, text: &str, env: &mut Env<'_>) {
        let Some(link) = &mut self.link else { return };
        if let Err(error) = link.send(frame::TEXT, text.as_bytes()) {
            self.fail(&error.into(), env);
        }
    }

    fn read(&mut self, env: &mut Env<'_>) {
        let allowed = self.pace.allowance(env.now);
        if allowed == 0 {
            self.read_at = self.pace.next(env.now);
            // A client that never reads is not asked again before it leaves.
            self.may_read &= self.read_at.is_some();
            return;
        }
        let (Some(link), Some(verifier)) = (&mut self.link, &mut self.verifier) else { return };
        let desk = &mut *env.desk;
        // The receipt is when the read returned, for everything that it brought.
        let (mut received_at, mut lost) = (None, None);
        let mut pongs: Vec<Vec<u8>> = Vec::new();
        let came = link.read(env.buffer, allowed, |incoming| {
            let now = *received_at.get_or_insert_with(time::now);
            match incoming {
                Incoming::Text(text) => verifier.handle_text(text, now, desk),
                Incoming::Binary(payload) => verifier.handle_binary(payload, now, &mut desk.tally),
                Incoming::Ping(payload) => {
                    verifier.handle_ping(now, &mut desk.tally);
                    pongs.push(payload.to_vec());
                }
                Incoming::Close(payload) => lost = Some(Lost::from_payload(payload)),
            }
            lost.is_none()
        });
        for pong in pongs {
            // A socket that fails tells so when it is read.
            let _ = link.send(frame::PONG, &pong);
        }
        match (came, lost) {
            (_, Some(lost)) => return self.lose(lost, env),
            (Err(error), _) => return self.fail(&error, env),
            (Ok(came), None) => {
                // A short read has emptied the socket; what comes later is told of again.
                let is_full = came.is_some_and(|came| came >= allowed.min(READ_BYTES));
                self.may_read = is_full || (self.is_read_closed && came.is_some());
                self.pace.spend(came.unwrap_or(0));
            }
        }
        self.after_read(env);
    }

    fn after_read(&mut self, env: &mut Env<'_>) {
        let is_settled = self.verifier.as_ref().is_some_and(|verifier| verifier.is_settled());
        if self.stage == Stage::Open && is_settled && !self.has_begun {
            self.begin_profile(env);
        }
        if self.stage == Stage::Ending {
            self.leave_on(env);
        }
    }

    /// The client has all its subscriptions: from now on it behaves as its profile says.
    fn begin_profile(&mut self, env: &mut Env<'_>) {
        self.has_begun = true;
        self.settle(env);
        self.pace = Pace::of(self.profile, env.now);
        if let Some(every) = self.profile.next_action(self.actions) {
            // Clients of a profile do not act all at one moment.
            let part = if self.actions == 0 { (f64::from(self.number) * SPREAD).fract() } else { 1.0 };
            self.action_at = Some(env.now + every.mul_f64(part.max(0.05)));
        }
    }

    /// Tells the supervisor, once, that this client needs no more waiting for.
    fn settle(&mut self, env: &mut Env<'_>) {
        if !std::mem::replace(&mut self.is_settled, true) && self.number < env.plan.settings.clients {
            env.progress.settled.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tick(&mut self, env: &mut Env<'_>) {
        let every = TICK_MAX.min(env.plan.settings.silence / 5).max(Duration::from_millis(1));
        self.tick_at = Some(env.now + every);
        let Some(verifier) = &mut self.verifier else { return };
        if !self.pace.is_free() {
            // Silence is its own doing.
            verifier.excuse_silence(time::now());
        } else if self.stage == Stage::Open {
            verifier.handle_time(time::now(), &mut env.desk.tally);
        }
        self.after_read(env);
    }

    /// The next action of the profile. It counts from when it was due, however late it is done.
    fn act(&mut self, env: &mut Env<'_>) {
        let due = self.action_at.take().unwrap_or(env.now);
        if self.stage != Stage::Open {
            return;
        }
        self.actions += 1;
        if matches!(self.profile, Profile::Flapping { .. } | Profile::Resuming { .. }) {
            return self.come_back(env, due);
        }
        let asked_at = self.wall(due, env.now);
        let group = &env.plan.settings.groups[self.group];
        let Some(verifier) = &mut self.verifier else { return };
        let request = match self.profile {
            Profile::Churning { .. } => verifier.churn(group, self.actions, asked_at),
            Profile::Paused { .. } => Some(verifier.pause(self.actions % 2 == 1, asked_at)),
            _ => None,
        };
        self.action_at = self.profile.next_action(self.actions).map(|every| due + every);
        if let Some(request) = request {
            self.send(&request, env);
        }
    }
}
