//! Who is written first: updates before crowds of snapshots, answers before data, deep snapshots a few at a time; and all in rounds when
//! there is too much for everybody.
//!
//! Drives a hub by hand: batches are made up here, sockets take everything and note in which order they were written.

use std::sync::Arc;

use fanout::{
    Batch, ChangeSpan, ClientId, Entry, EntryData, FrameSpan, Hub, Item, Join, Limits, Now, Output, Sink,
    TierBounds, Written,
};
use model::{
    Epoch, Instrument, InstrumentId, Nanos, PairStatus, Price, Qty, Scale, Sequence, StreamId, StreamKey,
};
use wire::ws::{Opcode, write_frame};

/// Bytes of a snapshot of a thousand levels.
const DEEP_BYTES: usize = 70_000;

/// Writes of one round.
const ROUND: usize = 32;

/// Sockets that take everything.
#[derive(Default)]
struct Sockets {
    /// Each write: to whom, and its bytes.
    writes: Vec<(ClientId, Vec<u8>)>,
}

impl Sink for Sockets {
    fn write(&mut self, client: ClientId, bytes: &[u8]) -> Written {
        self.writes.push((client, bytes.to_vec()));
        Written::Bytes(bytes.len())
    }

    fn now(&mut self) -> Now {
        Now::default()
    }
}

impl Sockets {
    /// The writes since the last call.
    fn take(&mut self) -> Vec<(ClientId, Vec<u8>)> {
        std::mem::take(&mut self.writes)
    }
}

/// A hub of one instrument.
fn hub() -> Hub {
    let mut hub = Hub::new(Limits::default(), vec![TierBounds::default()], "test");
    post(&mut hub, Batch { items: vec![pair(0, "AAA/USD")], ..Batch::default() });
    hub
}

fn pair(number: u32, symbol: &str) -> Item {
    let instrument = Instrument {
        symbol: symbol.into(),
        status: PairStatus::Online,
        price: Scale::new(1),
        qty: Scale::new(8),
        qty_min: Qty(1),
        cost_decimals: 5,
        cost_min: rust_decimal::Decimal::ONE,
    };
    Item::Pair(InstrumentId(number), Arc::new(instrument), PairStatus::Online)
}

fn post(hub: &mut Hub, batch: Batch) {
    hub.handle_batch(&batch, Now::default());
}

