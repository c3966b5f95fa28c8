//! The crowd: a thread of verifying clients that watch while faults happen.
//!
//! Owns the readiness set, the timers, the ledger, and the judgement of ended connections. Never causes a fault: orders come from
//! [`super::conduct`] and [`super::rolling`], and what is seen goes back as [`Told`].

use super::ledger::{Finding, Ledger, Losses, Verdict};
use super::reference::{Place, Record};
use super::watcher::{End, Env, Watcher};
use crate::plan::Plan;
use crate::tally::Tally;
use crate::time;
use crate::verify::Desk;
use crate::violation::{Kind, Violation};
use mio::{Events, Poll};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest sleep: orders are looked at that often, and so is whether everybody is fresh.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const EVENTS_MAX: usize = 1_024;
/// The codes of a gateway that goes or restarts, and of a client that is slow or out of reach.
const GOODBYES: [u16; 2] = [1001, 1012];
const SLOW: u16 = 4008;
const OUT_OF_REACH: u16 = 4009;

/// Which ends of connections are due to what is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Excuse {
    /// None, but for clients that do not read.
    None = 0,
    /// Connections break off.
    Cut = 1,
    /// The gateway says goodbye, and breaks off what is left.
    Goodbye = 2,
}

/// What the crowd is told.
pub(crate) enum Order {
    /// Clients of these numbers connect from now on, so many a second.
    Connect(std::ops::Range<u32>, u32),
    /// Who connects from now on connects there.
    Address(SocketAddr),
    /// These clients stop to read.
    Stall(Vec<u32>),
    /// Everybody reads.
    Read,
    /// Say when everybody has been sent something verified beyond these places, by symbol; the number goes into the answer.
    Watch(Vec<Place>, u64),
    /// The feed tells nothing more: compare everybody with it, within this time, and leave.
    Conclude(Arc<Record>, Duration),
}

/// What the crowd tells.
pub(crate) struct Told {
    /// Of the order.
    number: u64,
    /// When everybody was fresh.
    pub(crate) at: Instant,
    /// Losses of all clients by then.
    pub(crate) losses: Losses,
}

/// What everybody may look at.
#[derive(Default)]
pub(crate) struct Shared {
    excuse: AtomicU8,
    /// Connections that ended.
    pub(crate) ends: AtomicU64,
    /// Clients that are served.
    pub(crate) served: AtomicU64,
    /// Clients that are fresh, when that was asked for.
    pub(crate) fresh: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) messages: AtomicU64,
}

/// What the crowd has seen, when it is over.
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) ledger: Ledger,
    pub(crate) ends: Vec<End>,
    /// Connections that were opened.
    pub(crate) opened: u64,
    /// Books that were compared with the feed's in the end, and last trades.
    pub(crate) compared: u64,
}

/// The crowd at work.
pub(crate) struct Crowd {
    pub(crate) shared: Arc<Shared>,
    orders: Sender<Order>,
    told: Receiver<Told>,
    /// How often it was asked when everybody is fresh.
    asked: u64,
    thread: JoinHandle<io::Result<Outcome>>,
}

impl Shared {
    /// From now on these ends are due to what is going on.
    pub(crate) fn excuse(&self, excuse: Excuse) {
        self.excuse.store(excuse as u8, Ordering::SeqCst);
    }

    fn excuses(&self, end: &End, watcher: &Watcher, is_plain: bool) -> bool {
        let excuse = self.excuse.load(Ordering::SeqCst);
        match end.code {
            None => excuse != Excuse::None as u8 || watcher.may_be_slow,
            Some(code) if GOODBYES.contains(&code) => excuse == Excuse::Goodbye as u8,
            Some(SLOW) => watcher.may_be_slow,
            // Who did not opt in cannot be given a second snapshot.
            Some(OUT_OF_REACH) => is_plain,
            Some(_) => false,
        }
    }
}

