//! Connections that are lost at scale, over real sockets, and clients that come back and name where they stood: to the same
//! gateway, to one that was restarted, to another one on the same feed, and with places where nobody ever stood.
//!
//! Views check every message on the way; at the end every book is compared with the venue's. Whether a place must be recovered
//! is judged by numbers and never by time: it must when no more events lie between it and the head than a ring keeps.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use feed_sim::{Server, ServerHandle, SimulatorConfig, SourceConfig};
use gateway::config::Config;
use serde_json::{Value, json};
use support::PATIENCE;
use support::crowd::{Signal, live_together, rest};
use support::gateway::{Gateway, let_hurry, settings, settings_of};
use support::nomad::{Nomad, Want};
use support::reference::{Record, Reference};
use support::scene::Scene;
use support::socket::{Socket, TEXT};
use support::view::{Key, Resumed, View};
use support::visitor::Visitor;

/// Entries that a stream keeps: few, so that who is away for a moment only may be too late.
const RING: u64 = 64;

/// Connections that are lost in all.
const KILLS: usize = 10_000;

const NOMADS: usize = 16;

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

const DEPTHS: [u64; 2] = [10, 100];

fn start_feed(symbols: usize, rate: f64, zipf: f64) -> ServerHandle {
    let simulator = SimulatorConfig { symbols, rate, zipf, depth: 150, ..SimulatorConfig::default() };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    Server::start(free, &SourceConfig::Simulator(simulator)).expect("a free port is to be had")
}

/// A gateway that forgets soon, and whose sockets take little of who does not read.
fn forgetful(feed: &ServerHandle, shards: u32) -> Config {
    let mut config = settings_of(feed.local_addr());
    config.shards.count = shards;
    config.limits.ring_entries = RING as usize;
    config.public.send_buffer_bytes = 4_096;
    config
}

/// Everything of a symbol, with a book so deep.
fn everything(symbol: &str, depth: u64) -> Vec<Want> {
    let params = [
        json!({ "channel": "book", "depth": depth }),
        json!({ "channel": "ticker", "event_trigger": "bbo" }),
        json!({ "channel": "trade" }),
        json!({ "channel": "ohlc", "interval": 1 }),
    ];
    params.map(|params| Want { symbol: symbol.into(), params }).into()
}

/// Has every stream published to every shard of a gateway, and shards keep a stream that nobody takes for a minute: a client
/// that comes back may come to any of them.
fn warm_up(gateway: &Gateway, shards: u32) -> View {
    let mut visitors = Vec::new();
    for depth in DEPTHS {
        for _ in 0..shards {
            // Each goes to the shard with the fewest.
            let mut visitor = Visitor::connect(gateway.public, "/v2");
            visitor.learn();
            for want in SYMBOLS.iter().flat_map(|symbol| everything(symbol, depth)) {
                let mut params = want.params;
                params["symbol"] = json!([want.symbol]);
                visitor.ask(&json!({ "method": "subscribe", "params": params }), 1);
            }
            visitor.wait("everything", |one| one.owed() == 0 && one.view.books.len() == SYMBOLS.len());
            visitors.push(visitor);
        }
    }
    visitors.pop().expect("there are some").leave()
}

/// A nomad that wants some of the streams; some are served in other ways than by default.
fn nomad(seed: u64, knower: &View) -> Nomad {
    let mut nomad = Nomad::new(seed, knower, Vec::new());
    let depth = *nomad.dice.pick(&DEPTHS);
    let mut wants: Vec<Want> = SYMBOLS.iter().flat_map(|symbol| everything(symbol, depth)).collect();
    while wants.len() > 6 {
        let at = nomad.dice.below(wants.len());
        wants.swap_remove(at);
    }
    for want in &mut wants {
        match (seed % 4, want.params["channel"].as_str()) {
            (1, Some("book" | "ticker")) => want.params["policy"] = "drop_oldest".into(),
            (2, Some("book" | "trade")) => want.params["policy"] = "drop_newest".into(),
            (3, Some("book" | "ohlc")) => want.params["interval_ms"] = 20.into(),
            _ => {}
        }
    }
    nomad.wants = wants;
    nomad
}

