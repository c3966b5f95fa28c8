//! Clients that stop reading while the market runs on: what they have when they read again, and that others never notice.
//!
//! The market moves only as far as a client that reads has got everything, so a client that does not read is the only one
//! that can lag.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use feed_sim::{Server, SimulatorConfig, SourceConfig};
use gateway::config::Config;
use model::PairStatus;
use serde_json::{Value, json};
use support::book::Precision;
use support::client::Client;
use support::gateway::{Gateway, SYMBOLS, settings_of};
use support::http::Samples;
use support::socket::{Incoming, Socket};
use support::tape::TapeFeed;
use support::view::View;

/// Bytes that the kernel may hold for a client that does not read.
const SEND_BUFFER_BYTES: u32 = 32 << 10;

/// Events between two looks at the client that keeps up: what it is sent of them fits into the kernel's buffer.
const EVENTS_PER_STEP: usize = 30;

/// A state of the first pair that is told once, at the end.
const LAST_STATE: PairStatus = PairStatus::CancelOnly;

/// A market under the test's control, a gateway with little room for who does not read, and a client that always reads.
struct Scene {
    feed: TapeFeed,
    gateway: Gateway,
    healthy: Client,
    states: std::iter::Cycle<std::array::IntoIter<PairStatus, 2>>,
}

impl Scene {
    fn start(set: impl FnOnce(&mut Config)) -> Self {
        // Always an event due, so that each step tells as many as were asked for.
        let simulator =
            SimulatorConfig { symbols: 4, depth: 600, rate: 1e6, zipf: 0.0, ..SimulatorConfig::default() };
        let mut feed = TapeFeed::open(&SourceConfig::Simulator(simulator));
        let mut config = settings_of(feed.address());
        config.public.send_buffer_bytes = SEND_BUFFER_BYTES;
        set(&mut config);
        let gateway = Gateway::start(config);
        feed.begin();
        gateway.wait_ready(SYMBOLS);
        let mut healthy = gateway.ext_client();
        let symbols = feed.symbols();
        healthy.follow(&symbols.iter().map(String::as_str).collect::<Vec<_>>(), 100);
        let states = [PairStatus::PostOnly, PairStatus::LimitOnly].into_iter().cycle();
        Self { feed, gateway, healthy, states }
    }

    /// Lets the market run on, and the client that reads follow.
    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.feed.step(EVENTS_PER_STEP);
            let state = self.states.next().expect("a cycle has no end");
            let symbol = self.feed.barrier(state);
            self.healthy.wait("everything that was told", |view| view.pair(&symbol) == state.name());
        }
    }

    /// A client with everything of all symbols that reads only when told.
    fn sleeper(&self, path: &str, depth: u64) -> Sleeper {
        Sleeper::fall_asleep(&self.gateway, path, &self.feed.symbols(), depth, &self.healthy.view.precisions)
    }

    fn wait_lagging(&self, clients: u64) -> Samples {
        self.gateway.wait_samples("clients to lag", |s| s.one("gateway_clients_lagging") == clients)
    }

    /// Stops the market, and compares the books of a client that was asleep and of the healthy one with the venue's.
    fn check_right(&mut self, client: &mut Client) {
        let symbol = self.feed.barrier(LAST_STATE);
        for client in [&mut *client, &mut self.healthy] {
            client.wait("to be caught up", |view| view.pair(&symbol) == LAST_STATE.name());
            assert_eq!(client.closed, None);
        }
        for (symbol, truth) in self.feed.truths() {
            for (who, view) in [("sleepy", &client.view), ("healthy", &self.healthy.view)] {
                let one = &view.books[&symbol];
                assert!(one.book == truth.book.top(one.depth), "{symbol} of the {who} client at {}", one.seq);
            }
        }
    }

    /// The healthy client got every entry as it was published, and every delivery is accounted for.
    fn check_others(&self) {
        assert_eq!((self.healthy.view.merged_max, self.healthy.view.missing_trades()), (1, 0));
        assert_eq!(self.healthy.view.notices, Vec::<Value>::new());
        let samples = self.gateway.samples();
        assert_eq!(samples.rejects(), []);
        samples.check_conserved();
    }
}

/// A client that does not read.
struct Sleeper {
    socket: Socket,
    view: View,
}

