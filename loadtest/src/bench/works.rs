//! The works: what is measured, how long, and which figures come out.
//!
//! Owns the list of works with their cases, and the loads that need no more than a session and a window. What takes more has a
//! file of its own. Never compares servers: every case runs one server and gives its figures.

mod idle;
pub(crate) mod limit;
mod overload;
mod stalled;
mod top;

use super::feed::Recording;
use super::machine::Machine;
use super::server::Kind;
use super::session::{Session, SessionError, Setup};
use super::table::Column;
use super::work::{FULL, SUBSET, Work};
use crate::ceiling::Mode;
use clap::ValueEnum;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Figures by name.
pub(crate) type Values = BTreeMap<String, f64>;

/// Handshakes at once.
const IN_FLIGHT: usize = 256;
/// One of so many clients checks every link, where the load is high.
const WITNESS_EVERY: usize = 50;

/// A work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// Highest load: 1,000 clients, 100 symbols, everyone takes everything.
    Full,
    /// Highest load: 1,000 clients, 1,000 symbols, 20 each.
    Subset,
    /// Latency of subset at 0.4, 1.2 and 2.0 million deliveries a second.
    Latency,
    /// CPU per delivery where every message is a write of its own.
    Light,
    /// Two hops: one client, 1,000 updates a second.
    One,
    /// Clients that never read, and what the others see of them.
    Stalled,
    /// Connections with one subscription each: memory, and CPU per handshake.
    Idle,
    /// As many connections as can be made, and what others see of them.
    Storm,
    /// CPU per delivery over the number of clients and of symbols.
    Slopes,
    /// Half of the top, twice the top, half again.
    Overload,
    /// Highest rate of the feed: one client takes everything, so fan-out is next to nothing.
    Engine,
}

/// How thorough a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// Long windows and all cases.
    pub(crate) is_full: bool,
    /// How long stalled clients stall, in the setting with 2,000 clients.
    pub(crate) stalled_for: Duration,
    /// The only load of full and subset, in deliveries per second.
    pub(crate) load: Option<u64>,
    /// How long to measure a load, when that was said.
    pub(crate) window: Option<Duration>,
}

/// What all cases share.
pub(crate) struct Context<'a> {
    /// Programs and cores.
    pub(crate) machine: &'a Machine,
    /// How thorough to be.
    pub(crate) scale: Scale,
    /// Bytes of a payload that the publisher makes.
    pub(crate) payload_bytes: usize,
    /// Whether crowds sleep rather than poll.
    pub(crate) sleeps: bool,
    /// Made when first needed, by number of symbols.
    recordings: RefCell<HashMap<usize, Recording>>,
    /// The tops found so far, in updates per second: a good beginning of the next search.
    tops: RefCell<HashMap<(String, usize), f64>>,
}

/// One measurement of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Case {
    /// The highest sustained load.
    Top(Work),
    /// A fixed load, in updates per second; the crowd sleeps or does as it was told for the run.
    Load(Work, f64, Option<bool>),
    /// See [`stalled`].
    Stalled(stalled::Setting),
    /// See [`idle`].
    Idle,
    /// See [`idle`].
    Storm,
    /// See [`overload`].
    Overload(Work),
}

impl Scale {
    pub(crate) const fn warm_up(self) -> Duration {
        Duration::from_millis(if self.is_full { 500 } else { 200 })
    }

    pub(crate) fn window(self) -> Duration {
        let usual = Duration::from_millis(if self.is_full { 2_000 } else { 600 });
        self.window.unwrap_or(usual)
    }

    /// How long a search tries a load. It tries a dozen, half of them only to learn that they are too high or too low.
    fn try_window(self) -> Duration {
        let usual = Duration::from_millis(if self.is_full { 2_000 } else { 400 });
        self.window.unwrap_or(usual)
    }

    /// How far from the top a search may end.
    const fn precision(self) -> f64 {
        if self.is_full { 0.04 } else { 0.25 }
    }
}

impl<'a> Context<'a> {
    pub(crate) fn new(machine: &'a Machine, scale: Scale, payload_bytes: usize, sleeps: bool) -> Self {
        Self {
            machine,
            scale,
            payload_bytes,
            sleeps,
            recordings: RefCell::default(),
            tops: RefCell::default(),
        }
    }

    /// How sessions of high load are set up.
    fn setup(&self) -> Setup {
        Setup {
            in_flight: IN_FLIGHT,
            stalled: 0,
            witness_every: WITNESS_EVERY,
            sleeps: self.sleeps,
            is_awake: false,
            payload_bytes: self.payload_bytes,
        }
    }

