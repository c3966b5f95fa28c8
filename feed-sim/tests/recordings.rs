//! The exchanges' own checks, recomputed from the lines that a replay sends.

mod witness;

use std::collections::BTreeMap;
use std::path::PathBuf;

use feed_sim::{
    Event, Lines, NEVER, ReplayConfig, Sink, SourceConfig, Speed, Stamper, Timestamps, Venue, VenueCheck,
    tell_opening,
};
use model::{Epoch, Instrument, Nanos};
use serde_json::Value;
use witness::{Book, Witness, number, split_lines};

fn data(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(path)
}

fn kraken() -> PathBuf {
    data("kraken-2021-04-17/kraken_book1000_10pairs.txt.gz")
}

fn open(path: PathBuf, looping: bool) -> Box<dyn Venue> {
    let config =
        ReplayConfig { speed: Speed::Max, timestamps: Timestamps::Kept, looping, ..ReplayConfig::new(path) };
    SourceConfig::Replay(config).open().expect("the recording opens")
}

/// Writes events as lines at once, reads those with the witness, and shows each check the book as read.
struct Reader<F> {
    lines: Lines,
    stamper: Stamper,
    out: Vec<u8>,
    witness: Witness,
    on_check: F,
}

impl<F: FnMut(&Book, &str, VenueCheck)> Reader<F> {
    fn new(on_check: F) -> Self {
        let (lines, stamper) = (Lines::default(), Stamper::default());
        Self { lines, stamper, out: Vec::new(), witness: Witness::default(), on_check }
    }
}

impl<F: FnMut(&Book, &str, VenueCheck)> Sink for Reader<F> {
    fn event(&mut self, epoch: Epoch, ts: Nanos, event: &Event<'_>) {
        self.lines.event(epoch, ts, event);
        self.stamper.stamp(&self.lines, &mut self.out);
        self.witness.read(&self.out);
        self.lines.clear();
        self.out.clear();
    }

    fn check(&mut self, instrument: &Instrument, check: VenueCheck) {
        let symbol = &*instrument.symbol;
        (self.on_check)(&self.witness.books[symbol], symbol, check);
    }
}

/// Plays a recording once and returns what the witness knows at the end.
fn play(path: PathBuf, on_check: impl FnMut(&Book, &str, VenueCheck)) -> Witness {
    let mut venue = open(path, false);
    let mut reader = Reader::new(on_check);
    tell_opening(&mut *venue, Nanos(1), &mut reader);
    while venue.next_due() != NEVER {
        venue.poll(Nanos(1), &mut reader);
    }
    reader.witness
}

#[test]
fn kraken_checksums_are_reproduced() {
    let (mut checks, mut right) = (0, 0);
    let mut updates = BTreeMap::<String, u64>::new();
    let witness = play(kraken(), |book, symbol, check| {
        let VenueCheck::Checksum(expected) = check else { panic!("{check:?}") };
        checks += 1;
        right += u64::from(book.checksum() == expected);
        // Every update is one event: the k-th has the sequence of the snapshot, which is 1, plus k.
        let count = updates.entry(symbol.to_owned()).or_default();
        *count += 1;
        assert_eq!(book.seq, 1 + *count);
        assert!(book.bids.len() <= 1_000 && book.asks.len() <= 1_000, "{symbol} outgrew its window");
    });
    println!("kraken: {right} of {checks} checksums");
    assert_eq!((checks, right), (4_269, 4_269));
    // Status, then instrument and snapshot of ten symbols, then the updates.
    assert_eq!(witness.lines, 1 + 20 + 4_269);
    assert!(witness.books.contains_key("KSM/BTC") && !witness.books.contains_key("KSM/XBT"));
}

#[test]
fn binance_best_prices_are_the_recorded_ones() {
    let mut tops = BTreeMap::<u64, (u64, u64)>::new();
    let mut books = Vec::new();
    let witness =
        play(data("binance-2024-08-08/usdm_btcusdt_20240808.txt.gz"), |book, _, check| match check {
            VenueCheck::Top { u, bid, ask } => {
                tops.insert(u, (bid.price.0 as u64, ask.price.0 as u64));
            }
            VenueCheck::Update { u } => {
                let (Some(bid), Some(ask)) = book.best() else { panic!("an empty side") };
                books.push((u, (bid, ask)));
            }
            VenueCheck::Checksum(_) => panic!("no checksums here"),
        });
    // The newest ticker that is not past the diff; both were received on connections of their own.
    let compared: Vec<_> =
        books.iter().filter_map(|(u, best)| Some((tops.range(..=u).next_back()?.1, best))).collect();
    let right = compared.iter().filter(|(top, best)| top == best).count();
    println!("binance: {right} of {} best prices, {} diffs", compared.len(), books.len());
    assert_eq!(right, compared.len());
    assert!(compared.len() > 6_500, "{} compared", compared.len());
    assert_eq!(witness.books.keys().collect::<Vec<_>>(), ["BTC/USDT"]);
}