impl Sleeper {
    /// Subscribes to everything and reads nothing. Instruments come last, because the last subscription is the last to be
    /// caught up; a book needs their precisions, so somebody else has to know them.
    fn fall_asleep(
        gateway: &Gateway,
        path: &str,
        symbols: &[String],
        depth: u64,
        precisions: &BTreeMap<String, Precision>,
    ) -> Self {
        let socket = Socket::connect_narrow(gateway.public, path);
        let mut sleeper = Self { socket, view: View::default() };
        sleeper.view.precisions.clone_from(precisions);
        sleeper.ask(&json!({ "channel": "book", "symbol": symbols, "depth": depth }));
        sleeper.ask(&json!({ "channel": "ticker", "symbol": symbols, "event_trigger": "bbo" }));
        sleeper.ask(&json!({ "channel": "trade", "symbol": symbols }));
        sleeper.ask(&json!({ "channel": "instrument" }));
        sleeper
    }

    fn ask(&mut self, params: &Value) {
        self.socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    }

    /// Reads until everything is acknowledged and every snapshot is there.
    fn read_snapshots(&mut self, symbols: u64) {
        let (acks, snapshots) = (3 * symbols + 1, 2 * symbols + 1);
        while (self.view.subscribed.len() as u64) < acks || self.view.snapshots < snapshots {
            self.view.apply(self.socket.frame().text());
        }
    }

    /// Reads from now on.
    fn wake(self) -> Client {
        let mut client = Client::over(self.socket);
        client.view = self.view;
        client
    }
}

fn trades(view: &View) -> Vec<&[u64]> {
    view.trades.values().map(Vec::as_slice).collect()
}

/// Ids that both clients may have: those from the first that the one that subscribed later got.
fn has_all_trades(slow: &View, healthy: &View) -> bool {
    let tail = |symbol: &String, ids: &Vec<u64>| healthy.trades[symbol].ends_with(ids);
    slow.trades.iter().all(|(symbol, ids)| tail(symbol, ids))
}

#[test]
fn a_client_that_sleeps_is_caught_up_with_merged_books_and_every_trade() {
    let mut scene = Scene::start(|_| {});
    let mut sleeper = scene.sleeper("/v2", 25);
    sleeper.read_snapshots(4);
    let snapshots = sleeper.view.snapshots;
    let before = scene.healthy.view.updates;
    scene.run(200);
    let samples = scene.wait_lagging(1);
    assert!(samples.deliveries("pending", "book") > 1_000, "{}", samples.deliveries("pending", "book"));
    let mut client = sleeper.wake();
    scene.run(10);
    scene.check_right(&mut client);
    scene.check_others();
    let (slow, healthy) = (&client.view, &scene.healthy.view);
    println!("{} updates instead of {}", slow.updates, healthy.updates - before);
    assert_eq!(
        (slow.snapshots, slow.notices.len(), &slow.statuses[..]),
        (snapshots, 0, &["online".into()][..])
    );
    assert!(slow.updates < (healthy.updates - before) * 3 / 4, "{} updates", slow.updates);
    assert_eq!(slow.missing_trades(), 0);
    assert!(trades(slow).iter().all(|ids| ids.len() > 50) && has_all_trades(slow, healthy));
    assert!(scene.gateway.samples().deliveries("merged_total", "book") > 1_000);
}

/// A client sleeps for longer than trades are kept; its view, and the scene.
fn sleep_beyond_the_ring(path: &str) -> (Scene, Client) {
    let mut scene = Scene::start(|config| {
        config.limits.ring_entries = 64;
        // And longer than the log of frames reaches.
        config.limits.log_bytes = 1 << 20;
    });
    let mut sleeper = scene.sleeper(path, 100);
    sleeper.read_snapshots(4);
    scene.run(300);
    scene.wait_lagging(1);
    let mut client = sleeper.wake();
    scene.run(5);
    scene.check_right(&mut client);
    scene.check_others();
    (scene, client)
}

#[test]
fn trades_that_are_kept_no_more_are_a_break_in_their_ids_and_the_book_is_right_all_the_same() {
    let (scene, client) = sleep_beyond_the_ring("/v2");
    let missing = client.view.missing_trades();
    assert!(missing > 0 && client.view.breaks > 0);
    assert_eq!(client.view.notices, Vec::<Value>::new());
    assert_eq!(scene.gateway.samples().deliveries("dropped_total", "trade"), missing);
}