/// How many connections were lost while their client was in a hurry, slow, or doing well.
#[derive(Clone, Copy, Debug, Default)]
struct Losses {
    hasty: u64,
    slow: u64,
    well: u64,
    away: u64,
}

/// One connection and its loss, and now and then a time away.
fn live_once(nomad: &mut Nomad, gateway: SocketAddr, market: &Reference, losses: &mut Losses) {
    let mut visitor = nomad.come_back(gateway);
    let symbol = nomad.wants[0].symbol.clone();
    let events = |nomad: &mut Nomad, rings: u64| 1 + nomad.dice.below((rings * RING) as usize) as u64;
    match nomad.dice.below(20) {
        0..=5 => losses.hasty += 1,
        6 => {
            visitor.wait("the answers", |one| one.owed() == 0);
            market.wait_seq(&symbol, market.seq(&symbol) + events(nomad, 2));
            losses.slow += 1;
        }
        _ => {
            visitor.wait("the answers", |one| one.owed() == 0);
            losses.well += 1;
        }
    }
    for _ in 0..nomad.dice.below(24) {
        visitor.read();
    }
    nomad.lose(visitor);
    if nomad.dice.one_in(30) {
        // Of the events only one in a few is a trade.
        market.wait_seq(&symbol, market.seq(&symbol) + events(nomad, 12));
        losses.away += 1;
    }
}

/// What must be so of every subscription that was to go on; how many were recovered and how many not, by channel.
fn judge(nomads: &[Nomad], is_allowed: impl Fn(&Resumed) -> bool) -> BTreeMap<String, [u64; 2]> {
    let mut counts: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    for one in nomads.iter().flat_map(|nomad| &nomad.view.resumed) {
        assert!(is_allowed(one), "{one:?}");
        counts.entry(one.key.0.clone()).or_default()[usize::from(!one.recovered)] += 1;
    }
    counts
}

/// Events between a place and the head; none when the head is not behind it.
fn distance(one: &Resumed) -> Option<u64> {
    (one.own.0 == one.at.0).then(|| one.at.1.checked_sub(one.own.1)).flatten()
}

/// Whether no more events lie between than entries are kept: of the stream there are at most as many.
fn is_near(one: &Resumed) -> bool {
    distance(one).is_some_and(|distance| distance <= RING)
}

/// Whether it is right that a place was recovered or was not, when its gateway has every stream since long.
fn is_exact(one: &Resumed) -> bool {
    match distance(one) {
        Some(_) if is_near(one) => one.recovered,
        // Of the events of an instrument only some change a stream.
        Some(_) => true,
        None => !one.recovered,
    }
}

fn check_books(nomads: &[Nomad], record: &Record) {
    let views: Vec<&View> = nomads.iter().map(|nomad| &nomad.view).collect();
    let wanted = |nomad: &Nomad| nomad.wants.iter().filter(|want| want.params["channel"] == "book").count();
    assert_eq!(record.check(&views), nomads.iter().map(wanted).sum::<usize>());
    for view in views {
        assert_eq!(view.untold, 0, "connection {}", view.connection);
    }
}

