//! One thread and its clients.
//!
//! Owns the readiness set, the timers and the order in which clients get their turns. Never knows what a client does with a turn.
//! The phase comes from [`crate::run`]; every second a [`crate::tally::Beat`] goes back.

use crate::client::leaving::leaving_limit;
use crate::client::{Client, Env};
use crate::cpu::{self, ThreadTime};
use crate::plan::{Plan, Storm};
use crate::run::{Phase, Progress, Signals};
use crate::tally::{Beat, Tally};
use crate::verify::Desk;
use mio::{Events, Poll, Token};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Longest sleep: the phase is looked at that often.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Time between two beats.
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Time between two publications of counts for the display.
const PUBLISH_EVERY: Duration = Duration::from_millis(50);
/// Readiness events taken at once.
const EVENTS_MAX: usize = 1_024;

/// What all threads of a run share.
pub(crate) struct Shared {
    /// The settings.
    pub(crate) plan: Plan,
    /// Counters for the supervisor.
    pub(crate) progress: Progress,
    /// The phase.
    pub(crate) signals: Signals,
    /// The server.
    pub(crate) address: SocketAddr,
    /// When the ramp began.
    pub(crate) start: Instant,
}

/// The thread's part of the run.
pub(crate) struct Hall<'a> {
    thread: usize,
    shared: &'a Shared,
    poll: Poll,
    clients: Vec<Client>,
    /// When each client wants to be looked at; what is not a client's own wish any more is passed over.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    wishes: Vec<Option<Instant>>,
    /// Clients that may read, each once.
    ready: VecDeque<usize>,
    is_ready: Vec<bool>,
    /// Clients that are not gone.
    staying: usize,
    desk: Desk,
    buffer: Vec<u8>,
    now: Instant,
    phase: Phase,
    beats: Sender<(usize, Beat)>,
    beat_at: Instant,
    publish_at: Instant,
    published: (u64, u64),
    /// Storms that are still to come.
    storms: Vec<(Instant, Storm)>,
    /// When the window opened, with the CPU time until then.
    opened: Option<(Instant, ThreadTime)>,
}

impl<'a> Hall<'a> {
    /// The clients of one of the threads.
    pub(crate) fn new(thread: usize, shared: &'a Shared, beats: Sender<(usize, Beat)>) -> io::Result<Self> {
        let plan = &shared.plan;
        let numbers = (0..plan.clients).skip(thread).step_by(plan.settings.threads);
        let meant_at =
            |number: u32| (number < plan.settings.clients).then(|| shared.start + plan.connect_after(number));
        let clients: Vec<_> = numbers.map(|number| Client::new(number, plan, meant_at(number))).collect();
        let now = Instant::now();
        let mut hall = Self {
            thread,
            shared,
            poll: Poll::new()?,
            timers: BinaryHeap::with_capacity(clients.len()),
            wishes: vec![None; clients.len()],
            ready: VecDeque::new(),
            is_ready: vec![false; clients.len()],
            staying: clients.len(),
            clients,
            desk: Desk::new(plan),
            buffer: Vec::new(),
            now,
            phase: Phase::Ramping,
            beats,
            beat_at: now + BEAT_EVERY,
            publish_at: now,
            published: (0, 0),
            storms: Vec::new(),
            opened: None,
        };
        (0..hall.clients.len()).for_each(|at| hall.note(at));
        Ok(hall)
    }

