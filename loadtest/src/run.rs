//! The run: threads, phases, progress.
//!
//! Owns the threads and decides when the measured window opens and closes. Never sees a message.
//! Settings come from [`crate::plan`]; the merged tally and the timeline go to [`crate::report`].

mod display;
pub(crate) mod files;
mod live;
pub(crate) mod timeline;

use crate::conserve::{self, Conservation};
use crate::gateway::Scrape;
use crate::hall::{Hall, Shared};
use crate::own::OwnServers;
use crate::plan::{Admin, Plan, RunArgs, Settings, Symbols, parse_target};
use crate::report::Measured;
use crate::tally::{Beat, Tally};
use crate::{cpu, listing};
use display::Display;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use timeline::Timeline;

/// How often the supervisor looks at the threads.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time between two looks at the gateway's counts.
const SCRAPE_EVERY: Duration = Duration::from_secs(1);
/// How long the gateway may take to count what its last clients have left behind.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Where the run is. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients connect and subscribe.
    Ramping,
    /// The window is open.
    Measuring,
    /// Clients leave.
    Leaving,
}

/// What the supervisor tells the threads.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    phase: AtomicU8,
    opened_at: OnceLock<Instant>,
}

impl Signals {
    /// Where the run is.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Ramping,
            1 => Phase::Measuring,
            _ => Phase::Leaving,
        }
    }

    /// When the window opened.
    pub(crate) fn opened_at(&self) -> Option<Instant> {
        self.opened_at.get().copied()
    }

    fn open(&self) -> Instant {
        let now = *self.opened_at.get_or_init(Instant::now);
        self.phase.store(1, Ordering::Release);
        now
    }

    fn leave(&self) {
        self.phase.store(2, Ordering::Release);
    }
}

/// What the threads tell the supervisor while they run. Plain counters that nothing is ordered by.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Clients that have been connected.
    pub(crate) connected: AtomicU64,
    /// Connections that could not be made.
    pub(crate) failed: AtomicU64,
    /// Connections ended by the server without a reason that we know of.
    pub(crate) lost: AtomicU64,
    /// Connections ended by the server because their client reads too slowly, as its profile wants.
    pub(crate) closed_slow: AtomicU64,
    /// Connections that clients dropped to come back.
    pub(crate) reconnects: AtomicU64,
    /// Connections that are open.
    pub(crate) alive: AtomicU64,
    /// Clients of the ramp that need no more waiting for.
    pub(crate) settled: AtomicU64,
    /// Messages so far, published every now and then.
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
    /// The admin listener that was named does not answer.
    #[error("cannot ask the gateway for its counts: {0}")]
    Admin(String),
    /// No gateway or feed of our own.
    #[error("{0}")]
    Own(String),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A bug in the generator.
    #[error("a thread of the generator panicked")]
    Panicked,
}

/// Makes the plan, runs it and returns what was measured. Fails when there is nothing to report.
pub(crate) fn run(args: &RunArgs) -> Result<Measured, RunError> {
    let settings = Settings::new(args).map_err(RunError::Plan)?;
    run_settings(settings, args.prints_json(), args.no_tui)
}