#[test]
fn who_opted_in_is_told_how_much_was_merged_and_how_many_trades_are_missing() {
    let (scene, client) = sleep_beyond_the_ring("/v2?ext=1");
    let missing = client.view.missing_trades();
    assert!(missing > 0 && client.view.merged_max > 100, "{missing}, {}", client.view.merged_max);
    let notices = &client.view.notices;
    let of = |code: &'static str| notices.iter().filter(move |notice| notice["code"] == code);
    assert_eq!(notices[0], json!({ "code": "lagging" }), "the first thing that is told");
    assert!(of("merged").any(|notice| notice["channel"] == "book" && notice["count"].as_u64() > Some(100)));
    assert!(of("gap").all(|notice| notice["channel"] == "trade"), "{notices:?}");
    assert_eq!(of("gap").map(|notice| notice["count"].as_u64().expect("a count")).sum::<u64>(), missing);
    assert_eq!(scene.gateway.samples().deliveries("dropped_total", "trade"), missing);
}

#[test]
fn a_client_that_falls_asleep_before_its_snapshots_gets_each_once() {
    for path in ["/v2", "/v2?ext=1"] {
        let mut scene = Scene::start(|_| {});
        let sleeper = scene.sleeper(path, 500);
        scene.wait_lagging(1);
        scene.run(60);
        let mut client = sleeper.wake();
        scene.run(5);
        scene.check_right(&mut client);
        scene.check_others();
        assert_eq!(client.view.snapshots, 2 * 4 + 1);
    }
}

#[test]
fn naps_again_and_again_leave_the_book_right() {
    let mut scene = Scene::start(|_| {});
    let mut sleeper = scene.sleeper("/v2", 10);
    sleeper.read_snapshots(4);
    for nap in 0..20 {
        scene.run(5);
        // Some octets and no more: the gateway stops in the middle of frames.
        sleeper.socket.read_bytes_max = 1_000 + 37 * nap;
        for _ in 0..8 {
            if let Incoming::Frame(frame) = sleeper.socket.read(std::time::Instant::now()) {
                sleeper.view.apply(frame.text());
            }
        }
    }
    let mut client = sleeper.wake();
    scene.run(1);
    scene.check_right(&mut client);
    scene.check_others();
    assert_eq!(client.view.missing_trades(), 0);
}

#[test]
fn who_never_reads_again_is_closed_with_4008() {
    let mut scene = Scene::start(|config| config.limits.stall_ms = 1_000);
    let mut sleeper = scene.sleeper("/v2", 100);
    sleeper.read_snapshots(4);
    scene.run(100);
    scene.gateway.wait_samples("the gateway to give up", |samples| {
        samples.of("gateway_connections_closed_total", "code", "slow_consumer") == 1
    });
    assert_eq!(sleeper.socket.closing(), (4008, "client reads too slowly".to_owned()));
    drop(sleeper);
    scene.gateway.wait_samples("one client to be left", |samples| samples.one("gateway_connections") == 1);
    scene.run(3);
    scene.check_others();
}

#[test]
fn at_full_rate_two_that_sleep_and_one_that_reads_end_with_the_same_books() {
    let simulator = SimulatorConfig { symbols: 4, depth: 150, rate: 5_000.0, ..SimulatorConfig::default() };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let feed = Server::start(free, &SourceConfig::Simulator(simulator)).unwrap();
    let mut config = settings_of(feed.local_addr());
    config.public.send_buffer_bytes = SEND_BUFFER_BYTES;
    let gateway = Gateway::start_ready(config);
    let mut knower = gateway.client();
    knower.subscribe(json!({ "channel": "instrument" }));
    let precisions = std::mem::take(&mut knower.view.precisions);
    let symbols: Vec<String> = precisions.keys().cloned().collect();
    let join = |path| Sleeper::fall_asleep(&gateway, path, &symbols, 100, &precisions);
    let mut clients = vec![join("/v2").wake()];
    let sleepers = [join("/v2"), join("/v2?ext=1")];
    gateway.wait_samples("much to be missed", |samples| samples.deliveries("pending", "book") > 10_000);
    clients.extend(sleepers.map(Sleeper::wake));
    gateway.wait_samples("it to be caught up", |samples| samples.deliveries("pending", "book") < 1_000);
    // Without its feed the market stands still, and the last that is told of it is that it does.
    feed.stop();
    let stands_still = |view: &View| {
        symbols.iter().all(|symbol| !view.books.is_empty() && view.pair(symbol) == "maintenance")
    };
    for client in &mut clients {
        client.wait("the end of the market", stands_still);
        assert_eq!((client.closed, client.view.snapshots), (None, 2 * 4 + 1));
    }
    let books = |client: &Client| -> Vec<_> {
        let one = |symbol: &String| (client.view.books[symbol].seq, client.view.books[symbol].book.clone());
        symbols.iter().map(one).collect()
    };
    assert!(clients.iter().all(|client| books(client) == books(&clients[0])));
    gateway.samples().check_conserved();
}