    /// Runs until the phase says to leave and everybody has.
    pub(crate) fn run(mut self) -> io::Result<Tally> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut leave_by = None;
        loop {
            self.now = Instant::now();
            let phase = self.shared.signals.phase();
            if phase != self.phase {
                self.phase = phase;
                match phase {
                    Phase::Ramping => {}
                    Phase::Measuring => self.open_window(),
                    Phase::Leaving => leave_by = Some(self.begin_to_leave()),
                }
            }
            if leave_by.is_some_and(|limit| self.staying == 0 || self.now >= limit) {
                break;
            }
            self.handle_storms();
            self.handle_timers();
            self.handle_ready();
            self.report();
            match self.poll.poll(&mut events, Some(self.patience())) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.now = Instant::now();
            for event in &events {
                self.with(event.token().0, |client, env| client.handle_event(event, env));
            }
        }
        for at in 0..self.clients.len() {
            self.with(at, |client, env| client.abandon(env));
        }
        self.desk.tally.slow_frames = self.desk.scanner.slow_frames;
        // The last beat may have no one to hear it.
        let _ = self.beats.send((self.thread, self.desk.tally.beat(Instant::now(), cpu::of_thread().ran)));
        Ok(self.desk.tally)
    }

    /// Lets a client do something, and notes what it wants next.
    fn with(&mut self, at: usize, act: impl FnOnce(&mut Client, &mut Env<'_>)) {
        let was_gone = self.clients[at].is_gone();
        let mut env = Env {
            plan: &self.shared.plan,
            progress: &self.shared.progress,
            registry: self.poll.registry(),
            address: self.shared.address,
            desk: &mut self.desk,
            buffer: &mut self.buffer,
            now: self.now,
            token: Token(at),
            is_leaving: self.phase == Phase::Leaving,
        };
        act(&mut self.clients[at], &mut env);
        if !was_gone && self.clients[at].is_gone() {
            self.staying -= 1;
        }
        self.note(at);
    }

    fn note(&mut self, at: usize) {
        let client = &self.clients[at];
        let wish = client.due();
        if wish != self.wishes[at] {
            self.wishes[at] = wish;
            if let Some(when) = wish {
                self.timers.push(Reverse((when, at)));
            }
        }
        if client.wants_turn() && !self.is_ready[at] {
            self.is_ready[at] = true;
            self.ready.push_back(at);
        }
    }

    fn handle_timers(&mut self) {
        while let Some(&Reverse((when, at))) = self.timers.peek() {
            if when > self.now {
                break;
            }
            self.timers.pop();
            if self.wishes[at] == Some(when) {
                self.wishes[at] = None;
                self.with(at, Client::handle_time);
            }
        }
    }

    /// Everybody who may read reads once; who has more then waits for the next round.
    fn handle_ready(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(at) = self.ready.pop_front() else { break };
            self.is_ready[at] = false;
            self.with(at, Client::take_turn);
        }
    }

    fn patience(&self) -> Duration {
        if !self.ready.is_empty() {
            return Duration::ZERO;
        }
        let next = self
            .timers
            .peek()
            .map_or(LOOK_EVERY, |Reverse((when, _))| when.saturating_duration_since(self.now));
        // A millisecond is what the kernel can wait for; less would be no wait at all.
        next.min(LOOK_EVERY).max(Duration::from_millis(1))
    }

    fn open_window(&mut self) {
        self.desk.tally.open_window();
        self.opened = Some((self.now, cpu::of_thread()));
        // From one moment for all threads, so that a storm is one.
        let start = self.shared.signals.opened_at().unwrap_or(self.now);
        let mut first = self.shared.plan.settings.clients;
        for storm in &self.shared.plan.settings.storms {
            let at = start + storm.at();
            if let Storm::Connect { clients, .. } = storm {
                let newcomers = first..first + clients;
                first += clients;
                for index in 0..self.clients.len() {
                    if newcomers.contains(&self.clients[index].number()) {
                        self.with(index, |client, _| client.call(at));
                    }
                }
            } else {
                self.storms.push((at, *storm));
            }
        }
    }

    fn handle_storms(&mut self) {
        while let Some(next) = self.storms.iter().position(|(at, _)| *at <= self.now) {
            let (_, storm) = self.storms.swap_remove(next);
            let Storm::Reconnect { share, .. } = storm else { continue };
            for at in 0..self.clients.len() {
                // Evenly spread over all, whatever their group.
                let place = f64::from(self.clients[at].number());
                if ((place + 1.0) * share).floor() > (place * share).floor() {
                    self.with(at, Client::jolt);
                }
            }
        }
    }

    fn begin_to_leave(&mut self) -> Instant {
        if let Some((at, cpu_before)) = self.opened {
            let tally = &mut self.desk.tally;
            tally.close_window();
            tally.elapsed = at.elapsed();
            tally.cpu = cpu::of_thread().since(&cpu_before);
        }
        self.storms.clear();
        (0..self.clients.len()).for_each(|at| self.with(at, Client::leave));
        leaving_limit(self.now)
    }

    /// Tells the supervisor what has been counted, when it is time.
    fn report(&mut self) {
        if self.now >= self.publish_at {
            self.publish_at = self.now + PUBLISH_EVERY;
            let tally = &self.desk.tally;
            let (messages, violations) = (tally.counts.messages, tally.violations.total());
            let progress = &self.shared.progress;
            progress.messages.fetch_add(messages - self.published.0, Ordering::Relaxed);
            progress.violations.fetch_add(violations - self.published.1, Ordering::Relaxed);
            self.published = (messages, violations);
        }
        if self.now >= self.beat_at {
            self.beat_at = self.now + BEAT_EVERY;
            // A supervisor that is gone needs no beat.
            let _ = self.beats.send((self.thread, self.desk.tally.beat(self.now, cpu::of_thread().ran)));
        }
    }
}