#[test]
fn ten_thousand_lost_connections_go_on_where_they_stood_or_begin_again() {
    let feed = start_feed(SYMBOLS.len(), 2_000.0, 0.0);
    let gateway = Gateway::start_ready(forgetful(&feed, 2));
    let market = Reference::follow(feed.local_addr(), SYMBOLS.len());
    let knower = warm_up(&gateway, 2);
    let life = |seed| {
        let (market, knower, address) = (&market, &knower, gateway.public);
        move |signal: &Signal<'_>| {
            let (mut nomad, mut losses) = (nomad(seed, knower), Losses::default());
            for _ in 0..KILLS / NOMADS {
                if !signal.is_over() {
                    live_once(&mut nomad, address, market, &mut losses);
                }
            }
            let mut visitor = nomad.come_back(address);
            visitor.wait("the answers", |one| one.owed() == 0);
            signal.stay(&mut visitor);
            nomad.view = visitor.leave();
            (nomad, losses)
        }
    };
    let lives = (1..=NOMADS as u64).map(life).collect();
    let ended = live_together(lives, rest, || {
        assert_eq!(gateway.samples().rejects(), []);
        feed.stop();
        gateway.wait_ended();
    });
    let (nomads, losses): (Vec<Nomad>, Vec<Losses>) = ended.into_iter().unzip();
    let sum = |count: fn(&Losses) -> u64| losses.iter().map(count).sum::<u64>();
    let [hasty, slow, well] = [sum(|one| one.hasty), sum(|one| one.slow), sum(|one| one.well)];
    println!(
        "{hasty} lost in a hurry, {slow} while slow, {well} while well; {} times away",
        sum(|one| one.away)
    );
    let counts = judge(&nomads, |one| one.own.1 <= one.at.1 && is_exact(one));
    println!("recovered or not: {counts:?}");
    assert_eq!(hasty + slow + well, KILLS as u64);
    for (channel, [recovered, not]) in &counts {
        assert!(*recovered > 1_000 && *not > 10, "{channel}: {recovered} recovered, {not} not");
    }
    let short = nomads.iter().flat_map(|nomad| &nomad.view.resumed).filter(|one| is_near(one)).count();
    assert!(short > KILLS, "{short} were near enough that they had to be recovered");
    check_books(&nomads, &market.finish());
    let samples = gateway.wait_samples("everybody to be forgotten", |s| s.one("gateway_connections") == 0);
    assert!(samples.check_conserved().iter().sum::<u64>() > 100_000);
    assert!(samples.deliveries("discarded_total", "book") > 1_000, "who is lost while slow leaves something");
}

/// Streams of all symbols, each with a book so deep; with the first depth also tickers and candles.
fn streams(depth: u64) -> Vec<Want> {
    let mut all = vec![json!({ "channel": "book", "depth": depth })];
    if depth == 10 {
        all.push(json!({ "channel": "ticker", "event_trigger": "bbo" }));
        all.extend(
            [1, 5, 15, 30, 60, 240].map(|interval| json!({ "channel": "ohlc", "interval": interval })),
        );
    }
    let want = |symbol: &str, params: &Value| Want { symbol: symbol.into(), params: params.clone() };
    SYMBOLS.iter().flat_map(|symbol| all.iter().map(|params| want(symbol, params))).collect()
}

/// Connects, and stays until it stands somewhere in each of its streams.
fn stand(nomad: &mut Nomad, gateway: SocketAddr) -> Visitor {
    let mut visitor = nomad.come_back(gateway);
    let keys: Vec<Key> = nomad.wants.iter().map(Want::key).collect();
    visitor.wait("a place in each stream", |one| {
        one.owed() == 0 && keys.iter().all(|key| one.view.place(key).is_some())
    });
    visitor
}