    /// A session before anybody is connected.
    fn start(&self, kind: &Kind, work: Work, setup: Setup) -> Result<Session, SessionError> {
        if kind.is_gateway() && !self.recordings.borrow().contains_key(&work.symbols) {
            let recording = Recording::make(self.machine, work.symbols).map_err(SessionError::NotReady)?;
            self.recordings.borrow_mut().insert(work.symbols, recording);
        }
        let recordings = self.recordings.borrow();
        Session::start(kind, self.machine, work, recordings.get(&work.symbols), setup)
    }

    /// A session with all clients connected and subscribed.
    fn open(&self, kind: &Kind, work: Work, setup: Setup) -> Result<Session, SessionError> {
        let mut session = self.start(kind, work, setup)?;
        session.join(work.clients)?;
        session.try_subscriptions()?;
        Ok(session)
    }

    fn load(&self, kind: &Kind, work: Work, rate: f64, sleeps: bool) -> Result<Values, SessionError> {
        // One client is not enough to keep a core busy.
        let setup = Setup { sleeps, is_awake: work.clients == 1, ..self.setup() };
        let mut session = self.open(kind, work, setup)?;
        let Scale { is_full, .. } = self.scale;
        // Light loads need more time for as many samples.
        let window = self.scale.window() * if is_full { 2 } else { 1 };
        let mut values = session.measure(rate, self.scale.warm_up(), window)?.values();
        let size = [("clients", work.clients), ("symbols", work.symbols), ("per_client", work.per_client)];
        values.extend(size.map(|(name, count)| (name.to_owned(), count as f64)));
        Ok(values)
    }
}

impl Case {
    /// Its name within the work.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Top(work) => format!("highest sustained load, {}", describe(*work)),
            Self::Load(work, rate, sleeps) => {
                let sleeps = if *sleeps == Some(true) { ", client sleeps" } else { "" };
                format!("{} updates/s, {}{sleeps}", grouped(*rate as u64), describe(*work))
            }
            Self::Stalled(setting) => setting.name(),
            Self::Idle => "connections with one subscription each".to_owned(),
            Self::Storm => "connections that come and leave at once, beside 100 clients".to_owned(),
            Self::Overload(work) => {
                format!("half the top, twice the top for 2 s, half again; {}", describe(*work))
            }
        }
    }

    /// Measures one server.
    pub(crate) fn run(&self, context: &Context<'_>, kind: &Kind) -> Result<Values, SessionError> {
        match *self {
            Self::Top(work) => top::run(context, kind, work),
            Self::Load(work, rate, sleeps) => {
                context.load(kind, work, rate, sleeps.unwrap_or(context.sleeps))
            }
            Self::Stalled(setting) => setting.run(context, kind),
            Self::Idle => idle::idle(context, kind),
            Self::Storm => idle::storm(context, kind),
            Self::Overload(work) => overload::run(context, kind, work),
        }
    }
}

