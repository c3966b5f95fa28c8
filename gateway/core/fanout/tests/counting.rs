//! What is counted: the counts that are kept are those that are found by looking, whatever clients do, and looking gives way to work.
//!
//! Drives a hub by hand: batches are made up here, sockets take everything or nothing.

use std::sync::Arc;

use fanout::{
    Batch, ChangeSpan, ClientId, Entry, EntryData, FrameSpan, Hub, Item, Join, Limits, Now, Output, Sink,
    TierBounds, Written,
};
use model::{
    Channel, Epoch, Instrument, InstrumentId, Level, Nanos, PairStatus, Policy, Price, Qty, Scale, Sequence,
    StreamKey, WindowChange,
};
use wire::ws::{Opcode, write_frame};

const SYMBOLS: u32 = 3;

/// Of so many instruments the hub looks at what comes next before it handles it.
const ANNOUNCED: u32 = 600;

/// Sockets that take everything, but for clients with an odd number while those are stalled.
struct Sockets {
    odd_stall: bool,
}

impl Sink for Sockets {
    fn write(&mut self, client: ClientId, bytes: &[u8]) -> Written {
        Written::Bytes(if self.odd_stall && client.0 % 2 == 1 { 0 } else { bytes.len() })
    }

    fn now(&mut self) -> Now {
        Now::default()
    }
}

fn pair(number: u32) -> Item {
    let instrument = Instrument {
        symbol: format!("S{number}/USD").into(),
        status: PairStatus::Online,
        price: Scale::new(1),
        qty: Scale::new(8),
        qty_min: Qty(1),
        cost_decimals: 5,
        cost_min: rust_decimal::Decimal::ONE,
    };
    Item::Pair(InstrumentId(number), Arc::new(instrument), PairStatus::Online)
}

fn say(hub: &mut Hub, client: ClientId, text: &str) {
    hub.handle_message(client, &mut text.as_bytes().to_vec(), Now::default());
}

/// Answers what the hub asks for.
fn answer(hub: &mut Hub) {
    let mut items = Vec::new();
    while let Some(output) = hub.poll_output() {
        if let Output::Ask(stream) = output {
            let snapshot = FrameSpan { start: 0, len: 0 };
            items.push(Item::Join(Join { stream, epoch: Epoch(1), seq: Sequence(10), snapshot }));
        }
    }
    hub.handle_batch(&Batch { items, ..Batch::default() }, Now::default());
}

fn update(number: u32, seq: u64) -> Batch {
    let mut bytes = Vec::new();
    write_frame(Opcode::Text, &[b'x'; 150], &mut bytes);
    let level = Level { price: Price(1), qty: Qty(seq as i64) };
    let entry = Entry {
        stream: StreamKey::Book(InstrumentId(number), 0).id(),
        epoch: Epoch(1),
        seq: Sequence(seq),
        prev: Sequence(seq - 1),
        ts_event: Nanos(0),
        frame: FrameSpan { start: 0, len: bytes.len() as u32 },
        data: EntryData::Book { changes: ChangeSpan { start: 0, bids: 1, asks: 0 }, checksum: 0 },
    };
    let changes = vec![WindowChange { level, was: true, is: true }];
    Batch { items: vec![Item::Entry(entry)], bytes, changes, ..Batch::default() }
}

/// A hub whose clients all take the books of all symbols.
fn hub(clients: u64) -> (Hub, Vec<ClientId>) {
    let mut hub = Hub::new(Limits::default(), vec![TierBounds::default()], "test");
    let items = (0..ANNOUNCED).map(pair).collect();
    hub.handle_batch(&Batch { items, ..Batch::default() }, Now::default());
    let ids: Vec<ClientId> =
        (0..clients).map(|number| hub.handle_connect(number + 1, true, Now::default())).collect();
    for &id in &ids {
        let subscribe =
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["S0/USD","S1/USD","S2/USD"]}}"#;
        say(&mut hub, id, subscribe);
    }
    answer(&mut hub);
    (hub, ids)
}

fn sweep_all(hub: &mut Hub, sockets: &mut Sockets) {
    while hub.sweep(100, sockets) > 0 {}
}

fn check(hub: &mut Hub) {
    assert_eq!(hub.audit(|| true), Some(Ok(())));
}