/// The same for settings that are made.
pub(crate) fn run_settings(
    mut settings: Settings,
    is_quiet: bool,
    is_plain: bool,
) -> Result<Measured, RunError> {
    let mut own = match &settings.own {
        Some(own) => Some(OwnServers::start(own).map_err(RunError::Own)?),
        None => None,
    };
    if let Some(own) = &own {
        settings.target = parse_target(&own.url()).map_err(RunError::Plan)?;
        settings.admin = Admin::At(own.admin.clone());
    }
    let unlisted = |error| RunError::Listing { url: settings.target.url.clone(), error };
    let address = resolve(&settings)?;
    let symbols = match &settings.symbols {
        Symbols::Named(names) => names.clone(),
        Symbols::First(_) => listing::symbols(&settings.target, address).map_err(unlisted)?,
    };
    let plan = Plan::new(settings, symbols).map_err(RunError::Plan)?;
    files::check(plan.clients).map_err(RunError::Plan)?;
    let mut display = Display::new(is_quiet, is_plain, &plan);
    let admin = watch_gateway(&plan)?;
    let start = Instant::now();
    let shared = Shared { plan, progress: Progress::default(), signals: Signals::default(), address, start };
    let shared = Arc::new(shared);
    let (beats_out, beats) = channel();
    let threads: Vec<_> = (0..shared.plan.settings.threads)
        .map(|thread| spawn(thread, &shared, beats_out.clone()))
        .collect::<Result<_, _>>()?;
    drop(beats_out);
    let supervisor = Supervisor { shared: &shared, beats, admin: admin.as_ref(), start };
    let (mut measured, mut timeline) = supervisor.supervise(&mut display, own.as_mut())?;
    let mut tallies = Vec::new();
    for thread in threads {
        tallies.push(thread.join().map_err(|_| RunError::Panicked)??);
    }
    supervisor.drain(&mut timeline);
    timeline.finish(Instant::now(), &shared.progress);
    display.finish();
    for tally in tallies {
        measured.add_thread(tally);
    }
    measured.timeline = timeline;
    if let Some(admin) = admin {
        admin.conclude(&mut measured);
    }
    measured.take_progress(&shared.progress);
    let shared = Arc::into_inner(shared).ok_or(RunError::Panicked)?;
    measured.conclude(shared.plan);
    Ok(measured)
}

fn resolve(settings: &Settings) -> Result<SocketAddr, RunError> {
    let target = &settings.target;
    let found = (target.host.as_str(), target.port).to_socket_addrs();
    let unknown = |reason: String| RunError::Plan(format!("{}: {reason}", target.url));
    let mut found: Vec<SocketAddr> = found.map_err(|error| unknown(error.to_string()))?.collect();
    // Where a name has both, a gateway that listens on 127.0.0.1 is meant.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.into_iter().next().ok_or_else(|| unknown("no address".to_owned()))
}

fn spawn(
    thread: usize,
    shared: &Arc<Shared>,
    beats: Sender<(usize, Beat)>,
) -> std::io::Result<JoinHandle<std::io::Result<Tally>>> {
    let shared = Arc::clone(shared);
    let builder = std::thread::Builder::new().name(format!("clients-{thread}"));
    builder.spawn(move || Hall::new(thread, &shared, beats)?.run())
}

/// The gateway's counts, looked at every second by a thread of their own, because the gateway may be slow to answer.
struct Watch {
    address: String,
    first: Scrape,
    latest: Receiver<Scrape>,
    /// Dropped to end the thread.
    stop: Sender<()>,
}

/// Begins to look at the gateway's counts; none when nobody says where they are, or nobody answers at the usual place.
fn watch_gateway(plan: &Plan) -> Result<Option<Watch>, RunError> {
    let address = match &plan.settings.admin {
        Admin::None => return Ok(None),
        Admin::Maybe(address) | Admin::At(address) => address.clone(),
    };
    let first = match (Scrape::take(&address), &plan.settings.admin) {
        (Ok(first), _) => first,
        (Err(error), Admin::At(_)) => return Err(RunError::Admin(error)),
        (Err(_), _) => return Ok(None),
    };
    let (scrapes, latest) = channel();
    let (stop, stopped) = channel::<()>();
    let asked = address.clone();
    std::thread::Builder::new().name("gateway".to_owned()).spawn(move || {
        use std::sync::mpsc::RecvTimeoutError::Timeout;
        while stopped.recv_timeout(SCRAPE_EVERY) == Err(Timeout) {
            // One that fails leaves a hole in the timeline; the last one decides.
            if let Ok(scrape) = Scrape::take(&asked)
                && scrapes.send(scrape).is_err()
            {
                break;
            }
        }
    })?;
    Ok(Some(Watch { address, first, latest, stop }))
}

