//! Each fault shows up in the lines as it is specified, and a snapshot puts everything right again.

mod witness;

use feed_sim::{Fault, FaultPlan, Local, SimulatorConfig, SourceConfig};
use model::Nanos;
use serde_json::Value;
use witness::{Witness, number, split_lines};

const START: Nanos = Nanos(1_700_000_000_000_000_000);

/// An in-process reader on virtual time.
struct Reader {
    local: Local,
    now: Nanos,
    out: Vec<u8>,
}

impl Reader {
    /// A reader that has been told the opening and some events.
    fn start() -> Self {
        let config = SimulatorConfig { symbols: 2, depth: 20, rate: 1_000.0, ..SimulatorConfig::default() };
        Self::open(SourceConfig::Simulator(config))
    }

    fn open(source: SourceConfig) -> Self {
        Self { local: Local::open(source).expect("it opens"), now: START, out: Vec::new() }
    }

    /// Reads for so long, whenever the reader says, and returns the lines.
    fn read(&mut self, span: Nanos) -> Vec<String> {
        let end = self.now + span;
        while self.now <= end {
            let next = self.local.read(self.now, &mut self.out);
            assert!(next > self.now || !self.out.is_empty(), "called again at once for nothing");
            self.now = next.max(self.now + Nanos(1));
        }
        self.now = end;
        split_lines(&std::mem::take(&mut self.out))
    }

    fn request(&mut self, line: &str) -> Vec<String> {
        let mut line = line.as_bytes().to_vec();
        self.local.handle_request(&mut line, self.now, &mut self.out);
        split_lines(&std::mem::take(&mut self.out))
    }
}

fn values(lines: &[String]) -> Vec<Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Injects a fault and returns what is told for 200 ms after it, with the lines before it read by a witness.
fn after(fault: Fault) -> (Reader, Witness, Vec<String>) {
    let mut reader = Reader::start();
    let mut witness = Witness::default();
    for line in reader.read(Nanos::SECOND) {
        witness.read_line(&line);
    }
    reader.local.inject(fault);
    let lines = reader.read(Nanos::from_millis(200));
    (reader, witness, lines)
}

/// Steps of the line numbers, and of the sequences of each symbol, that are not 1.
fn jumps(witness: &Witness, lines: &[String]) -> (Vec<i64>, Vec<i64>) {
    let mut line = witness.line as i64;
    let mut seqs: std::collections::BTreeMap<String, i64> =
        witness.books.iter().map(|(symbol, book)| (symbol.clone(), book.seq as i64)).collect();
    let (mut line_jumps, mut seq_jumps) = (Vec::new(), Vec::new());
    for value in values(lines) {
        line_jumps.push(number(&value, "line") as i64 - line);
        line += line_jumps.last().expect("just pushed");
        let (Some(symbol), Some(seq)) = (value["symbol"].as_str(), value["seq"].as_i64()) else { continue };
        let last = seqs.get_mut(symbol).expect("announced");
        seq_jumps.push(seq - *last);
        *last = seq;
    }
    line_jumps.retain(|&jump| jump != 1);
    seq_jumps.retain(|&jump| jump != 1);
    (line_jumps, seq_jumps)
}

#[test]
fn without_faults_nothing_jumps() {
    let (_, witness, lines) = after(Fault::Silence(Nanos(0)));
    assert!(lines.len() > 50);
    assert_eq!(jumps(&witness, &lines), (vec![], vec![]));
}

#[test]
fn gap_loses_a_line_number_and_a_sequence() {
    let (_, witness, lines) = after(Fault::Gap);
    assert_eq!(jumps(&witness, &lines), (vec![2], vec![2]));
}

#[test]
fn gap_seq_loses_a_sequence_only() {
    let (_, witness, lines) = after(Fault::GapSeq);
    assert_eq!(jumps(&witness, &lines), (vec![], vec![2]));
}

#[test]
fn gap_line_loses_a_line() {
    let (_, witness, lines) = after(Fault::GapLine);
    assert_eq!(jumps(&witness, &lines), (vec![2], vec![2]));
}

#[test]
fn duplicate_tells_an_event_twice() {
    let (_, witness, lines) = after(Fault::Duplicate);
    assert_eq!(jumps(&witness, &lines), (vec![], vec![0]));
    let content = |line: &String| line.split_once("\"ts\":").map(|(_, rest)| rest.to_owned());
    assert_eq!(content(&lines[0]), content(&lines[1]));
}

#[test]
fn old_tells_an_event_with_an_older_sequence() {
    let (_, witness, lines) = after(Fault::Old);
    assert_eq!(jumps(&witness, &lines), (vec![], vec![-3, 4]));
}

#[test]
fn garbage_takes_the_place_of_a_line() {
    let (_, witness, lines) = after(Fault::Garbage);
    assert!(serde_json::from_str::<Value>(&lines[0]).is_err(), "{}", lines[0]);
    assert_eq!(jumps(&witness, &lines), (vec![2], vec![2]));
}