#[test]
fn binance_trades_keep_their_numbers_and_sides() {
    let mut venue = open(data("binance-2024-08-08/usdm_btcusdt_20240808.txt.gz"), false);
    let (mut lines, mut out, mut stamper) = (Lines::default(), Vec::new(), Stamper::default());
    tell_opening(&mut *venue, Nanos(1), &mut lines);
    venue.poll(Nanos(1), &mut lines);
    stamper.stamp(&lines, &mut out);
    let all: Vec<Value> =
        split_lines(&out).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let first = all.iter().find(|line| line["type"] == "trade").expect("a trade");
    // The first of the file: before the snapshot, so it is history, and the seller rested.
    assert_eq!(
        (number(first, "id"), &first["price"], &first["side"]),
        (5_266_583_935, &Value::from("61800.30"), &Value::from("buy"))
    );
    assert_eq!((&first["replay"], number(first, "ts")), (&Value::from(true), 1_723_161_255_088_176_367));
}

#[test]
fn coinbase_deletes_only_what_is_there() {
    let witness = play(data("coinbase-2021-04-17/coinbase_l2_10products.txt.gz"), |_, _, check| {
        panic!("{check:?} of a venue that says nothing")
    });
    assert_eq!(witness.absent_deletes, 0);
    // Status, then instrument, last match and snapshot of ten symbols, then the updates and matches.
    assert_eq!(witness.lines, 1 + 30 + 9_719 + 97);
    assert_eq!(witness.books["DASH/BTC"].decimals, (8, 8));
}

#[test]
fn coinbase_takers_are_the_other_side_of_the_maker() {
    let mut venue = open(data("coinbase-2021-04-17/coinbase_l2_10products.txt.gz"), false);
    let mut lines = Lines::default();
    let index = venue.find("BAND/GBP").expect("a symbol");
    tell_opening(&mut *venue, Nanos(1), &mut Lines::default());
    venue.tell(index, false, Nanos(1), &mut lines);
    let mut out = Vec::new();
    Stamper::default().stamp(&lines, &mut out);
    let trade: Value = serde_json::from_str(&split_lines(&out)[0]).expect("JSON");
    // `"side":"sell"` in the recording: the seller rested.
    assert_eq!((number(&trade, "id"), &trade["side"]), (881_613, &Value::from("buy")));
}

#[test]
fn a_loop_begins_a_new_epoch_with_the_opening_books() {
    let mut venue = open(kraken(), true);
    let mut reader = Reader::new(|_, _, _| {});
    tell_opening(&mut *venue, Nanos(1), &mut reader);
    let opening = reader.witness.books.clone();
    while venue.epoch() == Epoch(1) {
        venue.poll(Nanos(1), &mut reader);
    }
    assert_eq!(reader.witness.epoch, 2);
    assert!(reader.witness.books == opening, "the second epoch begins with other books");
    // The witness accepts the second pass too: sequences go on from its snapshots.
    while venue.epoch() == Epoch(2) {
        venue.poll(Nanos(1), &mut reader);
    }
    assert_eq!(reader.witness.lines, 3 * 21 + 2 * 4_269);
}

#[test]
fn a_snapshot_in_the_middle_is_the_book_as_told() {
    struct Stop(Reader<fn(&Book, &str, VenueCheck)>, u64);
    impl Sink for Stop {
        fn event(&mut self, epoch: Epoch, ts: Nanos, event: &Event<'_>) {
            self.0.event(epoch, ts, event);
        }
        fn is_full(&self) -> bool {
            self.0.witness.lines >= self.1
        }
    }
    let mut venue = open(kraken(), false);
    let mut stop = Stop(Reader::new(|_, _, _| {}), 2_000);
    tell_opening(&mut *venue, Nanos(1), &mut stop);
    venue.poll(Nanos(1), &mut stop);
    let as_told = stop.0.witness.books.clone();
    for index in 0..venue.symbols() {
        venue.tell(index, true, Nanos(1), &mut stop);
    }
    assert!(stop.0.witness.books == as_told, "the books told again are not those told before");
}