impl Crowd {
    /// Starts the thread; nobody connects yet.
    pub(crate) fn start(plan: Plan, address: SocketAddr) -> Result<Self, String> {
        let shared = Arc::new(Shared::default());
        let ((orders, inbox), (outbox, told)) = (channel(), channel());
        let copy = Arc::clone(&shared);
        let run = move || Hall::new(plan, copy, inbox, outbox, address)?.run();
        let thread = std::thread::Builder::new().name("crowd".to_owned()).spawn(run);
        let thread = thread.map_err(|e| format!("cannot start a thread: {e}"))?;
        Ok(Self { shared, orders, told, asked: 0, thread })
    }

    /// Tells the crowd something.
    pub(crate) fn order(&self, order: Order) -> Result<(), String> {
        self.orders.send(order).map_err(|_| "the crowd has failed".to_owned())
    }

    /// Waits until everybody has been sent something verified beyond these places; none when that takes too long.
    pub(crate) fn wait_fresh(&mut self, mark: Vec<Place>, until: Instant) -> Result<Option<Told>, String> {
        self.asked += 1;
        self.order(Order::Watch(mark, self.asked))?;
        loop {
            match self.told.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(told) if told.number == self.asked => return Ok(Some(told)),
                // Somebody was given up on, and came to be fresh after all.
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err("the crowd has failed".to_owned()),
            }
        }
    }

    /// Everything, after [`Order::Conclude`].
    pub(crate) fn join(self) -> Result<Outcome, String> {
        drop(self.orders);
        let result = self.thread.join().map_err(|_| "the crowd has panicked".to_owned())?;
        result.map_err(|e| format!("the crowd: {e}"))
    }
}

/// The thread's.
struct Hall {
    plan: Plan,
    shared: Arc<Shared>,
    inbox: Receiver<Order>,
    outbox: Sender<Told>,
    address: SocketAddr,
    poll: Poll,
    watchers: Vec<Watcher>,
    /// When each client wants to be looked at; what it does not wish any more is passed over.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    wishes: Vec<Option<Instant>>,
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
    desk: Desk,
    buffer: Vec<u8>,
    ledger: Ledger,
    ends: Vec<End>,
    /// What everybody must be sent something beyond, by symbol.
    mark: Vec<Place>,
    /// The number of who asks when everybody is beyond it.
    asked: Option<u64>,
    now: Instant,
    looked_at: Instant,
}

impl Hall {
    fn new(
        plan: Plan,
        shared: Arc<Shared>,
        inbox: Receiver<Order>,
        outbox: Sender<Told>,
        address: SocketAddr,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let mut desk = Desk::new(&plan);
        desk.tally.seen = Some(Vec::new());
        let clients = plan.clients as usize;
        Ok(Self {
            mark: vec![(0, 0); plan.symbols.len()],
            watchers: (0..plan.clients).map(|number| Watcher::new(number, &plan)).collect(),
            plan,
            shared,
            inbox,
            outbox,
            address,
            poll: Poll::new()?,
            timers: BinaryHeap::with_capacity(clients),
            wishes: vec![None; clients],
            ready: VecDeque::new(),
            is_ready: vec![false; clients],
            desk,
            buffer: Vec::new(),
            ledger: Ledger::default(),
            ends: Vec::new(),
            asked: None,
            now,
            looked_at: now,
        })
    }