/// Such as `1,000 clients, 100 symbols, 20 each`.
fn describe(work: Work) -> String {
    let each =
        if work.per_client == work.symbols { "all".to_owned() } else { grouped(work.per_client as u64) };
    let plural = |count: usize, noun: &str| {
        format!("{} {noun}{}", grouped(count as u64), if count == 1 { "" } else { "s" })
    };
    format!("{}, {}, {each} each", plural(work.clients, "client"), plural(work.symbols, "symbol"))
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

const ONE: Work = Work { clients: 1, symbols: 1, per_client: 1 };
/// Another number of symbols than in other works, whose tops are no beginning for this search.
const ENGINE: Work = Work { clients: 1, symbols: 200, per_client: 200 };

impl Name {
    /// All works, in the order in which they run.
    pub(crate) fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// As it is said on the command line.
    pub(crate) fn text(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether a server is of interest: floors that poll where two hops are all there is, and in a short run no floor that writes
    /// each message by itself where the load is beyond it or the feed is what is measured.
    pub(crate) const fn wants(self, kind: &Kind, scale: Scale) -> bool {
        match (self, kind) {
            (_, Kind::Floor { spin: true, .. }) => matches!(self, Self::One),
            (
                Self::Latency | Self::Stalled | Self::Overload | Self::Engine,
                Kind::Floor { mode: Mode::Each, .. },
            ) => scale.is_full,
            _ => true,
        }
    }

    /// What is measured.
    pub(crate) fn cases(self, scale: Scale) -> Vec<Case> {
        match self {
            Self::Full => vec![top(FULL, scale)],
            Self::Subset => vec![top(SUBSET, scale)],
            Self::Latency => {
                [0.4e6, 1.2e6, 2.0e6].map(|load| Case::Load(SUBSET, load / SUBSET.fan_out(), None)).to_vec()
            }
            Self::Light => vec![
                Case::Load(FULL, 60.0, None),
                Case::Load(FULL, 60.0, Some(true)),
                Case::Load(SUBSET, 5_000.0, None),
            ],
            Self::One => vec![Case::Load(ONE, 1_000.0, None), Case::Load(ONE, 1_000.0, Some(true))],
            Self::Stalled => stalled::settings(scale).into_iter().map(Case::Stalled).collect(),
            Self::Idle => vec![Case::Idle],
            Self::Storm => vec![Case::Storm],
            Self::Slopes => slopes(scale),
            Self::Overload if scale.is_full => vec![Case::Overload(FULL), Case::Overload(SUBSET)],
            Self::Overload => vec![Case::Overload(SUBSET)],
            Self::Engine => vec![Case::Top(ENGINE)],
        }
    }

    /// What is shown of it.
    pub(crate) fn columns(self) -> &'static [Column] {
        match self {
            Self::Full | Self::Subset | Self::Engine => &TOP,
            Self::Latency | Self::Light | Self::One | Self::Slopes => &LOAD,
            Self::Stalled => &stalled::COLUMNS,
            Self::Idle => &idle::IDLE,
            Self::Storm => &idle::STORM,
            Self::Overload => &overload::COLUMNS,
        }
    }
}

/// The highest load, or the one that was asked for.
fn top(work: Work, scale: Scale) -> Case {
    scale.load.map_or(Case::Top(work), |load| Case::Load(work, load as f64 / work.fan_out(), None))
}

/// 10 symbols each of 100 at 50,000 deliveries a second over the number of clients; then up to 10 symbols each at
/// 100,000 deliveries a second over the number of symbols.
fn slopes(scale: Scale) -> Vec<Case> {
    let (clients, symbols): (&[usize], &[usize]) = if scale.is_full {
        (&[10, 100, 1_000, 10_000], &[1, 10, 100, 1_000, 10_000])
    } else {
        (&[10, 1_000], &[1, 1_000])
    };
    let load = |work: Work, deliveries: f64| Case::Load(work, deliveries / work.fan_out(), None);
    let over_clients =
        clients.iter().map(|&clients| load(Work { clients, symbols: 100, per_client: 10 }, 50_000.0));
    let over_symbols = symbols
        .iter()
        .map(|&symbols| load(Work { clients: 1_000, symbols, per_client: symbols.min(10) }, 100_000.0));
    over_clients.chain(over_symbols).collect()
}

const fn column(value: &'static str, title: &'static str, unit: f64, is_compared: bool) -> Column {
    Column { value, title, unit, is_compared }
}

const TOP: [Column; 10] = [
    column("deliveries_per_s", "M deliveries/s", 1e6, true),
    column("us_per_delivery", "us/delivery", 1.0, true),
    column("writing_us_per_delivery", "of it writing", 1.0, true),
    column("engine_us_per_update", "rest, us/update", 1.0, false),
    column("updates_per_read", "updates/read", 1.0, false),
    column("bytes_per_update", "bytes", 1.0, false),
    column("p50_us", "p50 ms", 1e3, false),
    column("p99_us", "p99 ms", 1e3, false),
    column("generator_percent", "generator %", 1.0, false),
    column("broken", "broken links", 1.0, false),
];

const LOAD: [Column; 12] = [
    column("share", "arrived", 1.0, false),
    column("us_per_delivery", "us/delivery", 1.0, true),
    column("writing_us_per_delivery", "of it writing", 1.0, true),
    column("engine_us_per_update", "rest, us/update", 1.0, false),
    column("updates_per_read", "updates/read", 1.0, false),
    column("p50_us", "p50 us", 1.0, true),
    column("p99_us", "p99 us", 1.0, true),
    column("p999_us", "p99.9 us", 1.0, false),
    column("server_percent", "server %", 1.0, false),
    column("generator_percent", "generator %", 1.0, false),
    column("late_us", "publisher late us", 1.0, false),
    column("broken", "broken links", 1.0, false),
];
