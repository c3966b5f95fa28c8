//! What a grant covers, and what becomes of a client when it shrinks, ends or is taken back.
//!
//! Drives a hub by hand: two instruments with their trades, frames that name their instrument, a socket that keeps everything.

use std::sync::Arc;

use fanout::{
    Batch, ClientId, Coverage, Denied, Entry, EntryData, FrameSpan, Grant, GrantEnd, Hub, Item, Join, Limits,
    Login, Now, RequestRate, Row, Sink, TierBounds, Written,
};
use model::{
    Channel, Epoch, Instrument, InstrumentId, Nanos, OrdType, PairStatus, Price, Qty, Scale, Sequence, Side,
    StreamId, StreamKey, Trade,
};
use wire::ws::{Opcode, write_frame};

const SYMBOLS: [&str; 2] = ["AAA/USD", "BBB/EUR"];

/// A socket that takes everything, or nothing.
#[derive(Default)]
struct Socket {
    is_full: bool,
    taken: Vec<u8>,
}

impl Sink for Socket {
    fn write(&mut self, _: ClientId, bytes: &[u8]) -> Written {
        let taken = if self.is_full { 0 } else { bytes.len() };
        self.taken.extend_from_slice(&bytes[..taken]);
        Written::Bytes(taken)
    }

    fn now(&mut self) -> Now {
        Now::default()
    }
}

impl Socket {
    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.taken).matches(text).count()
    }

    /// Codes of the close frames.
    fn closes(&self) -> Vec<u16> {
        let code = |at: usize| Some(u16::from_be_bytes([*self.taken.get(at + 2)?, *self.taken.get(at + 3)?]));
        let starts = (0..self.taken.len()).filter(|&at| self.taken[at] == 0x88);
        starts.filter_map(code).filter(|code| (1_000..5_000).contains(code)).collect()
    }
}

fn trades(instrument: u32) -> StreamId {
    StreamKey::Trade(InstrumentId(instrument)).id()
}

/// Everything in tier 0, and only the first instrument's trades in tier 1.
fn hub() -> Hub {
    let narrow = TierBounds {
        name: "narrow".into(),
        coverage: Coverage::new(Some(&["AAA/*"]), Some(&["trade"]), None).expect("a pattern and a channel"),
        ..TierBounds::default()
    };
    let mut hub = Hub::new(Limits::default(), vec![TierBounds::default(), narrow], "test");
    for (index, symbol) in SYMBOLS.into_iter().enumerate() {
        let instrument = Instrument {
            symbol: symbol.into(),
            status: PairStatus::Online,
            price: Scale::new(1),
            qty: Scale::new(8),
            qty_min: Qty(1),
            cost_decimals: 5,
            cost_min: rust_decimal::Decimal::ONE,
        };
        let pair = Item::Pair(InstrumentId(index as u32), Arc::new(instrument), PairStatus::Online);
        hub.handle_batch(&Batch { items: vec![pair], ..Batch::default() }, Now::default());
    }
    hub
}

fn say(hub: &mut Hub, client: ClientId, text: &str) {
    hub.handle_message(client, &mut text.as_bytes().to_vec(), Now::default());
}