#[test]
fn crossed_crosses_under_a_valid_sequence_until_a_snapshot() {
    let (mut reader, mut witness, lines) = after(Fault::Crossed);
    assert_eq!(jumps(&witness, &lines), (vec![], vec![]));
    let crossing = |value: &Value| value["type"] == "book_delta" && value["bids"][0][1] == "0.00000001";
    let at = values(&lines).iter().position(crossing).expect("a crossing delta");
    for line in &lines[..at] {
        witness.read_line(line);
    }
    let mut crossed = witness.clone();
    let read = std::panic::catch_unwind(move || crossed.read_line(&lines[at]));
    let text = read.expect_err("it crosses").downcast::<String>().expect("a text");
    assert!(text.starts_with("crossed or locked"), "{text}");
    // The witness goes on from the snapshot, as if nothing had been.
    let mut fresh = Witness::default();
    let reader_line = |line: &String| number(&serde_json::from_str::<Value>(line).expect("JSON"), "line");
    let answer = reader.request("{\"method\":\"snapshot\"}");
    fresh.line = reader_line(&answer[0]) - 1;
    fresh.books = witness.books.clone();
    for book in fresh.books.values_mut() {
        book.trade_id = None;
    }
    for line in answer.iter().chain(&reader.read(Nanos::SECOND)) {
        fresh.read_line(line);
    }
}

#[test]
fn silence_is_silent_and_then_all_goes_on() {
    let mut reader = Reader::start();
    let mut witness = Witness::default();
    for line in reader.read(Nanos::SECOND) {
        witness.read_line(&line);
    }
    reader.local.inject(Fault::Silence(Nanos::from_secs(3)));
    assert!(reader.request("{\"method\":\"snapshot\"}").is_empty(), "an answer during the silence");
    assert!(reader.read(Nanos::from_millis(2_999)).is_empty());
    let lines = reader.read(Nanos::SECOND);
    assert!(lines.len() > 2_000, "{} lines after it", lines.len());
    for line in &lines {
        witness.read_line(line);
    }
    let snapshots = lines.iter().filter(|line| line.contains("book_snapshot")).count();
    assert_eq!(snapshots, 2, "the request is answered after it");
}

#[test]
fn disconnect_ends_the_connection_and_another_begins() {
    let mut reader = Reader::start();
    reader.read(Nanos::SECOND);
    reader.local.inject(Fault::Disconnect(Nanos::SECOND));
    assert!(reader.read(Nanos::from_millis(999)).is_empty());
    assert!(!reader.local.is_connected());
    let mut witness = Witness::default();
    for line in reader.read(Nanos::SECOND) {
        witness.read_line(&line);
    }
    assert!(reader.local.is_connected());
    assert_eq!((reader.local.connections(), witness.books.len()), (2, 2));
}

#[test]
fn heartbeats_come_after_250_ms_of_nothing() {
    let config = SimulatorConfig { symbols: 1, depth: 5, rate: 0.001, ..SimulatorConfig::default() };
    let mut reader = Reader::open(SourceConfig::Simulator(config));
    let lines = reader.read(Nanos::SECOND);
    let beats: Vec<u64> = values(&lines)
        .iter()
        .filter(|value| value["type"] == "heartbeat")
        .map(|value| (number(value, "ts") - START.0) / 1_000_000)
        .collect();
    assert_eq!(beats, [250, 500, 750, 1_000]);
}

#[test]
fn a_request_is_answered_with_trades_and_book_of_its_symbol() {
    let mut reader = Reader::start();
    reader.read(Nanos::SECOND);
    let answer = values(&reader.request("{\"method\":\"snapshot\",\"symbol\":\"ETH/USD\"}"));
    assert!(answer.iter().all(|line| line["symbol"] == "ETH/USD"));
    let (snapshot, trades) = answer.split_last().expect("an answer");
    assert_eq!(snapshot["type"], "book_snapshot");
    assert!(!trades.is_empty() && trades.len() <= 50 && trades.iter().all(|trade| trade["replay"] == true));
    assert!(reader.request("{\"method\":\"snapshot\",\"symbol\":\"NO/SUCH\"}").is_empty());
    assert!(reader.request("what?").is_empty());
}

#[test]
fn a_large_opening_comes_in_pieces() {
    let config = SimulatorConfig { symbols: 500, ..SimulatorConfig::default() };
    let mut reader = Reader::open(SourceConfig::Simulator(config));
    let mut witness = Witness::default();
    let mut pieces = 0;
    while witness.books.len() < 500 {
        reader.local.read(START, &mut reader.out);
        assert!(reader.out.len() < 2 * feed_sim::BATCH_BYTES_MAX);
        witness.read(&std::mem::take(&mut reader.out));
        pieces += 1;
    }
    assert!(pieces > 10, "{pieces} pieces");
}

#[test]
fn planned_faults_happen_again_and_again() {
    let config = SimulatorConfig { symbols: 1, depth: 20, rate: 1_000.0, ..SimulatorConfig::default() };
    let plan: FaultPlan = "gap_seq@100ms".parse().expect("a plan");
    let local = Local::open_with(SourceConfig::Simulator(config), &[plan]).expect("it opens");
    let mut reader = Reader { local, now: START, out: Vec::new() };
    let lines = reader.read(Nanos::from_millis(1_050));
    let seqs: Vec<u64> = values(&lines)
        .iter()
        .filter(|value| value["type"] == "book_delta" || value["type"] == "trade")
        .map(|value| number(value, "seq"))
        .collect();
    assert_eq!(seqs.windows(2).filter(|pair| pair[1] == pair[0] + 2).count(), 10);
}
