//! Mistakes that driven worlds found, each told as shortly as it can be.
//!
//! Drives a hub by hand: batches are made up here, the socket of the one client takes what it is told to take.

use std::sync::Arc;

use fanout::{
    Batch, ChangeSpan, ClientId, Entry, EntryData, FrameSpan, Hub, Item, Join, Limits, Now, Output, Sink,
    TierBounds, Written,
};
use model::{
    Epoch, Instrument, InstrumentId, Level, Nanos, PairStatus, Price, Qty, Scale, Sequence, StreamId,
    StreamKey, WindowChange,
};
use wire::ws::{Opcode, write_frame};

/// The only instrument.
const ID: InstrumentId = InstrumentId(0);

/// The book of ten levels.
const BOOK: StreamKey = StreamKey::Book(ID, 0);

/// A socket that takes so many bytes and then no more.
struct Socket {
    room: usize,
    taken: Vec<u8>,
}

impl Sink for Socket {
    fn write(&mut self, _: ClientId, bytes: &[u8]) -> Written {
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        self.taken.extend_from_slice(&bytes[..taken]);
        Written::Bytes(taken)
    }

    fn now(&mut self) -> Now {
        Now::default()
    }
}

impl Socket {
    fn new(room: usize) -> Self {
        Self { room, taken: Vec::new() }
    }

    /// How often a text was taken.
    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.taken).matches(text).count()
    }
}

/// A hub with one client that opted in.
fn hub() -> (Hub, ClientId) {
    let mut hub = Hub::new(Limits::default(), vec![TierBounds::default()], "test");
    let instrument = Instrument {
        symbol: "AAA/USD".into(),
        status: PairStatus::Online,
        price: Scale::new(1),
        qty: Scale::new(8),
        qty_min: Qty(1),
        cost_decimals: 5,
        cost_min: rust_decimal::Decimal::ONE,
    };
    post(&mut hub, vec![Item::Pair(ID, Arc::new(instrument), PairStatus::Online)]);
    let client = hub.handle_connect(1, true, Now::default());
    (hub, client)
}

fn post(hub: &mut Hub, items: Vec<Item>) {
    hub.handle_batch(&Batch { items, ..Batch::default() }, Now::default());
}