fn subscribe(hub: &mut Hub, client: ClientId, params: &str) {
    say(hub, client, &format!(r#"{{"method":"subscribe","params":{{{params}}}}}"#));
}

/// Subscribes to the trades of both and lets the engine answer.
fn follow(hub: &mut Hub, client: ClientId) {
    subscribe(hub, client, r#""channel":"trade","symbol":["AAA/USD","BBB/EUR"]"#);
    let join = |index| {
        let (epoch, seq) = (Epoch(1), Sequence(1));
        Item::Join(Join { stream: trades(index), epoch, seq, snapshot: FrameSpan::default() })
    };
    hub.handle_batch(&Batch { items: vec![join(0), join(1)], ..Batch::default() }, Now::default());
}

/// One trade of each, in frames that say whose.
fn trade(hub: &mut Hub, seq: u64) {
    for (index, symbol) in SYMBOLS.into_iter().enumerate() {
        let mut bytes = Vec::new();
        write_frame(Opcode::Text, format!("{{\"of\":\"{symbol}\"}}").as_bytes(), &mut bytes);
        let entry = Entry {
            stream: trades(index as u32),
            epoch: Epoch(1),
            seq: Sequence(seq),
            prev: Sequence(seq - 1),
            ts_event: Nanos(0),
            frame: FrameSpan { start: 0, len: bytes.len() as u32 },
            data: EntryData::Row(0),
        };
        let row = Row::Trade(Trade {
            id: seq,
            price: Price(1),
            qty: Qty(1),
            taker: Side::Bid,
            ord_type: OrdType::Limit,
            ts_event: Nanos(0),
        });
        let batch = Batch { items: vec![Item::Entry(entry)], bytes, rows: vec![row], ..Batch::default() };
        hub.handle_batch(&batch, Now::default());
    }
}

fn write(hub: &mut Hub, client: ClientId, socket: &mut Socket) {
    hub.handle_writable(client);
    while hub.sweep(8, socket) > 0 {}
}

fn grant(coverage: Coverage) -> Arc<Grant> {
    Arc::new(Grant { subject: "alice".into(), coverage, ..Grant::of_tier(0) })
}

fn only(symbols: &[&str]) -> Coverage {
    Coverage::new(Some(symbols), None, Some(100)).expect("patterns")
}

fn check_conserved(hub: &mut Hub) {
    assert_eq!(hub.audit(|| true), Some(Ok(())));
}

#[test]
fn what_is_not_covered_is_denied_and_counted_by_what_it_was() {
    let mut hub = hub();
    let client = hub.handle_connect(1, true, Now::default());
    let coverage = Coverage::new(Some(&["AAA/USD"]), Some(&["trade", "book"]), Some(100)).expect("patterns");
    hub.handle_grant(client, grant(coverage), Now::default());
    for params in [
        r#""channel":"trade","symbol":["BBB/EUR"]"#,
        r#""channel":"trade","symbol":["BBB/EUR"],"resume":{"epoch":1,"seq":1}"#,
        r#""channel":"ticker","symbol":["AAA/USD"]"#,
        r#""channel":"instrument""#,
        r#""channel":"book","symbol":["AAA/USD"],"depth":500"#,
    ] {
        subscribe(&mut hub, client, params);
    }
    // Other ways to write a symbol are no symbols at all.
    subscribe(
        &mut hub,
        client,
        r#""channel":"trade","symbol":["aaa/usd","AAA/USD ","\u0410\u0410\u0410/USD","*"]"#,
    );
    let mut socket = Socket::default();
    write(&mut hub, client, &mut socket);
    for (text, count) in [
        ("Permission denied: symbol", 2),
        ("Permission denied: channel ticker", 1),
        ("Permission denied: channel instrument", 1),
        ("Permission denied: depth above 100", 1),
        ("Currency pair not supported", 4),
        ("\"success\":true", 0),
    ] {
        assert_eq!(socket.count(text), count, "{text}");
    }
    let stats = hub.stats();
    assert_eq!(stats.denied, [0, 2, 2, 1], "{:?}", Denied::NAMES);
    assert_eq!(stats.channels.iter().flat_map(|channel| channel.subscriptions).sum::<u64>(), 0);
    subscribe(&mut hub, client, r#""channel":"book","symbol":["AAA/USD"],"depth":100"#);
    assert_eq!(hub.stats().channels[Channel::Book as usize].subscriptions.iter().sum::<u64>(), 1);
}

#[test]
fn nothing_of_what_was_taken_away_is_sent_and_the_rest_goes_on() {
    // Whether the client keeps up, has been refused by its socket, or has an interval.
    for case in 0..3 {
        let mut hub = hub();
        let client = hub.handle_connect(1, true, Now::default());
        follow(&mut hub, client);
        let mut socket = Socket::default();
        write(&mut hub, client, &mut socket);
        trade(&mut hub, 2);
        write(&mut hub, client, &mut socket);
        assert_eq!(SYMBOLS.map(|symbol| socket.count(&format!("\"of\":\"{symbol}\""))), [1, 1]);
        if case == 1 {
            socket.is_full = true;
            trade(&mut hub, 3);
            write(&mut hub, client, &mut socket);
        }
        if case == 2 {
            let params = r#"{"channel":"trade","symbol":["BBB/EUR"],"interval_ms":1000}"#;
            say(&mut hub, client, &format!(r#"{{"method":"configure","params":{params}}}"#));
            write(&mut hub, client, &mut socket);
        }
        trade(&mut hub, 4);
        hub.handle_grant(client, grant(only(&["AAA/USD"])), Now::default());
        trade(&mut hub, 5);
        (socket.is_full, socket.taken) = (false, Vec::new());
        write(&mut hub, client, &mut socket);
        assert_eq!(
            socket.count("BBB/EUR"),
            1,
            "nothing but the notice, {case}: {:?}",
            String::from_utf8_lossy(&socket.taken)
        );
        assert_eq!(
            socket.count(r#""code":"revoked","channel":"trade","symbol":"BBB/EUR""#),
            1,
            "case {case}"
        );
        assert!(socket.count("AAA/USD") >= 2, "case {case}: {:?}", String::from_utf8_lossy(&socket.taken));
        assert_eq!(socket.closes(), []);
        assert_eq!(hub.stats().subscriptions_revoked, 1);
        check_conserved(&mut hub);
        // What is gone can be had again when the grant grows.
        subscribe(&mut hub, client, r#""channel":"trade","symbol":["BBB/EUR"]"#);
        assert_eq!(hub.stats().denied[Denied::Symbol.index()], 1);
        hub.handle_grant(client, grant(Coverage::default()), Now::default());
        subscribe(&mut hub, client, r#""channel":"trade","symbol":["BBB/EUR"]"#);
        assert_eq!(hub.stats().channels[Channel::Trade as usize].subscriptions.iter().sum::<u64>(), 2);
    }
}

#[test]
fn a_subscription_that_waits_for_the_engine_ends_as_well() {
    let mut hub = hub();
    let client = hub.handle_connect(1, true, Now::default());
    subscribe(&mut hub, client, r#""channel":"trade","symbol":["BBB/EUR"]"#);
    hub.handle_grant(client, grant(only(&["AAA/USD"])), Now::default());
    let join = Join { stream: trades(1), epoch: Epoch(1), seq: Sequence(1), snapshot: FrameSpan::default() };
    hub.handle_batch(&Batch { items: vec![Item::Join(join)], ..Batch::default() }, Now::default());
    trade(&mut hub, 2);
    let mut socket = Socket::default();
    write(&mut hub, client, &mut socket);
    assert_eq!((socket.count("\"success\":true"), socket.count("\"revoked\"")), (1, 1));
    assert_eq!(socket.count("\"of\""), 0);
    check_conserved(&mut hub);
}

#[test]
fn who_cannot_be_told_is_closed_and_a_neighbour_is_not_disturbed() {
    let mut hub = hub();
    let [plain, other] = [1, 2].map(|number| hub.handle_connect(number, false, Now::default()));
    follow(&mut hub, plain);
    follow(&mut hub, other);
    hub.handle_grant(plain, grant(only(&["AAA/USD"])), Now::default());
    let mut socket = Socket::default();
    write(&mut hub, plain, &mut socket);
    assert_eq!((socket.closes(), socket.count("notice")), (vec![4403], 0));
    trade(&mut hub, 2);
    socket.taken.clear();
    write(&mut hub, other, &mut socket);
    assert_eq!((socket.count("\"of\""), socket.closes()), (2, vec![]));
    check_conserved(&mut hub);
}

#[test]
fn a_grant_ends_when_its_time_is_over() {
    for (ext, awaits_login, code) in [(true, false, 4410), (false, false, 4410), (true, true, 4401)] {
        let mut hub = hub();
        let client = hub.handle_connect(1, ext, Now::default());
        let ends = Nanos::from_secs(10);
        let timed = if awaits_login {
            Grant::until_login(ends)
        } else {
            Grant { ends: Some(ends), ..Grant::of_tier(0) }
        };
        hub.handle_grant(client, Arc::new(timed), Now::default());
        follow(&mut hub, client);
        let mut socket = Socket::default();
        let mut pass = |hub: &mut Hub, mono: Nanos| {
            // A client is looked at twice a second, and with a few clients more often.
            (0..10).for_each(|_| hub.handle_timeout(Now { mono, wall: mono }));
            write(hub, client, &mut socket);
            (socket.closes(), socket.count("\"code\":\"revoked\""))
        };
        let just_before = Nanos(ends.0 - 1);
        assert_eq!(pass(&mut hub, just_before), (vec![], 0));
        assert_eq!(pass(&mut hub, ends), (vec![code], usize::from(ext)), "ext {ext}");
        assert_eq!(pass(&mut hub, ends + Nanos::MILLI), (vec![code], usize::from(ext)), "once");
        assert_eq!(socket.count("Not authenticated, log in first"), 2 * usize::from(awaits_login));
        check_conserved(&mut hub);
    }
}

fn login(hub: &mut Hub, client: ClientId) -> Login {
    say(hub, client, r#"{"method":"login","params":{"token":"secret"},"req_id":3}"#);
    hub.poll_login().expect("somebody has to look at it")
}

#[test]
fn a_login_is_answered_once_with_a_grant_or_an_end() {
    let mut hub = hub();
    let client = hub.handle_connect(1, false, Now::default());
    let first = login(&mut hub, client);
    assert_eq!((first.client, first.connection_id, first.token.reveal()), (client, 1, "secret"));
    say(&mut hub, client, r#"{"method":"login","params":{"token":"again"}}"#);
    assert!(hub.poll_login().is_none(), "one at a time");
    let narrow = Grant { subject: "alice".into(), ..Grant::of_tier(1) };
    assert!(hub.handle_login(first, Ok(Arc::new(narrow)), Now::default()));
    let mut socket = Socket::default();
    write(&mut hub, client, &mut socket);
    assert_eq!(
        socket.count(r#"{"method":"login","result":{"subject":"alice","tier":"narrow"},"success":true"#),
        1
    );
    assert_eq!(socket.count("A login is under way already"), 1);
    assert_eq!(hub.stats().tiers, [0, 1]);
    // It speaks the superset now, and has what its tier covers.
    follow(&mut hub, client);
    write(&mut hub, client, &mut socket);
    assert_eq!((socket.count("\"epoch\":1"), socket.count("Permission denied: symbol")), (1, 1));
    let second = login(&mut hub, client);
    assert!(hub.handle_login(second, Err("token expired"), Now::default()));
    write(&mut hub, client, &mut socket);
    assert_eq!(socket.count("Authentication failed: token expired"), 1);
    assert_eq!(socket.closes(), [1008]);
    assert_eq!(socket.count("secret"), 0, "a token is never repeated");
    check_conserved(&mut hub);
}

#[test]
fn the_answer_to_a_login_is_for_nobody_else() {
    let mut hub = hub();
    let client = hub.handle_connect(1, true, Now::default());
    let asked = login(&mut hub, client);
    hub.handle_disconnect(client);
    let next = hub.handle_connect(2, true, Now::default());
    assert_eq!(next, client, "numbers are used again");
    assert!(!hub.handle_login(asked, Ok(Arc::new(Grant::of_tier(1))), Now::default()));
    assert_eq!(hub.stats().tiers, [1, 0]);
    let asked = login(&mut hub, next);
    hub.end_grant(next, GrantEnd::Revoked);
    assert!(!hub.handle_login(asked, Ok(Arc::new(Grant::of_tier(1))), Now::default()));
}

#[test]
fn connections_of_a_subject_share_its_rate() {
    let mut hub = hub();
    let clients = [1, 2].map(|number| hub.handle_connect(number, true, Now::default()));
    let requests = Some(Arc::new(RequestRate::new(10)));
    for client in clients {
        let shared = Grant { subject: "alice".into(), requests: requests.clone(), ..Grant::of_tier(0) };
        hub.handle_grant(client, Arc::new(shared), Now::default());
    }
    for client in clients.into_iter().cycle().take(14) {
        say(&mut hub, client, r#"{"method":"ping","req_id":1}"#);
    }
    let mut sockets = [Socket::default(), Socket::default()];
    // The sweep writes whoever is dirty; one socket sees both.
    write(&mut hub, clients[0], &mut sockets[0]);
    assert_eq!((sockets[0].count("pong"), sockets[0].count("Exceeded msg rate")), (10, 4));
    assert_eq!(hub.stats().requests_over_rate, 4);
}

#[test]
fn a_wall_clock_that_jumps_moves_no_deadline() {
    const WALL_S: u64 = 1_700_000_000;
    let mut hub = hub();
    let now = |mono: Nanos, wall_s: u64| Now { mono, wall: Nanos::from_secs(wall_s) };
    let client = hub.handle_connect(1, true, now(Nanos(0), WALL_S));
    let ends = Nanos::from_secs(10);
    let expires = Some(Nanos::from_secs(WALL_S + 10));
    let timed = Grant { ends: Some(ends), expires, ..Grant::of_tier(0) };
    hub.handle_grant(client, Arc::new(timed), now(Nanos(0), WALL_S));
    follow(&mut hub, client);
    let mut socket = Socket::default();
    let mut pass = |hub: &mut Hub, at: Now| {
        (0..10).for_each(|_| hub.handle_timeout(at));
        write(hub, client, &mut socket);
        socket.closes()
    };
    // A day on, and a year back.
    for (second, wall_s) in [(1, WALL_S + 86_400), (2, WALL_S - 365 * 86_400), (9, WALL_S)] {
        assert_eq!(pass(&mut hub, now(Nanos::from_secs(second), wall_s)), [] as [u16; 0], "{second} s");
    }
    assert_eq!(pass(&mut hub, now(ends, WALL_S - 86_400)), [4_410], "the day of the wall is no delay");
    check_conserved(&mut hub);
}