/// A stream that nobody took begins at the last event of its instrument, which need not be an entry of it: on a gateway that had
/// the stream before, that place lies between two entries.
#[test]
fn who_stands_between_two_entries_of_another_gateway_goes_on() {
    let feed = start_feed(SYMBOLS.len(), 400.0, 0.0);
    let market = Reference::follow(feed.local_addr(), SYMBOLS.len());
    let [old, new] = [(); 2].map(|()| {
        let mut config = settings_of(feed.local_addr());
        config.shards.count = 1;
        Gateway::start_ready(config)
    });
    let mut knower = Visitor::connect(old.public, "/v2");
    knower.learn();
    let knower = knower.leave();
    // All symbols have traded; then the old gateway has all streams, and goes on with them.
    market.wait_events(&SYMBOLS, 100);
    let nomads: Vec<Nomad> =
        [10, 25, 100, 500, 1_000].map(|depth| Nomad::new(depth, &knower, streams(depth))).into();
    for one in &nomads {
        let mut first = Nomad::new(0, &knower, one.wants.clone());
        drop(stand(&mut first, old.public));
    }
    market.wait_events(&SYMBOLS, RING / 3);
    let life = |mut nomad: Nomad| {
        let (market, new, old) = (&market, new.public, old.public);
        move |signal: &Signal<'_>| {
            nomad.view = stand(&mut nomad, new).leave();
            // Entries come that it has not seen.
            market.wait_events(&SYMBOLS, RING / 3);
            let mut visitor = stand(&mut nomad, old);
            signal.stay(&mut visitor);
            nomad.view = visitor.leave();
            nomad
        }
    };
    let nomads = live_together(nomads.into_iter().map(life).collect(), rest, || {
        feed.stop();
        old.wait_ended();
    });
    let counts = judge(&nomads, is_exact);
    println!("recovered or not: {counts:?}");
    let recovered: Vec<_> = counts.values().map(|[recovered, _]| *recovered).collect();
    assert!(recovered.iter().all(|&count| count > 0) && recovered.iter().sum::<u64>() > 20, "{counts:?}");
    check_books(&nomads, &market.finish());
}

/// Epoch and sequence belong to the feed: what one gateway sent, another one goes on from.
#[test]
fn who_goes_to_another_gateway_of_the_same_feed_goes_on_too() {
    const HOPS: usize = 60;
    let feed = start_feed(SYMBOLS.len(), 1_000.0, 0.0);
    let gateways = [(); 2].map(|()| Gateway::start_ready(forgetful(&feed, 1)));
    let market = Reference::follow(feed.local_addr(), SYMBOLS.len());
    let knower = gateways.each_ref().map(|gateway| warm_up(gateway, 1)).into_iter().next().expect("two");
    // Whoever comes from one gateway stands behind where the streams of the other one began.
    market.wait_events(&SYMBOLS, 2 * RING);
    let life = |seed| {
        let (market, knower, addresses) = (&market, &knower, gateways.each_ref().map(|one| one.public));
        move |signal: &Signal<'_>| {
            let (mut nomad, mut losses) = (nomad(seed, knower), Losses::default());
            for hop in 0..HOPS {
                if !signal.is_over() {
                    live_once(&mut nomad, addresses[hop % 2], market, &mut losses);
                }
            }
            let mut visitor = nomad.come_back(addresses[HOPS % 2]);
            visitor.wait("the answers", |one| one.owed() == 0);
            signal.stay(&mut visitor);
            nomad.view = visitor.leave();
            nomad
        }
    };
    let lives = (1..=8).map(life).collect();
    let nomads = live_together(lives, rest, || {
        gateways.iter().for_each(|gateway| assert_eq!(gateway.samples().rejects(), []));
        feed.stop();
        gateways.iter().for_each(|gateway| drop(gateway.wait_ended()));
    });
    // A gateway that is a little behind cannot know what it has not been told yet.
    let counts = judge(&nomads, is_exact);
    println!("recovered or not: {counts:?}");
    for (channel, [recovered, _]) in &counts {
        assert!(*recovered > 100, "{channel}: {recovered} recovered");
    }
    check_books(&nomads, &market.finish());
    for gateway in gateways {
        gateway.samples().check_conserved();
    }
}

