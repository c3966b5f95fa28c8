//! The run: threads, phases, progress.
//!
//! Owns the threads and decides when the measured window opens and closes. Never sees a message.
//! Settings come from [`crate::plan`]; the merged tally goes to [`crate::report`].

mod display;

use crate::client::{self, Shared};
use crate::plan::{Plan, RunArgs, Symbols};
use crate::report::Measured;
use crate::tally::Tally;
use crate::verify::Desk;
use crate::{cpu, listing};
use display::Display;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often threads publish their counts and the supervisor looks at them.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the clients of a thread may take to say goodbye.
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

/// Where the run is. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients connect and subscribe.
    Ramping,
    /// The window is open.
    Measuring,
    /// Clients leave.
    Stopping,
}

/// What the threads tell the supervisor while they run. Plain counters that nothing is ordered by.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Handshakes done.
    pub(crate) connected: AtomicU64,
    /// Handshakes failed.
    pub(crate) failed: AtomicU64,
    /// Connections ended by the server.
    pub(crate) lost: AtomicU64,
    /// Clients that need no more waiting for.
    pub(crate) settled: AtomicU64,
    /// Messages of the window so far, published every now and then.
    pub(crate) messages: AtomicU64,
    /// Violations so far, published every now and then.
    pub(crate) violations: AtomicU64,
}

/// Why there is nothing to report.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The settings do not fit together.
    #[error("{0}")]
    Plan(String),
    /// The symbols could not be listed.
    #[error("cannot list the symbols of {url}: {error}")]
    Listing {
        /// The server's address.
        url: String,
        /// What went wrong.
        error: listing::ListingError,
    },
    /// No runtime or thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A bug in the generator.
    #[error("a thread of the generator panicked")]
    Panicked,
}

/// Makes the plan, runs it and returns what was measured. Fails when there is nothing to report.
pub(crate) fn run(args: &RunArgs) -> Result<(Plan, Measured), RunError> {
    let symbols = match &args.symbols {
        Symbols::Named(names) => names.clone(),
        Symbols::First(_) => list_symbols(args)?,
    };
    let plan = Arc::new(Plan::new(args, symbols).map_err(RunError::Plan)?);
    let progress = Arc::new(Progress::default());
    let (phase, _) = watch::channel(Phase::Ramping);
    let start = Instant::now();
    let threads: Vec<_> = (0..plan.threads)
        .map(|thread| spawn(thread, start, &plan, &progress, phase.subscribe()))
        .collect::<Result<_, _>>()?;
    let mut measured = supervise(&plan, &progress, &phase, &mut Display::new(args.json, &plan));
    for thread in threads {
        measured.add_thread(thread.join().map_err(|_| RunError::Panicked)??);
    }
    measured.connected = progress.connected.load(Ordering::Relaxed);
    measured.failed = progress.failed.load(Ordering::Relaxed);
    measured.lost = progress.lost.load(Ordering::Relaxed);
    let plan = Arc::into_inner(plan).ok_or(RunError::Panicked)?;
    Ok((plan, measured))
}

fn list_symbols(args: &RunArgs) -> Result<Vec<String>, RunError> {
    let listed = runtime()?.block_on(listing::symbols(&args.url));
    listed.map_err(|error| RunError::Listing { url: args.url.url.clone(), error })
}

/// Opens the window once every client has settled, which each does within its own limits, and closes it after
/// the duration or when nobody is left.
fn supervise(
    plan: &Plan,
    progress: &Progress,
    phase: &watch::Sender<Phase>,
    display: &mut Display,
) -> Measured {
    let ramp_start = Instant::now();
    while progress.settled.load(Ordering::Relaxed) < u64::from(plan.clients) {
        display.ramp(progress);
        std::thread::sleep(LOOK_EVERY);
    }
    let ramp = ramp_start.elapsed();
    let cpu_before = cpu::of_process();
    phase.send_replace(Phase::Measuring);
    let window_start = Instant::now();
    while window_start.elapsed() < plan.duration && progress.alive() > 0 {
        display.window(progress, window_start.elapsed());
        std::thread::sleep(LOOK_EVERY.min(plan.duration.saturating_sub(window_start.elapsed())));
    }
    phase.send_replace(Phase::Stopping);
    let cpu = cpu::of_process().saturating_sub(cpu_before);
    display.finish();
    Measured::new(ramp, window_start.elapsed(), cpu)
}

impl Progress {
    /// Connections that are open.
    pub(crate) fn alive(&self) -> u64 {
        self.connected.load(Ordering::Relaxed).saturating_sub(self.lost.load(Ordering::Relaxed))
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn spawn(
    thread: usize,
    start: Instant,
    plan: &Arc<Plan>,
    progress: &Arc<Progress>,
    phase: watch::Receiver<Phase>,
) -> std::io::Result<JoinHandle<std::io::Result<Tally>>> {
    let (plan, progress) = (Arc::clone(plan), Arc::clone(progress));
    std::thread::Builder::new().name(format!("clients-{thread}")).spawn(move || {
        let shared = Shared { plan, desk: RefCell::new(Desk::new()), progress, start };
        let shared = Rc::new(shared);
        let runtime = runtime()?;
        LocalSet::new().block_on(&runtime, drive(thread, &shared, phase));
        let shared = Rc::into_inner(shared).expect("every client has ended or was dropped with its set");
        let Desk { mut tally, scanner, .. } = shared.desk.into_inner();
        tally.slow_frames = scanner.slow_frames;
        Ok(tally)
    })
}

/// Starts the clients of one thread, marks the window, and waits for them to leave.
async fn drive(thread: usize, shared: &Rc<Shared>, mut phase: watch::Receiver<Phase>) {
    let mut clients = JoinSet::new();
    for client in (0..shared.plan.clients).skip(thread).step_by(shared.plan.threads) {
        clients.spawn_local(client::run(client, Rc::clone(shared), phase.clone()));
    }
    let mut publisher = Publisher::new(shared);
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut opened = None;
    loop {
        tokio::select! {
            // The phase first: it bounds what is measured.
            biased;
            changed = phase.changed() => match *phase.borrow_and_update() {
                Phase::Measuring if changed.is_ok() => opened = Some(open_window(shared)),
                Phase::Ramping if changed.is_ok() => {}
                _ => break,
            },
            _ = ticks.tick() => publisher.publish(),
        }
    }
    if let Some((at, cpu_before)) = opened {
        let tally = &mut shared.desk.borrow_mut().tally;
        tally.elapsed = at.elapsed();
        tally.cpu = cpu::of_thread().saturating_sub(cpu_before);
    }
    // Whoever does not manage to say goodbye is dropped with the set.
    let _ = timeout(FAREWELL_LIMIT, async { while clients.join_next().await.is_some() {} }).await;
    clients.shutdown().await;
}

fn open_window(shared: &Shared) -> (Instant, Duration) {
    shared.desk.borrow_mut().tally.open_window();
    (Instant::now(), cpu::of_thread())
}

/// Adds this thread's counts to the shared ones, which other threads add to as well.
struct Publisher<'a> {
    shared: &'a Shared,
    messages: u64,
    violations: u64,
}

impl<'a> Publisher<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, messages: 0, violations: 0 }
    }

    fn publish(&mut self) {
        let tally = &self.shared.desk.borrow().tally;
        let messages = tally.messages_before_window + tally.window.messages;
        let violations = tally.violations.total();
        let progress = &self.shared.progress;
        progress.messages.fetch_add(messages - self.messages, Ordering::Relaxed);
        progress.violations.fetch_add(violations - self.violations, Ordering::Relaxed);
        (self.messages, self.violations) = (messages, violations);
    }
}
