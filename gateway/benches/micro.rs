//! What each step of an update costs, without threads and sockets: decode, apply, checksum, encode, publish, merge, sweep.
//!
//! Runs the real crates on lines of the simulated venue that are made once. `cargo bench -p gateway` prints a table; figures
//! and what they mean stand in `docs/performance.md`. Whole processes are measured by `loadtest bench`.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::ItemsCount;
use fanout::{Batch, ClientId, Hub, Limits, Now, Output, Sink, TierBounds, Written};
use feed_sim::{Arrivals, Local, SimulatorConfig, SourceConfig};
use market::{Market, MarketLimits};
use model::{EventBatch, InstrumentId, Level, Nanos, Side, StreamId, StreamKey};
use publish::Publisher;
use wire::feed::FeedDecoder;
use wire::text::Clockface;
use wire::update::{self, Link};
use wire::ws::write_text_frame;

fn main() {
    divan::main();
}

/// When the recorded lines begin.
const START: Nanos = Nanos(1_700_000_000_000_000_000);

/// Lines of one run, after the opening of the feed.
const LINES: usize = 20_000;

const SYMBOLS: usize = 100;

/// Lines of the simulated venue: those with which it begins, and those after them.
struct Tape {
    opening: Vec<Vec<u8>>,
    lines: Vec<Vec<u8>>,
}

impl Tape {
    fn record() -> Self {
        let simulator = SimulatorConfig {
            symbols: SYMBOLS,
            rate: 100_000.0,
            arrivals: Arrivals::Uniform,
            zipf: 0.0,
            ..SimulatorConfig::default()
        };
        let mut feed = Local::open(SourceConfig::Simulator(simulator)).expect("the settings are in range");
        let (mut now, mut bytes) = (START, Vec::new());
        let mut lines: Vec<Vec<u8>> = Vec::new();
        while lines.len() < LINES + 10 * SYMBOLS {
            bytes.clear();
            feed.read(now, &mut bytes);
            lines.extend(
                bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(<[u8]>::to_vec),
            );
            now = now + Nanos::from_millis(1);
        }
        let rest = lines.split_off(10 * SYMBOLS);
        Self { opening: lines, lines: rest }
    }
}

/// The engine without its thread.
struct Engine {
    decoder: FeedDecoder,
    market: Market,
    publisher: Publisher<Box<Batch>>,
    events: EventBatch,
    line: Vec<u8>,
}

impl Engine {
    /// An engine that has read the opening, with the books of some depths in use.
    fn begin(tape: &Tape, depths: usize) -> Self {
        let mut engine = Self {
            decoder: FeedDecoder::default(),
            market: Market::new(MarketLimits::default()),
            publisher: Publisher::new(vec![Box::default()]),
            events: EventBatch::default(),
            line: Vec::new(),
        };
        engine.market.handle_connect(START);
        tape.opening.iter().for_each(|line| engine.take(line));
        for instrument in 0..SYMBOLS as u32 {
            for depth in 0..depths as u8 {
                let stream = StreamKey::Book(InstrumentId(instrument), depth).id();
                let _ = engine.publisher.join(0, stream, &engine.market, START);
            }
        }
        engine.post();
        engine
    }

    fn take(&mut self, line: &[u8]) {
        self.line.clear();
        self.line.extend_from_slice(line);
        self.events.clear();
        let _ = self.decoder.decode_line(&mut self.line, START, &mut self.events);
        for event in &self.events.events {
            self.market.apply(event, &self.events);
            while let Some(output) = self.market.poll_output() {
                let _ = self.publisher.handle_output(output, &self.market);
            }
        }
    }

    /// What would go into the lane; empties it.
    fn post(&mut self) -> usize {
        let batch = &mut self.publisher.lanes()[0];
        let bytes = batch.bytes.len();
        batch.clear();
        bytes
    }
}

