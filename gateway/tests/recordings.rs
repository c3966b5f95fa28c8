//! Recorded exchange traffic through the whole gateway: what exchanges said about their own books, a client's books say too.
//!
//! The feed is held until the client has its snapshots and after every few hundred events until the client has got them all, so
//! that it follows every event and nothing depends on the machine's speed.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use feed_sim::{ReplayConfig, Server, SourceConfig, Speed, VenueCheck};
use model::{Level, PairStatus};
use serde_json::json;
use support::client::Client;
use support::gateway::{Gateway, settings_of};
use support::tape::TapeFeed;
use support::view::Point;

const KRAKEN: &str = "kraken-2021-04-17/kraken_book1000_10pairs.txt.gz";
const BINANCE: &str = "binance-2024-08-08/usdm_btcusdt_20240808.txt.gz";
const COINBASE: &str = "coinbase-2021-04-17/coinbase_l2_10products.txt.gz";

/// Events between two looks at the client: less than what the kernel holds for it.
const EVENTS_PER_STEP: usize = 200;

/// A recording that was played to its end to a client that follows every book.
struct Played {
    feed: TapeFeed,
    gateway: Gateway,
    client: Client,
}

fn play(path: &str, depth: u64) -> Played {
    let mut feed = TapeFeed::recording(path);
    let gateway = Gateway::start(settings_of(feed.address()));
    feed.begin();
    gateway.wait_ready(feed.symbols().len());
    let mut client = gateway.client();
    client.subscribe(json!({ "channel": "instrument" }));
    client.subscribe(json!({ "channel": "book", "symbol": feed.symbols(), "depth": depth }));
    client.subscribe(json!({ "channel": "trade", "symbol": feed.symbols() }));
    let mut states = [PairStatus::PostOnly, PairStatus::LimitOnly].into_iter().cycle();
    let mut more = true;
    while more {
        more = feed.step(EVENTS_PER_STEP);
        let state = states.next().expect("a cycle has no end");
        let symbol = feed.barrier(state);
        client.wait("everything that was told", |view| view.pair(&symbol) == state.name());
    }
    Played { feed, gateway, client }
}

impl Played {
    /// The client's book after an event: its last message that is not beyond it.
    fn point(&self, symbol: &str, seq: u64) -> Point {
        let points = &self.client.view.points[symbol];
        points[points.partition_point(|point| point.seq <= seq) - 1]
    }

    /// Nothing was refused, stale, merged or lost, and every book is the venue's to the last level.
    fn check_whole(&mut self) {
        let samples = self.gateway.samples();
        assert_eq!(samples.rejects(), []);
        assert_eq!(samples.one("gateway_instruments_stale"), 0);
        for kind in ["merged_total", "dropped_total", "discarded_total", "pending"] {
            assert_eq!(samples.deliveries(kind, "book"), 0, "{kind}");
        }
        for (symbol, truth) in self.feed.truths() {
            let view = &self.client.view.books[&symbol];
            assert!(
                view.book == truth.book.top(view.depth),
                "{symbol} ends as another book than the venue's"
            );
        }
    }
}

#[test]
fn every_checksum_of_kraken_is_that_of_the_clients_book() {
    let mut played = play(KRAKEN, 1_000);
    let (mut compared, mut wrong, mut silent) = (0, 0, 0);
    for said in played.feed.said() {
        let VenueCheck::Checksum(recorded) = said.check else { panic!("{said:?}") };
        let point = played.point(&said.symbol, said.seq);
        compared += 1;
        // An update that changes nothing that the client can see gives no message: its book stands as it is.
        silent += u64::from(point.seq < said.seq);
        wrong += u64::from((point.told, point.own) != (recorded, recorded));
    }
    println!("kraken: {wrong} of {compared} checksums wrong, {silent} updates gave no message");
    assert_eq!((compared, wrong), (4_269, 0));
    played.check_whole();
}

#[test]
fn the_best_prices_of_binance_are_those_of_the_clients_book() {
    let mut played = play(BINANCE, 10);
    let one = played.feed.instrument("BTC/USDT").clone();
    let units = |level: Level| {
        (one.price.units(level.price.0).unsigned_abs(), one.qty.units(level.qty.0).unsigned_abs())
    };
    let (mut tops, mut updates) = (BTreeMap::new(), Vec::new());
    for said in played.feed.said() {
        match said.check {
            VenueCheck::Top { u, bid, ask } => drop(tops.insert(u, [units(bid), units(ask)])),
            VenueCheck::Update { u } => updates.push((u, said.seq)),
            VenueCheck::Checksum(_) => panic!("{said:?}"),
        }
    }
    let (mut compared, mut wrong, mut exact, mut exact_wrong) = (0, 0, 0, 0);
    for (u, seq) in updates {
        let best = played.point("BTC/USDT", seq).best.expect("both sides have levels");
        // The newest ticker that is not past the update; they came over connections of their own.
        let Some((&at, top)) = tops.range(..=u).next_back() else { continue };
        compared += 1;
        wrong += u64::from(top.map(|level| level.0) != best.map(|level| level.0));
        // A ticker of the very same update also has its quantities.
        exact += u64::from(at == u);
        exact_wrong += u64::from(at == u && *top != best);
    }
    println!("binance: {wrong} of {compared} best prices wrong; of the same update {exact_wrong} of {exact}");
    assert_eq!((compared, wrong), (6_547, 0));
    assert_eq!((exact, exact_wrong), (629, 0));
    played.check_whole();
}

#[test]
fn coinbase_ends_with_the_venues_books_and_every_trade() {
    let mut played = play(COINBASE, 1_000);
    played.check_whole();
    let view = &played.client.view;
    assert_eq!((view.trades.values().map(Vec::len).sum::<usize>(), view.missing_trades()), (97, 0));
}

#[test]
fn coinbase_at_full_speed_leaves_no_line_refused_and_no_instrument_stale() {
    let path = format!("{}/../feed-sim/data/{COINBASE}", env!("CARGO_MANIFEST_DIR"));
    let source = SourceConfig::Replay(ReplayConfig { speed: Speed::Max, ..ReplayConfig::new(path) });
    let server = Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), &source).unwrap();
    let gateway = Gateway::start(settings_of(server.local_addr()));
    let told = |kind| move |s: &support::http::Samples| s.of("gateway_feed_events_total", "type", kind);
    let samples = gateway.wait_samples("the whole recording", |samples| told("book_delta")(samples) >= 9_719);
    assert_eq!(["book_snapshot", "book_delta"].map(|kind| told(kind)(&samples)), [10, 9_719]);
    let samples = gateway.wait_samples("its trades", |samples| told("trade")(samples) >= 10 + 97);
    assert_eq!(samples.rejects(), []);
    assert_eq!(["gateway_instruments", "gateway_instruments_stale"].map(|name| samples.one(name)), [10, 0]);
    assert_eq!((server.connections(), server.slow_readers()), (1, 0));
}