/// The feed goes on while the gateway is away: a book at whose instrument nothing happened goes on, another one begins again, and
/// trades are recovered as far as the feed tells them again.
#[test]
fn after_a_restart_quiet_books_go_on_and_busy_ones_begin_again() {
    const MANY: usize = 8;
    const RESTARTS: usize = 6;
    // The first symbol has nearly all events, the last one hardly any.
    let feed = start_feed(MANY, 300.0, 4.0);
    let start = || {
        let gateway = Gateway::start(forgetful(&feed, 2));
        gateway.wait_ready(MANY);
        gateway
    };
    let mut gateway = start();
    let market = Reference::follow(feed.local_addr(), MANY);
    let mut knower = Visitor::connect(gateway.public, "/v2");
    knower.learn();
    let symbols: Vec<String> = knower.view.precisions.keys().cloned().collect();
    let wants = symbols.iter().flat_map(|symbol| everything(symbol, 25)).collect();
    let mut nomad = Nomad::new(1, &knower.leave(), wants);
    for _ in 0..RESTARTS {
        let mut visitor = nomad.come_back(gateway.public);
        visitor.wait("the answers", |one| one.owed() == 0);
        let seq = market.seq(SYMBOLS[0]) + 200;
        visitor.wait("the market to go on", |_| market.seq(SYMBOLS[0]) >= seq);
        gateway.stop();
        visitor.read_out();
        nomad.view = visitor.leave();
        gateway = start();
    }
    let mut visitor = nomad.come_back(gateway.public);
    visitor.wait("the answers", |one| one.owed() == 0);
    let stay = |signal: &Signal<'_>| {
        signal.stay(&mut visitor);
        nomad.view = visitor.leave();
    };
    live_together(vec![stay], rest, || {
        feed.stop();
        gateway.wait_ended();
    });
    let record = market.finish();
    let missed = |one: &Resumed| {
        let id = |seq| record.trade_at(&one.key.1, seq);
        id(one.at.1).zip(id(one.own.1)).map(|(now, then)| now - then)
    };
    // A feed tells the latest trades again; who has the oldest of them misses none.
    const TOLD_AGAIN: u64 = 50;
    let counts = judge(std::slice::from_ref(&nomad), |one| match (&*one.key.0, missed(one)) {
        ("trade", Some(missed)) => one.recovered == (missed < TOLD_AGAIN),
        ("trade", None) => true,
        _ => one.recovered == (one.own == one.at),
    });
    println!("recovered or not: {counts:?}");
    for channel in ["book", "ticker", "ohlc"] {
        let [recovered, not] = counts[channel];
        assert!(recovered > 0 && not >= RESTARTS as u64, "{channel}: {recovered} recovered, {not} not");
    }
    let trades = nomad.view.resumed.iter().filter(|one| one.key.0 == "trade");
    let most = trades.filter(|one| one.recovered).filter_map(missed).max();
    println!("up to {most:?} trades were told again");
    assert!(most.is_some_and(|most| most > 0));
    check_books(&[nomad], &record);
    gateway.samples().check_conserved();
}