#[test]
fn times_are_shifted_to_now_at_the_recorded_distances() {
    let mut config = ReplayConfig { speed: Speed::Times(10.0), ..ReplayConfig::new(kraken()) };
    let start = Nanos::from_secs(1_000);
    let seen = |config: &ReplayConfig| {
        let mut venue = SourceConfig::Replay(config.clone()).open().expect("it opens");
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        venue.poll(start, &mut lines);
        let due = venue.next_due();
        venue.poll(due, &mut lines);
        Stamper::default().stamp(&lines, &mut out);
        let ts: Vec<u64> = split_lines(&out)
            .iter()
            .map(|line| number(&serde_json::from_str::<Value>(line).expect("JSON"), "ts"))
            .collect();
        (due, ts)
    };
    // The first two updates were received 2.079 ms apart.
    assert_eq!(seen(&config), (start + Nanos(207_900), vec![start.0, start.0 + 207_900]));
    config.timestamps = Timestamps::Kept;
    assert_eq!(seen(&config).1, [1_618_678_134_213_106_000, 1_618_678_134_215_185_000]);
}

#[test]
fn what_is_no_recording_is_refused() {
    let error = |path: &str| ReplayConfig::new(data(path));
    let open = |config| SourceConfig::Replay(config).open().err().map(|error| error.to_string());
    assert!(open(error("README.md")).is_some_and(|text| text.contains("no recording that feed-sim knows")));
    assert!(open(error("absent.txt")).is_some_and(|text| text.starts_with("cannot read")));
}

/// The lines of a small recording, without status and instruments.
fn told(text: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("small.txt");
    std::fs::write(&path, text).expect("it is written");
    let mut venue = open(path, false);
    let (mut lines, mut out) = (Lines::default(), Vec::new());
    tell_opening(&mut *venue, Nanos(1), &mut lines);
    venue.poll(Nanos(1), &mut lines);
    Stamper::default().stamp(&lines, &mut out);
    let all = split_lines(&out).into_iter().map(|line| serde_json::from_str(&line).expect("JSON"));
    all.filter(|line: &Value| line["seq"].is_u64()).collect()
}

#[test]
fn what_falls_out_of_krakens_window_is_removed_explicitly() {
    let lines = told(concat!(
        "5.0: [1,{\"as\":[[\"10\",\"1\",\"0\"],[\"11\",\"1\",\"0\"],[\"12\",\"1\",\"0\"]],",
        "\"bs\":[[\"9\",\"1\",\"0\"],[\"8\",\"1\",\"0\"],[\"7\",\"1\",\"0\"]]},\"book-3\",\"XBT/USD\"]\n",
        // A better bid pushes the worst one out; an ask beyond the window comes and goes in the same update.
        "5.1: [1,{\"a\":[[\"13\",\"1\",\"0\"]]},{\"b\":[[\"9.5\",\"2\",\"0\"]],\"c\":\"1\"},\"book-3\",\"XBT/USD\"]\n",
    ));
    assert_eq!(lines.len(), 2, "a frame of two objects is one event");
    assert_eq!((number(&lines[1], "seq"), lines[1]["symbol"].as_str()), (2, Some("BTC/USD")));
    assert_eq!(lines[1]["bids"].to_string(), r#"[["9.5","2"],["7.0","0"]]"#);
    assert_eq!(lines[1]["asks"].to_string(), r#"[["13.0","0"]]"#);
}

#[test]
fn numbers_of_16_digits_are_left_out_until_they_fit() {
    let lines = told(concat!(
        "5.0: [1,{\"as\":[[\"10.0\",\"1.00000000\",\"0\"]],",
        "\"bs\":[[\"9.0\",\"1.00000000\",\"0\"],[\"1.0\",\"22000000.00000000\",\"0\"]]},\"book-10\",\"A/B\"]\n",
        "5.1: [1,{\"b\":[[\"9.0\",\"16666666.00000000\",\"0\"]]},\"book-10\",\"A/B\"]\n",
        "5.2: [1,{\"b\":[[\"1.0\",\"2.00000000\",\"0\"]]},\"book-10\",\"A/B\"]\n",
    ));
    let bids: Vec<String> = lines.iter().map(|line| line["bids"].to_string()).collect();
    assert_eq!(
        bids,
        [
            r#"[["9.0","1.00000000"]]"#,
            // Told as gone, rather than left at a quantity that is no longer true.
            r#"[["9.0","0.00000000"]]"#,
            r#"[["1.0","2.00000000"]]"#,
        ]
    );
}