#[test]
fn counts_are_true_while_clients_stall_pause_change_their_minds_and_leave() {
    let (mut hub, ids) = hub(10);
    let mut sockets = Sockets { odd_stall: false };
    check(&mut hub);
    let mut seq = 10;
    let mut flow = |hub: &mut Hub, sockets: &mut Sockets, rounds: u64| {
        for _ in 0..rounds {
            seq += 1;
            (0..SYMBOLS).for_each(|number| hub.handle_batch(&update(number, seq), Now::default()));
            check(hub);
            sweep_all(hub, sockets);
            check(hub);
        }
    };
    flow(&mut hub, &mut sockets, 20);
    sockets.odd_stall = true;
    flow(&mut hub, &mut sockets, 30);
    let stats = hub.stats();
    assert_eq!((stats.clients, stats.lagging), (10, 5));
    assert_eq!(stats.channels[Channel::Book as usize].pending, 5 * 3 * 30);
    assert_eq!(stats.channels[Channel::Book as usize].subscriptions[Policy::Conflate as usize], 30);
    let params = r#""params":{"channel":"book","symbol":["S1/USD"]"#;
    for &id in &ids[..4] {
        say(&mut hub, id, &format!(r#"{{"method":"pause",{params}}}}}"#));
        say(
            &mut hub,
            id,
            r#"{"method":"configure","params":{"channel":"book","symbol":["S0/USD"],"policy":"drop_newest"}}"#,
        );
        check(&mut hub);
    }
    assert_eq!(
        hub.stats().channels[Channel::Book as usize].subscriptions,
        [26, 0, 0, 4, 0],
        "by policy, in the order of all"
    );
    flow(&mut hub, &mut sockets, 10);
    say(&mut hub, ids[1], &format!(r#"{{"method":"unsubscribe",{params}}}}}"#));
    hub.handle_disconnect(ids[3]);
    hub.handle_disconnect(ids[4]);
    hub.kick(6);
    check(&mut hub);
    assert_eq!((hub.stats().clients, hub.stats().broken), (8, 2));
    sockets.odd_stall = false;
    ids.iter().for_each(|&id| hub.handle_writable(id));
    flow(&mut hub, &mut sockets, 5);
    answer(&mut hub);
    flow(&mut hub, &mut sockets, 5);
    let stats = hub.stats();
    assert_eq!((stats.lagging, stats.conservation_breaches), (0, 0));
    // Two of those that are left have paused a book: what they lack of it is pending.
    assert!(stats.channels[Channel::Book as usize].pending >= 2 * 10);
    assert!(stats.notices.iter().sum::<u64>() > 0 && stats.write_messages.count() > 0);
}

#[test]
fn counting_anew_gives_up_when_there_is_work() {
    let (mut hub, _) = hub(1_000);
    let mut asked = 0;
    let mut two_steps = || {
        asked += 1;
        asked < 3
    };
    assert_eq!(hub.audit(&mut two_steps), None);
    assert_eq!((asked, hub.stats().audits), (3, 0));
    check(&mut hub);
    assert_eq!(hub.stats().audits, 1);
}

#[test]
fn lagging_clients_are_looked_at_twice_a_second() {
    let (mut hub, _) = hub(10);
    let mut sockets = Sockets { odd_stall: true };
    sweep_all(&mut hub, &mut sockets);
    for seq in 11..31 {
        (0..SYMBOLS).for_each(|number| hub.handle_batch(&update(number, seq), Now::default()));
        sweep_all(&mut hub, &mut sockets);
    }
    let second = Now { mono: Nanos::SECOND, wall: Nanos::SECOND };
    (0..20).for_each(|_| hub.handle_timeout(second));
    let stats = hub.stats();
    let filled: Vec<(u64, u64)> = stats.lag_entries.buckets().filter(|&(_, count)| count > 0).collect();
    assert_eq!(filled, [(64, 10)], "five clients that lack sixty entries, twice");
    let filled: Vec<(u64, u64)> = stats.lag_age.buckets().filter(|&(_, count)| count > 0).collect();
    assert_eq!(filled, [(1_000_000_000, 10)], "posted at 0, seen after a second");
}
