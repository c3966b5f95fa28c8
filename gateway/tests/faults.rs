//! Everything that feed-sim can let go wrong with a feed, seen by a client that opted in and by one that did not.
//!
//! A second reader of the feed tells what the books truly are. After each fault both clients have them within
//! [`RECOVERY_MAX`], without a second snapshot, a broken link or a wrong checksum (their views see to that).

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use feed_sim::{Arrivals, Fault, Server, ServerConfig, ServerHandle, SimulatorConfig, SourceConfig};
use model::{Epoch, Nanos};
use support::client::Client;
use support::gateway::{Gateway, settings_of};
use support::http::Samples;
use support::tape::TapeFeed;
use support::truth::truths;
use support::view::View;

/// From the end of a fault until every client's books are the venue's again.
const RECOVERY_MAX: Duration = Duration::from_secs(2);

/// How long silences and disconnections last; longer than the gateway's patience with a silent feed.
const SPAN: Duration = Duration::from_millis(1_200);

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

/// Snapshots of a client that subscribed once: the instruments, and book and ticker of each symbol.
const SNAPSHOTS: u64 = 1 + 2 * SYMBOLS.len() as u64;

/// Whose data a fault makes stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stale {
    Nobody,
    OneSymbol,
    AllSymbols,
    /// And the venue is told to be gone.
    Venue,
}

impl Stale {
    const fn symbols(self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::OneSymbol => 1,
            Self::AllSymbols | Self::Venue => SYMBOLS.len(),
        }
    }
}

/// A feed, a gateway on it, and two clients that follow all books.
struct Scene {
    feed: ServerHandle,
    gateway: Gateway,
    plain: Client,
    ext: Client,
}

impl Scene {
    fn start() -> Self {
        let simulator = SimulatorConfig {
            symbols: SYMBOLS.len(),
            // Slow enough that a feed tells again all trades of its longest absence here: the last 50 of a symbol.
            rate: 100.0,
            arrivals: Arrivals::Poisson,
            depth: 150,
            zipf: 0.0,
            ..SimulatorConfig::default()
        };
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let source = SourceConfig::Simulator(simulator);
        let feed = Server::start_with(free, &source, ServerConfig::default()).expect("the simulator starts");
        let mut settings = settings_of(feed.local_addr());
        settings.feed.silence_ms = 500;
        settings.feed.reconnect_max_ms = 200;
        let gateway = Gateway::start_ready(settings);
        let [plain, ext] = [gateway.client(), gateway.ext_client()].map(follow);
        let mut scene = Self { feed, gateway, plain, ext };
        scene.prove(Instant::now() + support::PATIENCE);
        scene
    }

    /// Compares both clients' books with the venue's.
    fn prove(&mut self, deadline: Instant) {
        let truths = truths(self.feed.local_addr(), SYMBOLS.len());
        for client in [&mut self.plain, &mut self.ext] {
            client.prove(deadline, &truths);
        }
    }

    /// Waits until both clients were told that what was stale is fresh: two states of each pair, and of the venue.
    fn wait_told(&mut self, deadline: Instant, stale: Stale) {
        let states = SYMBOLS.len() + 2 * stale.symbols();
        let statuses = if stale == Stale::Venue { 3 } else { 1 };
        let is_told = |view: &View| {
            view.pairs.values().map(Vec::len).sum::<usize>() >= states && view.statuses.len() >= statuses
        };
        for client in [&mut self.plain, &mut self.ext] {
            client.wait_until(deadline, "what is stale to be fresh", is_told);
        }
    }
}

/// Two depths, because the window of a book decides which updates a client sees.
fn follow(mut client: Client) -> Client {
    client.follow(&SYMBOLS[..2], 10);
    client.follow(&SYMBOLS[2..], 100);
    client
}