impl Watch {
    /// Takes the last counts and compares them with what clients received.
    fn conclude(self, measured: &mut Measured) {
        let Self { address, first, latest, stop } = self;
        drop(stop);
        for scrape in latest {
            conserve::check_sum(&scrape, &mut measured.tally);
        }
        match last_scrape(&address) {
            Ok(last) => {
                conserve::check_sum(&last, &mut measured.tally);
                measured.conservation = conserve::compare(&first, &last, &mut measured.tally);
            }
            Err(error) => {
                measured.conservation = Conservation::not_asked();
                measured.warnings.push(format!("the gateway does not tell its last counts: {error}"));
            }
        }
    }
}

/// The counts once the last connection has gone, or what there is when it does not go.
fn last_scrape(address: &str) -> Result<Scrape, String> {
    let limit = Instant::now() + SETTLE_LIMIT;
    loop {
        let scrape = Scrape::take(address)?;
        if scrape.value("gateway_connections") == Some(0.0) || Instant::now() >= limit {
            return Ok(scrape);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Opens and closes the window.
struct Supervisor<'a> {
    shared: &'a Shared,
    beats: Receiver<(usize, Beat)>,
    admin: Option<&'a Watch>,
    start: Instant,
}

impl Supervisor<'_> {
    /// Opens the window once every client has settled, which each does within its own limits, and closes it after
    /// the duration or when nobody is left.
    fn supervise(
        &self,
        display: &mut Display,
        own: Option<&mut OwnServers>,
    ) -> Result<(Measured, Timeline), RunError> {
        let Shared { plan, progress, signals, .. } = self.shared;
        let mut timeline = Timeline::new(self.start, plan.settings.threads);
        let mut is_stopped = false;
        while progress.settled.load(Ordering::Relaxed) < u64::from(plan.settings.clients) && !is_stopped {
            is_stopped = display.show("connecting", self.look(&mut timeline), progress);
            std::thread::sleep(LOOK_EVERY);
        }
        let ramp = self.start.elapsed();
        if let Some(own) = own {
            own.warm_up().map_err(RunError::Own)?;
        }
        let cpu_before = cpu::of_process();
        let opened = signals.open();
        timeline.opened_at = Some(opened.duration_since(self.start));
        while opened.elapsed() < plan.settings.duration && !is_stopped && self.has_somebody() {
            is_stopped = display.show("measuring", self.look(&mut timeline), progress);
            std::thread::sleep(LOOK_EVERY.min(plan.settings.duration.saturating_sub(opened.elapsed())));
        }
        let window = opened.elapsed();
        timeline.closed_at = Some(self.start.elapsed());
        timeline.close_gateway_window();
        signals.leave();
        let cpu = cpu::of_process().saturating_sub(cpu_before);
        display.show("leaving", self.look(&mut timeline), progress);
        Ok((Measured::new(plan, ramp, window, cpu), timeline))
    }

    /// Whether anybody is connected, or will be.
    fn has_somebody(&self) -> bool {
        let progress = &self.shared.progress;
        let is_awaited = self.shared.plan.settings.groups.iter().any(|group| !group.profile.is_steady())
            || !self.shared.plan.settings.storms.is_empty();
        progress.alive.load(Ordering::Relaxed) > 0
            || (is_awaited && progress.connected.load(Ordering::Relaxed) > 0)
    }

    /// Takes what the threads and the gateway have told, and returns the timeline so far.
    fn look<'a>(&self, timeline: &'a mut Timeline) -> &'a Timeline {
        self.drain(timeline);
        timeline.advance(Instant::now(), &self.shared.progress);
        timeline
    }

    fn drain(&self, timeline: &mut Timeline) {
        timeline.beats(self.beats.try_iter());
        if let Some(admin) = self.admin {
            for scrape in admin.latest.try_iter() {
                timeline.scrape(scrape);
            }
        }
    }
}
