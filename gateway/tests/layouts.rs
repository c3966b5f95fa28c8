//! The same gateway in every layout of threads: books are true, feeds come and go, it ends when it is told to.

mod support;

use std::net::SocketAddr;

use feed_sim::{Server, SimulatorConfig, SourceConfig};
use gateway::config::{Layout, ThreadsConfig};
use serde_json::json;
use support::gateway::{Gateway, settings, settings_of};

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

const LAYOUTS: [ThreadsConfig; 4] = [
    ThreadsConfig { layout: Layout::Spread, busy_poll: false, cores: String::new() },
    ThreadsConfig { layout: Layout::Spread, busy_poll: true, cores: String::new() },
    ThreadsConfig { layout: Layout::Single, busy_poll: false, cores: String::new() },
    ThreadsConfig { layout: Layout::Single, busy_poll: true, cores: String::new() },
];

#[test]
fn a_feed_that_ends_and_comes_back_leaves_true_books_in_every_layout() {
    for threads in LAYOUTS {
        println!("{threads:?}");
        let simulator = |seed| {
            let simulator = SimulatorConfig { symbols: 4, seed, rate: 3_000.0, ..SimulatorConfig::default() };
            SourceConfig::Simulator(SimulatorConfig { epoch: model::Epoch(seed), ..simulator })
        };
        let feed = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), &simulator(1)).expect("a free port");
        let address = feed.local_addr();
        let mut config = settings_of(address);
        config.shards.count = 1;
        config.threads = threads;
        let gateway = Gateway::start_ready(config);
        let mut client = gateway.ext_client();
        // No trades: those of the second market begin anew with their numbers.
        client.subscribe(json!({ "channel": "instrument" }));
        client.subscribe(json!({ "channel": "book", "symbol": SYMBOLS, "depth": 25 }));
        client.wait("the market to run", |view| view.updates > 1_000);
        feed.stop();
        client.wait("the feed to be missed", |view| view.pair("BTC/USD") == "maintenance");
        // Another generation: every sequence begins anew.
        let feed = Server::start(address, &simulator(2)).expect("the port is free again");
        client.wait("the feed to be back", |view| SYMBOLS.iter().all(|symbol| view.pair(symbol) == "online"));
        let before = client.view.updates;
        client.wait("the market to run again", |view| view.updates > before + 1_000);
        client.view.expect_truth(&support::truth::truths(address, SYMBOLS.len()));
        client.wait("true books", support::view::View::is_proven);
        assert_eq!((client.view.proven, client.closed), (SYMBOLS.len() as u64, None));
        gateway.samples().check_conserved();
        drop((client, gateway));
        feed.stop();
    }
}

#[test]
fn the_embedded_market_runs_in_every_layout() {
    for threads in LAYOUTS {
        println!("{threads:?}");
        let mut config = settings();
        config.shards.count = 1;
        config.threads = threads;
        config.feed.sim.rate = 2_000.0;
        let gateway = Gateway::start_ready(config);
        let mut client = gateway.client();
        client.follow(&SYMBOLS, 10);
        client.wait("the market to run", |view| view.updates > 1_000);
        gateway.samples().check_conserved();
    }
}