/// Subscribes with a place and ends the subscription again; what was answered, and which data came first.
fn shown(socket: &mut Socket, channel: &'static str, resume: &str) -> String {
    let symbol = if channel == "instrument" { "" } else { r#","symbol":["BTC/USD"]"# };
    let params = format!(r#""channel":"{channel}"{symbol},"resume":{resume}"#);
    socket.send_text(&format!(r#"{{"method":"subscribe","params":{{{params}}}}}"#));
    let deadline = Instant::now() + PATIENCE;
    let mut next = |is_wanted: &dyn Fn(&Value) -> bool| loop {
        let frame = socket.frame();
        assert!(Instant::now() < deadline, "in vain waited for more on {channel} with {resume}");
        assert_eq!(frame.opcode, TEXT, "{}", String::from_utf8_lossy(&frame.payload));
        let message: Value = serde_json::from_str(frame.text()).expect("the gateway sends JSON");
        if is_wanted(&message) {
            return message;
        }
    };
    let answer = next(&|message| message["success"].is_boolean() && message["method"] != "unsubscribe");
    if answer["success"] == false {
        return answer["error"].as_str().expect("an error is a text").to_owned();
    }
    let recovered = answer["result"]["recovered"].as_bool();
    let first = next(&|message| message["channel"] == channel);
    socket.send_text(&format!(r#"{{"method":"unsubscribe","params":{{"channel":"{channel}"{symbol}}}}}"#));
    format!("recovered {recovered:?}, then {}", first["type"].as_str().expect("data has a type"))
}

#[test]
fn places_where_nobody_ever_stood_are_not_recovered_and_what_is_no_place_is_refused() {
    let mut config = settings();
    config.feed.sim.rate = 1_000.0;
    let_hurry(&mut config);
    let mut scene = Scene::start(config);
    // The canary is in one shard, the socket will be in the other: there streams begin now, and with the latest 50 trades.
    let is_late = |view: &View| view.trades.get("BTC/USD").is_some_and(|ids| ids.len() > 60);
    scene.canary.wait("the first events to be long past", is_late);
    let now = *scene.canary.view.epochs.values().next().expect("snapshots name their epoch");
    let shape = r#"Malformed request: resume must be {"epoch":e,"seq":n}, or that by symbol"#;
    let (anew, plain) = ("recovered Some(false), then snapshot", "recovered None, then snapshot");
    let cases = [
        // In the future, and at the very end of it.
        (r#"{"epoch":NOW,"seq":1000000000000}"#, anew),
        (r#"{"epoch":NOW,"seq":18446744073709551615}"#, anew),
        // Before what is kept, and before the first event of all.
        (r#"{"epoch":NOW,"seq":1}"#, anew),
        (r#"{"epoch":NOW,"seq":0}"#, anew),
        // Epochs that never were.
        (r#"{"epoch":0,"seq":0}"#, anew),
        (r#"{"epoch":LATER,"seq":1}"#, anew),
        (r#"{"epoch":18446744073709551615,"seq":18446744073709551615}"#, anew),
        (r#"{"BTC/USD":{"epoch":LATER,"seq":1},"ETH/USD":{"epoch":NOW,"seq":1}}"#, anew),
        // No place, or that of another symbol: an ordinary subscription.
        ("null", plain),
        ("{}", plain),
        (r#"{"ETH/USD":{"epoch":NOW,"seq":1},"NO/SUCH":{"epoch":NOW,"seq":1}}"#, plain),
        // What is no place.
        (r#"{"epoch":NOW,"seq":-1}"#, shape),
        (r#"{"epoch":-1,"seq":1}"#, shape),
        (r#"{"epoch":NOW,"seq":18446744073709551616}"#, "Malformed request"),
        (
            r#"{"epoch":NOW,"seq":184467440737095516160}"#,
            "Malformed request: a number has more than 20 digits",
        ),
        (r#"{"epoch":NOW,"seq":1.5}"#, shape),
        (r#"{"epoch":NOW,"seq":"1"}"#, shape),
        (r#"{"epoch":NOW,"seq":null}"#, shape),
        (r#"{"epoch":NOW}"#, shape),
        (r#"{"seq":1}"#, shape),
        (r#"{"BTC/USD":1}"#, shape),
        (r#"{"BTC/USD":{"epoch":NOW,"seq":"x"}}"#, shape),
        (r#""1:1""#, shape),
        ("[1,1]", shape),
        ("1", shape),
        ("true", shape),
    ];
    let mut socket = Socket::connect(scene.gateway.public, "/v2");
    for channel in ["book", "ticker", "trade", "ohlc"] {
        for (resume, expected) in cases {
            // Of trades and candles a snapshot comes only where it was asked for or where a place is not recovered.
            let expected = match expected {
                _ if expected == plain && channel == "trade" => "recovered None, then update",
                other => other,
            };
            let resume = resume.replace("NOW", &now.to_string()).replace("LATER", &(now + 1).to_string());
            assert_eq!(shown(&mut socket, channel, &resume), expected, "{channel} {resume}");
        }
    }
    scene.check_canary();
    scene.gateway.samples().check_conserved();
}

/// Reference data has no sequence of the feed: nobody can say where it stands, also not with what the acknowledgement said.
#[test]
fn reference_data_begins_with_its_snapshot_whatever_place_is_named() {
    let mut scene = Scene::start(settings());
    let mut socket = Socket::connect(scene.gateway.public, "/v2");
    for place in [r#"{"epoch":0,"seq":0}"#, r#"{"epoch":1,"seq":7}"#] {
        assert_eq!(
            shown(&mut socket, "instrument", place),
            "recovered Some(false), then snapshot",
            "{place}"
        );
    }
    scene.check_canary();
}