#[divan::bench]
fn decode_a_line(bencher: Bencher<'_, '_>) {
    let tape = Tape::record();
    bencher.counter(ItemsCount::new(LINES)).with_inputs(|| Engine::begin(&tape, 0)).bench_local_values(
        |mut engine| {
            for line in &tape.lines[..LINES] {
                engine.line.clear();
                engine.line.extend_from_slice(line);
                engine.events.clear();
                let _ = engine.decoder.decode_line(&mut engine.line, START, &mut engine.events);
            }
            black_box(engine.events.events.len());
            engine
        },
    );
}

/// From a line of the feed to a posted frame, with the books of so many depths in use.
#[divan::bench(args = [0, 1, 5])]
fn line_to_frames(bencher: Bencher<'_, '_>, depths: usize) {
    let tape = Tape::record();
    bencher.counter(ItemsCount::new(LINES)).with_inputs(|| Engine::begin(&tape, depths)).bench_local_values(
        |mut engine| {
            for (index, line) in tape.lines[..LINES].iter().enumerate() {
                engine.take(line);
                if index % 512 == 511 {
                    black_box(engine.post());
                }
            }
            engine
        },
    );
}

#[divan::bench(sample_size = 1000)]
fn checksum_of_a_book(bencher: Bencher<'_, '_>) {
    let engine = Engine::begin(&Tape::record(), 0);
    let instrument = engine.market.instrument(InstrumentId(0)).expect("it was announced");
    let book = engine.market.book(InstrumentId(0)).expect("it has a book");
    bencher.bench_local(|| wire::checksum::checksum(instrument, book.side(Side::Bid), book.side(Side::Ask)));
}

/// The same where a change leaves so many of the best levels of each side as they were.
#[divan::bench(args = [0, 5, 10], sample_size = 1000)]
fn checksum_after_a_change(bencher: Bencher<'_, '_>, unchanged: usize) {
    let engine = Engine::begin(&Tape::record(), 0);
    let instrument = engine.market.instrument(InstrumentId(0)).expect("it was announced");
    let book = engine.market.book(InstrumentId(0)).expect("it has a book");
    let mut text = wire::checksum::ChecksumText::default();
    bencher.bench_local(|| {
        Side::BOTH.into_iter().for_each(|side| text.cut(side, unchanged));
        text.sum(instrument, book.side(Side::Bid), book.side(Side::Ask))
    });
}

/// One update of two levels with its frame header.
#[divan::bench(sample_size = 1000)]
fn encode_an_update(bencher: Bencher<'_, '_>) {
    let engine = Engine::begin(&Tape::record(), 0);
    let instrument = engine.market.instrument(InstrumentId(0)).expect("it was announced");
    let book = engine.market.book(InstrumentId(0)).expect("it has a book");
    let (bids, asks): (Vec<Level>, Vec<Level>) =
        (book.top(Side::Bid, 1).collect(), book.top(Side::Ask, 1).collect());
    let (_, seq) = engine.market.head(InstrumentId(0));
    let link = Link::Next { seq, prev: model::Sequence(seq.0 - 1), epoch: None, merged: 1 };
    let (mut frame, mut face) = (Vec::new(), Clockface::default());
    bencher.bench_local(|| {
        frame.clear();
        let (bids, asks) = (bids.iter().copied(), asks.iter().copied());
        write_text_frame(&mut frame, |out| {
            update::book(instrument, bids, asks, 3_310_070_434, face.show(START), link, out)
        });
        black_box(frame.len())
    });
}

/// Sockets that take everything, or nothing.
struct Sockets {
    open: bool,
    bytes: usize,
}

impl Sink for Sockets {
    fn write(&mut self, _: ClientId, bytes: &[u8]) -> Written {
        self.bytes += bytes.len();
        Written::Bytes(if self.open { bytes.len() } else { 0 })
    }

    fn now(&mut self) -> Now {
        Now { mono: START, wall: START }
    }
}