fn ask(hub: &mut Hub, client: ClientId, depth: u16) {
    let params = format!(r#"{{"channel":"book","symbol":["AAA/USD"],"depth":{depth}}}"#);
    let mut text = format!(r#"{{"method":"subscribe","params":{params}}}"#).into_bytes();
    hub.handle_message(client, &mut text, Now::default());
}

fn asks(hub: &mut Hub) -> Vec<StreamId> {
    let mut asked = Vec::new();
    while let Some(output) = hub.poll_output() {
        if let Output::Ask(stream) = output {
            asked.push(stream);
        }
    }
    asked
}

/// The stream of the book at the n-th depth.
fn book(depth: u8) -> StreamId {
    StreamKey::Book(InstrumentId(0), depth).id()
}

/// A frame of so many bytes of payload.
fn frame(payload: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(Opcode::Text, &vec![b'x'; payload], &mut bytes);
    bytes
}

fn join(stream: StreamId, snapshot_bytes: usize) -> Batch {
    let bytes = frame(snapshot_bytes);
    let snapshot = FrameSpan { start: 0, len: bytes.len() as u32 };
    let join = Join { stream, epoch: Epoch(1), seq: Sequence(10), snapshot };
    Batch { items: vec![Item::Join(join)], bytes, ..Batch::default() }
}

fn update(stream: StreamId, seq: u64) -> Batch {
    let bytes = frame(150);
    let level = model::Level { price: Price(1), qty: Qty(seq as i64) };
    let change = model::WindowChange { level, was: true, is: true };
    let entry = Entry {
        stream,
        epoch: Epoch(1),
        seq: Sequence(seq),
        prev: Sequence(seq - 1),
        ts_event: Nanos(0),
        frame: FrameSpan { start: 0, len: bytes.len() as u32 },
        data: EntryData::Book { changes: ChangeSpan { start: 0, bids: 1, asks: 0 }, checksum: 0 },
    };
    Batch { items: vec![Item::Entry(entry)], bytes, changes: vec![change], ..Batch::default() }
}

fn connect(hub: &mut Hub, count: u64) -> Vec<ClientId> {
    (0..count).map(|n| hub.handle_connect(n, false, Now::default())).collect()
}

fn sweep_all(hub: &mut Hub, sockets: &mut Sockets) {
    while hub.sweep(ROUND, sockets) > 0 {}
}

#[test]
fn an_update_does_not_wait_behind_a_crowd_of_snapshots() {
    let (mut hub, mut sockets) = (hub(), Sockets::default());
    let reader = connect(&mut hub, 1)[0];
    ask(&mut hub, reader, 10);
    post(&mut hub, join(book(0), 900));
    sweep_all(&mut hub, &mut sockets);
    let crowd = connect(&mut hub, 500);
    crowd.iter().for_each(|&client| ask(&mut hub, client, 1000));
    post(&mut hub, join(book(4), DEEP_BYTES));
    post(&mut hub, update(book(0), 11));
    sockets.take();
    // The reader was queued last. Every round has one snapshot at the most.
    let mut rounds = 0;
    let read = |writes: &[(ClientId, Vec<u8>)]| writes.iter().any(|(client, _)| *client == reader);
    let is_deep = |write: &&(ClientId, Vec<u8>)| write.1.len() >= DEEP_BYTES;
    let mut snapshots = 0;
    loop {
        hub.sweep(ROUND, &mut sockets);
        let writes = sockets.take();
        rounds += 1;
        assert!(writes.iter().filter(is_deep).count() <= 1, "one large write in a round");
        snapshots += writes.iter().filter(is_deep).count();
        if read(&writes) {
            break;
        }
    }
    // The answers of the crowd come before, in small writes; of the snapshots one for each round.
    assert!(
        rounds <= crowd.len() / ROUND + 1 && snapshots == rounds,
        "{rounds} rounds, {snapshots} snapshots"
    );
    sweep_all(&mut hub, &mut sockets);
    let deep = sockets.writes.iter().filter(is_deep).count();
    assert_eq!(deep + snapshots, crowd.len(), "everybody has its snapshot in the end");
}

#[test]
fn deep_snapshots_are_asked_for_a_few_at_a_time() {
    let mut hub = hub();
    let others = (1..20).map(|n| pair(n, &format!("S{n}/USD")));
    post(&mut hub, Batch { items: others.collect(), ..Batch::default() });
    let client = connect(&mut hub, 1)[0];
    let symbols: Vec<String> = (1..20).map(|n| format!(r#""S{n}/USD""#)).collect();
    let params = format!(r#"{{"channel":"book","symbol":[{}],"depth":1000}}"#, symbols.join(","));
    let mut text = format!(r#"{{"method":"subscribe","params":{params}}}"#).into_bytes();
    hub.handle_message(client, &mut text, Now::default());
    ask(&mut hub, client, 10);
    let first = asks(&mut hub);
    let max = Limits::default().deep_asks_max;
    assert_eq!(first.len(), max + 1, "a shallow one does not wait for the deep ones: {first:?}");
    let mut answered = 0;
    let mut open: Vec<StreamId> = first.into_iter().filter(|&stream| stream != book(0)).collect();
    while let Some(stream) = open.pop() {
        post(&mut hub, join(stream, DEEP_BYTES));
        answered += 1;
        open.extend(asks(&mut hub));
        assert!(open.len() <= max, "{} at once", open.len());
    }
    assert_eq!(answered, 19, "all are answered in the end");
}

#[test]
fn an_answer_comes_before_the_data_that_was_there_earlier() {
    let (mut hub, mut sockets) = (hub(), Sockets::default());
    let client = connect(&mut hub, 1)[0];
    ask(&mut hub, client, 10);
    post(&mut hub, join(book(0), 900));
    sweep_all(&mut hub, &mut sockets);
    sockets.take();
    (11..60).for_each(|seq| post(&mut hub, update(book(0), seq)));
    hub.handle_message(client, &mut br#"{"method":"ping","req_id":5}"#.to_vec(), Now::default());
    hub.handle_ping(client, b"now");
    sweep_all(&mut hub, &mut sockets);
    let [(_, bytes)] = &sockets.writes[..] else { panic!("one write: {}", sockets.writes.len()) };
    let text = String::from_utf8_lossy(bytes);
    let places = [r#""method":"pong""#, "now", "xxxx"].map(|part| text.find(part).expect(part));
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn a_shard_that_is_overrun_brings_all_on_in_rounds_with_shared_merges() {
    let limits = Limits { ranges_max: 2, overrun_clients: 3, ..Limits::default() };
    let mut hub = Hub::new(limits, vec![TierBounds::default()], "test");
    post(&mut hub, Batch { items: vec![pair(0, "AAA/USD"), pair(1, "BBB/USD")], ..Batch::default() });
    let mut sockets = Sockets::default();
    let (readers, other) = (connect(&mut hub, 3), connect(&mut hub, 1)[0]);
    let another = StreamKey::Book(InstrumentId(1), 0).id();
    readers.iter().for_each(|&client| ask(&mut hub, client, 10));
    let params = r#"{"channel":"book","symbol":["BBB/USD"],"depth":10}"#;
    let mut text = format!(r#"{{"method":"subscribe","params":{params}}}"#).into_bytes();
    hub.handle_message(other, &mut text, Now::default());
    for stream in [book(0), another] {
        post(&mut hub, join(stream, 900));
    }
    sweep_all(&mut hub, &mut sockets);
    // Frames that are no neighbours, more than a client keeps while its turn does not come.
    let news = |hub: &mut Hub, seqs: std::ops::Range<u64>| {
        for seq in seqs {
            for stream in [book(0), another] {
                post(hub, update(stream, seq));
            }
        }
    };
    news(&mut hub, 11..16);
    assert!(hub.is_overrun());
    sweep_all(&mut hub, &mut sockets);
    for round in 1..4 {
        sockets.take();
        let before = hub.stats();
        news(&mut hub, 11 + 5 * round..16 + 5 * round);
        assert_eq!(hub.waiting(), 4, "everybody with news waits once");
        sweep_all(&mut hub, &mut sockets);
        let (writes, after) = (sockets.take(), hub.stats());
        assert_eq!(writes.len(), 4, "one write each");
        let same = writes.iter().filter(|(client, bytes)| readers.contains(client) && *bytes == writes[0].1);
        assert_eq!(same.count(), 3, "who stands at one place is sent one message");
        assert_eq!(after.merges_encoded - before.merges_encoded, 2, "a merge for each stream");
        assert_eq!(after.merges_shared - before.merges_shared, 2);
    }
    hub.handle_calm();
    assert!(!hub.is_overrun());
    sweep_all(&mut hub, &mut sockets);
    sockets.take();
    post(&mut hub, update(book(0), 31));
    sweep_all(&mut hub, &mut sockets);
    let writes = sockets.take();
    assert!(writes.len() == 3 && writes.iter().all(|(_, bytes)| *bytes == frame(150)), "each frame again");
    assert_eq!((hub.stats().overruns, hub.stats().lagging), (1, 0));
}