fn say(hub: &mut Hub, client: ClientId, method: &str, more: &str) {
    let params = format!(r#"{{"channel":"book","symbol":["AAA/USD"]{more}}}"#);
    let mut text = format!(r#"{{"method":"{method}","params":{params}}}"#).into_bytes();
    hub.handle_message(client, &mut text, Now::default());
}

/// The answer of the engine: the stream stands here, and there is nothing to show.
fn join(stream: StreamId, epoch: u64, seq: u64) -> Item {
    let snapshot = FrameSpan::default();
    Item::Join(Join { stream, epoch: Epoch(epoch), seq: Sequence(seq), snapshot })
}

/// An update of the book: one level, the first of its batch. Its frame is empty.
fn entry(epoch: u64, seq: u64, prev: u64) -> Entry {
    Entry {
        stream: BOOK.id(),
        epoch: Epoch(epoch),
        seq: Sequence(seq),
        prev: Sequence(prev),
        ts_event: Nanos(0),
        frame: FrameSpan::default(),
        data: EntryData::Book { changes: ChangeSpan { start: 0, bids: 1, asks: 0 }, checksum: 0 },
    }
}

fn update(hub: &mut Hub, epoch: u64, seq: u64, prev: u64) {
    let mut bytes = Vec::new();
    write_frame(Opcode::Text, b"{}", &mut bytes);
    let level = Level { price: Price(1), qty: Qty(seq as i64) };
    let frame = FrameSpan { start: 0, len: bytes.len() as u32 };
    let entry = Entry { frame, ..entry(epoch, seq, prev) };
    let changes = vec![WindowChange { level, was: true, is: true }];
    let batch = Batch { items: vec![Item::Entry(entry)], bytes, changes, ..Batch::default() };
    hub.handle_batch(&batch, Now::default());
}

fn write(hub: &mut Hub, client: ClientId, socket: &mut Socket) {
    hub.handle_writable(client);
    while hub.sweep(8, socket) > 0 {}
}

fn outputs(hub: &mut Hub) -> Vec<Output> {
    std::iter::from_fn(|| hub.poll_output()).collect()
}

/// A socket that was full right behind the update lost the news that its data is fresh: nothing else would have brought it.
#[test]
fn that_data_is_fresh_is_told_wherever_the_socket_stops() {
    for room in 0..600 {
        let (mut hub, client) = hub();
        say(&mut hub, client, "subscribe", "");
        post(&mut hub, vec![join(BOOK.id(), 1, 10), Item::Stale(ID, true)]);
        // It lags, with everything before that in its hands.
        write(&mut hub, client, &mut Socket::new(usize::MAX));
        update(&mut hub, 1, 11, 10);
        write(&mut hub, client, &mut Socket::new(0));
        update(&mut hub, 1, 12, 11);
        post(&mut hub, vec![Item::Stale(ID, false)]);
        let mut socket = Socket::new(room);
        write(&mut hub, client, &mut socket);
        socket.room = usize::MAX;
        write(&mut hub, client, &mut socket);
        assert_eq!(socket.count("\"seq\":12"), 1, "{room} bytes at first");
        assert_eq!(socket.count("\"code\":\"fresh\""), 1, "{room} bytes at first");
    }
}

/// While a question was on its way to the engine the stream could be left. The answer made it active again, and the history of
/// trades that came before the next answer was taken for news.
#[test]
fn a_stream_is_not_left_before_every_question_about_it_was_answered() {
    let (mut hub, client) = hub();
    say(&mut hub, client, "subscribe", "");
    post(&mut hub, vec![join(BOOK.id(), 1, 10)]);
    say(&mut hub, client, "unsubscribe", "");
    say(&mut hub, client, "subscribe", "");
    say(&mut hub, client, "unsubscribe", "");
    assert_eq!(outputs(&mut hub), [Output::Ask(BOOK.id()), Output::Ask(BOOK.id())]);
    let late = Nanos(3 * Limits::default().linger.0);
    let later = Now { mono: late, wall: late };
    hub.handle_timeout(later);
    assert_eq!(outputs(&mut hub), [], "the second question was not answered");
    post(&mut hub, vec![join(BOOK.id(), 1, 10)]);
    hub.handle_timeout(later);
    assert_eq!(outputs(&mut hub), [Output::Leave(BOOK.id())]);
}

/// Whoever named a sequence beyond the end of an older epoch was believed, and told that it missed nothing else.
#[test]
fn nobody_is_recovered_from_beyond_the_end_of_an_older_epoch() {
    for (seq, recovered) in [(11, true), (10, true), (12, false), (1_000_000_000, false)] {
        let (mut hub, first) = hub();
        say(&mut hub, first, "subscribe", "");
        post(&mut hub, vec![join(BOOK.id(), 1, 10)]);
        update(&mut hub, 1, 11, 10);
        update(&mut hub, 2, 1, 11);
        let second = hub.handle_connect(2, true, Now::default());
        say(&mut hub, second, "subscribe", &format!(r#","resume":{{"epoch":1,"seq":{seq}}}"#));
        post(&mut hub, vec![join(BOOK.id(), 2, 1)]);
        let mut socket = Socket::new(usize::MAX);
        write(&mut hub, second, &mut socket);
        let expected = format!("\"recovered\":{recovered}");
        assert_eq!(socket.count(&expected), 1, "from {seq}: {:?}", String::from_utf8_lossy(&socket.taken));
    }
}

/// A batch of updates of the book in the first epoch, with a join behind one of them.
fn batch(seqs: std::ops::RangeInclusive<u64>, joined_at: Option<u64>) -> Batch {
    let mut batch = Batch::default();
    for seq in seqs {
        batch.items.push(Item::Entry(entry(1, seq, seq - 1)));
        if joined_at == Some(seq) {
            batch.items.push(join(BOOK.id(), 1, seq));
        }
    }
    batch
}

/// What a full lane made the engine give up counted as one entry, up to the one before it.
#[test]
fn what_a_full_lane_lost_is_told_in_full() {
    let (mut hub, client) = hub();
    say(&mut hub, client, "subscribe", "");
    post(&mut hub, vec![join(BOOK.id(), 1, 10)]);
    write(&mut hub, client, &mut Socket::new(usize::MAX));
    let mut batch = batch(11..=13, None);
    assert_eq!(batch.give_up_entries(), 1);
    // It still did not fit, and grew.
    batch.items.push(Item::Entry(entry(1, 14, 13)));
    assert_eq!(batch.give_up_entries(), 1);
    hub.handle_batch(&batch, Now::default());
    let mut socket = Socket::new(usize::MAX);
    write(&mut hub, client, &mut socket);
    let told = r#""code":"resynced","channel":"book","symbol":"AAA/USD","from_seq":10,"to_seq":14,"count":4"#;
    assert_eq!(socket.count(told), 1, "{:?}", String::from_utf8_lossy(&socket.taken));
}

/// Who joined within what was given up lost only what came behind its snapshot, who was there lost everything.
#[test]
fn a_full_lane_loses_to_each_client_what_it_was_to_get() {
    let (mut hub, first) = hub();
    say(&mut hub, first, "subscribe", "");
    post(&mut hub, vec![join(BOOK.id(), 1, 10)]);
    let second = hub.handle_connect(2, true, Now::default());
    say(&mut hub, second, "subscribe", "");
    let mut socket = Socket::new(usize::MAX);
    write(&mut hub, first, &mut socket);
    let mut batch = batch(11..=13, Some(12));
    assert_eq!(batch.give_up_entries(), 1);
    hub.handle_batch(&batch, Now::default());
    for client in [first, second] {
        write(&mut hub, client, &mut socket);
    }
    for told in [r#""from_seq":10,"to_seq":13,"count":3"#, r#""from_seq":12,"to_seq":13,"count":1"#] {
        assert_eq!(socket.count(told), 1, "{told}: {:?}", String::from_utf8_lossy(&socket.taken));
    }
}

/// A notice whose range ended in a new epoch had an end below its beginning, and did not say why.
#[test]
fn a_range_that_ends_in_another_epoch_says_so() {
    for (is_lost, code) in [(false, "merged"), (true, "resynced")] {
        let (mut hub, client) = hub();
        say(&mut hub, client, "subscribe", "");
        post(&mut hub, vec![join(BOOK.id(), 1, 10)]);
        write(&mut hub, client, &mut Socket::new(usize::MAX));
        update(&mut hub, 1, 11, 10);
        write(&mut hub, client, &mut Socket::new(0));
        if is_lost {
            let mut batch = Batch { items: vec![Item::Entry(entry(2, 1, 11))], ..Batch::default() };
            batch.give_up_entries();
            hub.handle_batch(&batch, Now::default());
        } else {
            update(&mut hub, 2, 1, 11);
        }
        let mut socket = Socket::new(usize::MAX);
        write(&mut hub, client, &mut socket);
        let told = format!(
            r#""code":"{code}","channel":"book","symbol":"AAA/USD","from_seq":10,"to_seq":1,"epoch":2,"count":2"#
        );
        assert_eq!(socket.count(&told), 1, "{code}: {:?}", String::from_utf8_lossy(&socket.taken));
    }
}