/// Lets a fault happen; it shows as `counters`, and makes `stale` stale until it is over.
fn check(fault: Fault, stale: Stale, counters: &[fn(&Samples) -> u64]) {
    let mut scene = Scene::start();
    let before = scene.gateway.samples();
    assert_eq!(before.rejects(), []);
    let span = if stale == Stale::Venue { SPAN } else { Duration::ZERO };
    let over = Instant::now() + span;
    scene.feed.inject(fault);
    let moved = |samples: &Samples| counters.iter().all(|count| count(samples) > count(&before));
    scene.gateway.wait_samples("the fault to be counted", moved);
    scene.gateway.wait_samples("data to be fresh", |samples| samples.one("gateway_instruments_stale") == 0);
    scene.wait_told(over + RECOVERY_MAX, stale);
    scene.prove(over + RECOVERY_MAX);
    println!("{fault}: right again {:?} after its end", Instant::now().saturating_duration_since(over));
    check_told(&scene, stale);
    scene.gateway.samples().check_conserved();
    // A trade that the feed lost may be lost for good; what happened without a connection is told again.
    let missing = [&scene.plain, &scene.ext].map(|client| client.view.missing_trades());
    assert!(missing[0] == missing[1] && missing[0] <= 1, "{missing:?}");
    assert!(stale != Stale::Venue || missing == [0, 0], "{missing:?}");
}

fn check_told(scene: &Scene, stale: Stale) {
    let (plain, ext) = (&scene.plain.view, &scene.ext.view);
    assert_eq!((plain.snapshots, ext.snapshots), (SNAPSHOTS, SNAPSHOTS));
    // Each book before the fault and after it.
    assert_eq!((plain.proven, ext.proven), (2 * SYMBOLS.len() as u64, 2 * SYMBOLS.len() as u64));
    assert_eq!(plain.notices, Vec::<serde_json::Value>::new());
    let statuses: &[&str] =
        if stale == Stale::Venue { &["online", "maintenance", "online"] } else { &["online"] };
    assert_eq!(plain.statuses, statuses);
    assert_eq!(ext.statuses, statuses);
    let touched = SYMBOLS.iter().filter(|symbol| is_touched(plain, ext, symbol)).count();
    assert_eq!(touched, stale.symbols());
}

/// Whether a symbol was stale and is fresh; whatever is told of it is told in every way.
fn is_touched(plain: &View, ext: &View, symbol: &str) -> bool {
    let touched = !ext.notice_codes("book", symbol).is_empty();
    let codes: &[&str] = if touched { &["stale", "fresh"] } else { &[] };
    for channel in ["book", "ticker", "trade"] {
        assert_eq!(ext.notice_codes(channel, symbol), codes, "{channel} {symbol}");
    }
    let states: &[&str] = if touched { &["online", "maintenance", "online"] } else { &["online"] };
    for view in [plain, ext] {
        assert_eq!(view.pairs[symbol], states, "{symbol}");
    }
    touched
}

fn nanos(span: Duration) -> Nanos {
    Nanos::from_millis(span.as_millis() as u64)
}

#[test]
fn a_lost_event_makes_everything_stale_until_the_snapshots() {
    check(Fault::Gap, Stale::AllSymbols, &[|s| s.reject("transport_gap")]);
}

#[test]
fn a_lost_sequence_makes_its_symbol_stale_until_the_snapshot() {
    check(Fault::GapSeq, Stale::OneSymbol, &[|s| s.reject("sequence_gap")]);
}

#[test]
fn a_lost_line_makes_everything_stale_until_the_snapshots() {
    check(Fault::GapLine, Stale::AllSymbols, &[|s| s.reject("transport_gap")]);
}

#[test]
fn a_duplicate_disturbs_nobody() {
    check(Fault::Duplicate, Stale::Nobody, &[|s| s.reject("old_sequence")]);
}

#[test]
fn an_old_event_disturbs_nobody() {
    check(Fault::Old, Stale::Nobody, &[|s| s.reject("old_sequence")]);
}

#[test]
fn a_crossing_update_is_not_applied_and_its_symbol_is_stale_until_the_snapshot() {
    check(Fault::Crossed, Stale::OneSymbol, &[|s| s.reject("crossed")]);
}