/// A hub with clients that take the books of so many symbols each.
fn hub(engine: &mut Engine, clients: usize, symbols_each: usize) -> Hub {
    let now = Now { mono: START, wall: START };
    let mut hub = Hub::new(Limits::default(), vec![TierBounds::default()], "bench");
    for (id, instrument) in engine.market.instruments() {
        let status = model::PairStatus::Online;
        let item = fanout::Item::Pair(id, std::sync::Arc::clone(instrument), status);
        hub.handle_batch(&Batch { items: vec![item], ..Batch::default() }, now);
    }
    let names: Vec<String> =
        engine.market.instruments().map(|(_, one)| format!("\"{}\"", one.symbol)).collect();
    for client in 0..clients {
        let id = hub.handle_connect(client as u64, false, now);
        let mine: Vec<&str> =
            (0..symbols_each).map(|n| &*names[(client * symbols_each + n) % names.len()]).collect();
        let params = format!(r#"{{"channel":"book","symbol":[{}]}}"#, mine.join(","));
        let mut text = format!(r#"{{"method":"subscribe","params":{params}}}"#).into_bytes();
        hub.handle_message(id, &mut text, now);
        answer(&mut hub, engine);
    }
    let mut sockets = Sockets { open: true, bytes: 0 };
    while hub.sweep(usize::MAX, &mut sockets) > 0 {}
    hub
}

fn answer(hub: &mut Hub, engine: &mut Engine) {
    let mut asked: Vec<StreamId> = Vec::new();
    while let Some(output) = hub.poll_output() {
        if let Output::Ask(stream) = output {
            asked.push(stream);
        }
    }
    for stream in asked {
        let _ = engine.publisher.join(0, stream, &engine.market, START);
    }
    deliver(hub, engine);
}

fn deliver(hub: &mut Hub, engine: &mut Engine) -> usize {
    let batch = &mut engine.publisher.lanes()[0];
    hub.handle_batch(batch, Now { mono: START, wall: START });
    let items = batch.items.len();
    batch.clear();
    items
}

/// The delivery of entries to 1,000 clients that keep up: ranges and writes, the socket for nothing. Per delivery.
#[divan::bench(args = [100, 20], sample_count = 8, sample_size = 1)]
fn deliver_to_1000_clients(bencher: Bencher<'_, '_>, symbols_each: usize) {
    const EVENTS: usize = 2_000;
    let tape = Tape::record();
    let mut engine = Engine::begin(&tape, 0);
    let mut hub = hub(&mut engine, 1_000, symbols_each);
    // Each line once: a sequence that comes again is refused.
    let mut lines = tape.lines.iter();
    let mut sockets = Sockets { open: true, bytes: 0 };
    let deliveries = EVENTS * 1_000 * symbols_each / SYMBOLS;
    bencher.counter(ItemsCount::new(deliveries)).bench_local(|| {
        for _ in 0..EVENTS / 50 {
            lines.by_ref().take(50).for_each(|line| engine.take(line));
            deliver(&mut hub, &mut engine);
            while hub.sweep(32, &mut sockets) > 0 {}
        }
        black_box(sockets.bytes)
    });
}

/// Brings one client forward over so many entries of one book by one merged update.
#[divan::bench(args = [10, 100, 1000])]
fn merge_entries(bencher: Bencher<'_, '_>, entries: usize) {
    let tape = Tape::record();
    bencher
        .with_inputs(|| {
            let mut engine = Engine::begin(&tape, 0);
            let mut hub = hub(&mut engine, 1, 1);
            let mut closed = Sockets { open: false, bytes: 0 };
            let mut delivered = 0;
            for line in &tape.lines {
                engine.take(line);
                delivered += deliver(&mut hub, &mut engine);
                while hub.sweep(usize::MAX, &mut closed) > 0 {}
                if delivered >= entries {
                    break;
                }
            }
            hub.handle_writable(ClientId(0));
            hub
        })
        .bench_local_values(|mut hub| {
            let mut open = Sockets { open: true, bytes: 0 };
            while hub.sweep(usize::MAX, &mut open) > 0 {}
            black_box(open.bytes);
            hub
        });
}