    fn run(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            self.turn(&mut events)?;
            loop {
                use std::sync::mpsc::TryRecvError::{Disconnected, Empty};
                match self.inbox.try_recv() {
                    Ok(Order::Conclude(record, patience)) => {
                        let compared = self.conclude(&record, patience, &mut events)?;
                        return Ok(self.leave(compared));
                    }
                    Ok(order) => self.obey(order),
                    Err(Empty) => break,
                    // The run has failed; whoever asks says why.
                    Err(Disconnected) => return Ok(self.leave(0)),
                }
            }
        }
    }

    /// One pass over everything that may be done now.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, Some(self.patience())) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        self.now = Instant::now();
        for event in &*events {
            self.with(event.token().0, |watcher, env| watcher.handle_event(event, env));
        }
        while let Some(&Reverse((when, at))) =
            self.timers.peek().filter(|Reverse((when, _))| *when <= self.now)
        {
            self.timers.pop();
            if self.wishes[at] == Some(when) {
                self.wishes[at] = None;
                self.with(at, Watcher::handle_time);
            }
        }
        for _ in 0..self.ready.len() {
            let Some(at) = self.ready.pop_front() else { break };
            self.is_ready[at] = false;
            if self.watchers[at].wants_turn() {
                self.with(at, Watcher::take_turn);
            }
        }
        if self.now.duration_since(self.looked_at) >= LOOK_EVERY {
            self.looked_at = self.now;
            self.look();
        }
        Ok(())
    }

    fn patience(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let next =
            self.timers.peek().map(|Reverse((when, _))| when.saturating_duration_since(Instant::now()));
        next.unwrap_or(LOOK_EVERY).clamp(Duration::from_millis(1), LOOK_EVERY)
    }

    /// Lets a client do something, and takes in what it was sent and how its connection ended.
    fn with(&mut self, at: usize, act: impl FnOnce(&mut Watcher, &mut Env<'_>) -> Option<End>) {
        let Some(watcher) = self.watchers.get_mut(at) else { return };
        let mut env = Env {
            plan: &self.plan,
            registry: self.poll.registry(),
            address: self.address,
            desk: &mut self.desk,
            buffer: &mut self.buffer,
            now: self.now,
        };
        let end = act(watcher, &mut env);
        self.take_seen(at);
        if let Some(end) = end {
            self.judge(at, end);
        }
        self.note(at);
    }

    fn take_seen(&mut self, at: usize) {
        let Some(mut all) = self.desk.tally.seen.take() else { return };
        for seen in all.drain(..) {
            let watcher = &mut self.watchers[at];
            let symbol = watcher.symbols[seen.subscription];
            watcher.note_seen(seen, self.mark[symbol]);
            let client = watcher.number;
            if let Some(finding) = self.ledger.take(client, symbol, seen.what) {
                self.report(client, finding);
            }
        }
        self.desk.tally.seen = Some(all);
    }

    fn judge(&mut self, at: usize, end: End) {
        let watcher = &self.watchers[at];
        let is_plain = !Watcher::group_of(watcher.number, &self.plan).opted_in;
        if !self.shared.excuses(&end, watcher, is_plain) {
            let code = end.code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
            let got = format!("{code}, reason {:?}", end.reason);
            self.report(end.client, (Kind::Closed, usize::MAX, "an open connection".to_owned(), got));
        }
        *self.desk.tally.closes.entry((end.code, short(&end.reason))).or_default() += 1;
        self.shared.ends.fetch_add(1, Ordering::Relaxed);
        self.ends.push(end);
    }

    /// A symbol that there is not stands for the connection.
    fn report(&mut self, client: u32, (kind, symbol, expected, got): Finding) {
        let symbol = self.plan.symbols.get(symbol).cloned().unwrap_or_default();
        let at_us = time::now();
        self.desk.tally.violations.push(kind, || Violation {
            kind: kind.name(),
            client: Some(client),
            symbol,
            expected,
            got,
            at_us,
        });
    }

    fn note(&mut self, at: usize) {
        let watcher = &self.watchers[at];
        let wish = watcher.due();
        if wish != self.wishes[at] {
            self.wishes[at] = wish;
            if let Some(when) = wish {
                self.timers.push(Reverse((when, at)));
            }
        }
        if watcher.wants_turn() && !self.is_ready[at] {
            self.is_ready[at] = true;
            self.ready.push_back(at);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Connect(numbers, per_second) => {
                for (place, at) in (0..).zip(numbers) {
                    let after = Duration::from_secs_f64(f64::from(place) / f64::from(per_second));
                    self.watchers[at as usize].connect_at(self.now + after);
                    self.note(at as usize);
                }
            }
            Order::Address(address) => self.address = address,
            Order::Stall(clients) => {
                for at in clients {
                    self.watchers[at as usize].stall(true);
                }
            }
            Order::Read => {
                for at in 0..self.watchers.len() {
                    if self.watchers[at].is_stalled {
                        self.watchers[at].stall(false);
                        self.note(at);
                    }
                }
            }
            Order::Watch(mark, number) => {
                (self.mark, self.asked) = (mark, Some(number));
                self.watchers.iter_mut().for_each(Watcher::expect_fresh);
            }
            // Handled where orders are taken.
            Order::Conclude(..) => {}
        }
    }

    /// Tells when everybody is fresh, and publishes counts.
    fn look(&mut self) {
        let served = self.watchers.iter().filter(|watcher| watcher.is_served()).count();
        self.shared.served.store(served as u64, Ordering::Relaxed);
        let tally = &self.desk.tally;
        self.shared.violations.store(tally.violations.total(), Ordering::Relaxed);
        self.shared.messages.store(tally.counts.messages, Ordering::Relaxed);
        let Some(number) = self.asked else { return };
        let mut taking_part = self.watchers.iter().filter(|watcher| watcher.takes_part);
        let fresh = taking_part.clone().filter(|watcher| watcher.is_fresh(&self.plan)).count();
        self.shared.fresh.store(fresh as u64, Ordering::Relaxed);
        if taking_part.all(|watcher| watcher.is_fresh(&self.plan)) {
            self.asked = None;
            self.watchers.iter_mut().for_each(|watcher| watcher.may_be_slow = watcher.is_stalled);
            // Who does not wait for it any more has given up on this run.
            let _ = self.outbox.send(Told { number, at: self.now, losses: self.ledger.losses });
        }
    }

    /// Compares everybody with the feed until all are equal or the time is over; then differences are violations.
    fn conclude(&mut self, record: &Record, patience: Duration, events: &mut Events) -> io::Result<u64> {
        let limit = Instant::now() + patience;
        loop {
            self.turn(events)?;
            let verdicts = self.verdicts(record);
            let is_equal = |(_, verdict): &(u32, Verdict)| !matches!(verdict, Verdict::Behind(..));
            if verdicts.iter().all(is_equal) || Instant::now() >= limit {
                let compared = verdicts.len() as u64;
                for (client, verdict) in verdicts {
                    if let Some(finding) = self.ledger.settle(verdict) {
                        self.report(client, finding);
                    }
                }
                self.ledger.settle_epochs(record);
                return Ok(compared);
            }
        }
    }

    fn verdicts(&self, record: &Record) -> Vec<(u32, Verdict)> {
        let mut verdicts = Vec::new();
        for watcher in self.watchers.iter().filter(|watcher| watcher.takes_part) {
            let (number, channel) = (watcher.number, Watcher::group_of(watcher.number, &self.plan).channel);
            for (standing, symbol) in watcher.verifier.standings().zip(&watcher.symbols) {
                let verdict = match watcher.is_served() {
                    true => self.ledger.judge_end(number, *symbol, channel, &standing, record),
                    false => Verdict::Behind(
                        0,
                        (Kind::Behind, *symbol, "a subscription".to_owned(), "none".to_owned()),
                    ),
                };
                verdicts.push((number, verdict));
            }
        }
        verdicts
    }

    fn leave(mut self, compared: u64) -> Outcome {
        self.shared.excuse(Excuse::Cut);
        let opened = self.watchers.iter().map(|watcher| watcher.opened).sum();
        for at in 0..self.watchers.len() {
            self.with(at, |watcher, env| {
                watcher.leave(env);
                None
            });
        }
        let Self { desk, ledger, ends, .. } = self;
        Outcome { tally: desk.tally, ledger, ends, opened, compared }
    }
}

/// A reason without the delay, which is another one for everybody.
fn short(reason: &str) -> String {
    reason.split_once(", come back after").map_or(reason, |(begin, _)| begin).to_owned()
}