#[test]
fn garbage_is_refused_and_the_hole_it_leaves_makes_everything_stale() {
    let counters: &[fn(&Samples) -> u64] = &[|s| s.reject("not_json"), |s| s.reject("transport_gap")];
    check(Fault::Garbage, Stale::AllSymbols, counters);
}

#[test]
fn a_silent_feed_is_maintenance_until_it_speaks() {
    let silent: fn(&Samples) -> u64 = |s| s.of("gateway_feed_losses_total", "reason", "silent");
    check(Fault::Silence(nanos(SPAN)), Stale::Venue, &[silent]);
}

#[test]
fn a_lost_connection_is_maintenance_until_the_next() {
    let ended: fn(&Samples) -> u64 = |s| s.of("gateway_feed_losses_total", "reason", "ended");
    check(Fault::Disconnect(nanos(SPAN)), Stale::Venue, &[ended]);
}

#[test]
fn who_subscribes_while_data_is_stale_is_told_so() {
    let simulator = SimulatorConfig { symbols: 1, rate: 1e6, ..SimulatorConfig::default() };
    let mut feed = TapeFeed::open(&SourceConfig::Simulator(simulator));
    let gateway = Gateway::start(settings_of(feed.address()));
    feed.begin();
    gateway.wait_ready(1);
    feed.lose(20);
    feed.step(1);
    gateway.wait_samples("the hole to be seen", |samples| samples.one("gateway_instruments_stale") == 1);
    let mut clients = [gateway.client(), gateway.ext_client()];
    for client in &mut clients {
        client.follow(&SYMBOLS[..1], 25);
        assert_eq!(client.view.pairs["BTC/USD"], ["maintenance"]);
    }
    clients[1].wait("to be told", |view| view.notice_codes("trade", "BTC/USD") == ["stale"]);
    assert_eq!(clients[1].view.notice_codes("book", "BTC/USD"), ["stale"]);
    feed.tell_books();
    let truth = &feed.truths()["BTC/USD"];
    clients[0].wait("what is stale to be fresh", |view| view.pair("BTC/USD") == "online");
    // Whoever reads that it is fresh has read what made it so.
    clients[1]
        .wait("what is stale to be fresh", |view| view.notice_codes("book", "BTC/USD") == ["stale", "fresh"]);
    for client in &clients {
        let one = &client.view.books["BTC/USD"];
        assert!((one.seq, &one.book) == (truth.seq, &truth.book.top(25)));
    }
    assert_eq!(clients[0].view.notices, Vec::<serde_json::Value>::new());
}

/// Many deep books of other contents at once are more than is kept for a client as bytes: it is caught up, not given up.
#[test]
fn a_restarted_feed_with_other_books_is_told_as_updates_however_deep() {
    const MANY: usize = 20;
    let source = |seed| {
        let epoch = Epoch(seed);
        let simulator =
            SimulatorConfig { symbols: MANY, seed, depth: 1_500, epoch, ..SimulatorConfig::default() };
        SourceConfig::Simulator(simulator)
    };
    let mut feed = TapeFeed::open(&source(1));
    let gateway = Gateway::start(settings_of(feed.address()));
    feed.begin();
    gateway.wait_ready(MANY);
    let symbols = feed.symbols();
    let symbols: Vec<&str> = symbols.iter().map(String::as_str).collect();
    let mut clients = [gateway.client(), gateway.ext_client()];
    for client in &mut clients {
        client.follow(&symbols, 1_000);
    }
    feed.restart(&source(2));
    feed.begin();
    let truths: BTreeMap<_, _> =
        feed.truths().into_iter().map(|(symbol, truth)| (symbol, truth.book.top(1_000))).collect();
    for client in &mut clients {
        let is_new = |view: &View| symbols.iter().all(|one| view.books[*one].book == truths[*one]);
        client.wait("the new books", is_new);
        assert_eq!((client.view.snapshots, client.closed), (1 + 2 * MANY as u64, None));
    }
    gateway.wait_samples("everybody to be caught up", |samples| samples.one("gateway_clients_lagging") == 0);
    gateway.samples().check_conserved();
}
