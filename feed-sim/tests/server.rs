//! The feed over real sockets: several readers, requests, faults, recording and replay.

mod witness;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use feed_sim::{
    Fault, ReplayConfig, Server, ServerConfig, ServerHandle, SimulatorConfig, SourceConfig, Speed, Until,
    record,
};
use model::{Epoch, Nanos};
use serde_json::Value;
use witness::{Witness, number};

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn simulator(rate: f64) -> SourceConfig {
    let config = SimulatorConfig { symbols: 5, depth: 30, rate, ..SimulatorConfig::default() };
    SourceConfig::Simulator(config)
}

fn serve(rate: f64) -> ServerHandle {
    Server::start(any_port(), &simulator(rate)).expect("it serves")
}

/// A reader over TCP that gives up after ten seconds of nothing.
struct Reader {
    stream: BufReader<TcpStream>,
    witness: Witness,
}

impl Reader {
    fn connect(server: &ServerHandle) -> Self {
        let stream = TcpStream::connect(server.local_addr()).expect("it accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        Self { stream: BufReader::new(stream), witness: Witness::default() }
    }

    /// The next line; none at the end of the connection.
    fn line(&mut self) -> Option<Value> {
        let mut text = String::new();
        match self.stream.read_line(&mut text) {
            Ok(0) => None,
            Ok(_) => Some(self.witness.read_line(text.trim_end())),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn lines(&mut self, count: u64) {
        for _ in 0..count {
            assert!(self.line().is_some(), "the connection ended");
        }
    }

    fn until(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line().expect("the connection ended");
            if is_it(&line) {
                return line;
            }
        }
    }
}

#[test]
fn several_readers_have_their_own_contiguous_lines_and_agree() {
    let server = serve(20_000.0);
    let mut first = Reader::connect(&server);
    first.lines(5_000);
    let mut second = Reader::connect(&server);
    second.lines(100);
    assert_eq!(server.readers(), 2);
    // Reads both until the same event of BTC/USD: what they know of it is the same then.
    let seq = first.witness.books["BTC/USD"].seq.max(second.witness.books["BTC/USD"].seq) + 1_000;
    let at = |line: &Value| line["symbol"] == "BTC/USD" && line["seq"] == seq && line["replay"] != true;
    let (a, b) = (first.until(at), second.until(at));
    assert_ne!(number(&a, "line"), number(&b, "line"));
    assert_eq!(a["ts"], b["ts"]);
    let (mut a, mut b) = (first.witness.books["BTC/USD"].clone(), second.witness.books["BTC/USD"].clone());
    (a.trade_id, b.trade_id) = (None, None);
    assert!(a == b, "two readers know different books");
    server.stop();
    while first.line().is_some() {}
}

#[test]
fn a_request_over_the_socket_is_answered_in_the_stream() {
    let server = serve(1_000.0);
    let mut reader = Reader::connect(&server);
    reader.lines(100);
    reader
        .stream
        .get_mut()
        .write_all(b"{\"method\":\"snapshot\",\"symbol\":\"ETH/USD\"}\n")
        .expect("it is sent");
    let snapshot = reader.until(|line| line["type"] == "book_snapshot");
    assert_eq!(snapshot["symbol"], "ETH/USD");
    reader.lines(100);
}

#[test]
fn a_disconnected_reader_is_refused_for_a_while_and_then_served() {
    let server = serve(1_000.0);
    let mut reader = Reader::connect(&server);
    reader.lines(100);
    server.inject(Fault::Disconnect(Nanos::from_millis(600)));
    while reader.line().is_some() {}
    let mut tries = 0;
    let mut again = Reader::connect(&server);
    while again.line().is_none() {
        tries += 1;
        assert!(tries < 100_000, "it is refused for ever");
        again = Reader::connect(&server);
    }
    assert!(tries > 0, "it was not refused");
    again.lines(100);
    assert_eq!(server.connections(), 2);
}

#[test]
fn gap_over_the_socket_is_seen_by_all_and_mended_by_a_snapshot() {
    let server = serve(1_000.0);
    let mut reader = Reader::connect(&server);
    reader.lines(100);
    server.inject(Fault::Garbage);
    // The witness would panic at garbage, so this reads without it.
    let mut text = String::new();
    while serde_json::from_str::<Value>(&text).is_ok() || text.is_empty() {
        text.clear();
        reader.stream.read_line(&mut text).expect("a line");
    }
    reader.stream.get_mut().write_all(b"{\"method\":\"snapshot\"}\n").expect("it is sent");
    let mut snapshots = 0;
    while snapshots < 5 {
        text.clear();
        reader.stream.read_line(&mut text).expect("a line");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        if value["type"] == "book_snapshot" {
            snapshots += 1;
            reader.witness.line = number(&value, "line") - 1;
            reader.witness.read_line(text.trim_end());
        }
    }
    for book in reader.witness.books.values_mut() {
        book.trade_id = None;
    }
    reader.lines(1_000);
}

fn record_some(path: &Path) -> Vec<Value> {
    let server = serve(50_000.0);
    let recorded = record(server.local_addr(), path, Until::Lines(20_000)).expect("it records");
    assert_eq!(recorded.lines, 20_000);
    server.stop();
    let mut text = String::new();
    let file = std::fs::File::open(path).expect("the file");
    if path.extension().is_some_and(|extension| extension == "gz") {
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).expect("gzip");
    } else {
        text = std::fs::read_to_string(path).expect("text");
    }
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).filter(is_event).collect()
}

fn is_event(line: &Value) -> bool {
    line["type"] != "heartbeat"
}

/// A line without what a replay stamps anew.
fn content(mut line: Value, epoch: u64) -> Value {
    assert_eq!(line["epoch"], epoch);
    for key in ["line", "ts", "epoch"] {
        line[key] = Value::Null;
    }
    line
}

#[test]
fn a_recording_replays_the_same_events_and_loops_with_a_new_epoch() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, speed) in [("plain.jsonl", Speed::Max), ("packed.jsonl.gz", Speed::Times(20.0))] {
        let path = folder.path().join(name);
        let recorded = record_some(&path);
        let config =
            ReplayConfig { speed, looping: true, epoch: Some(Epoch(41)), ..ReplayConfig::new(path.clone()) };
        let server = Server::start(any_port(), &SourceConfig::Replay(config)).expect("it serves");
        let mut reader = Reader::connect(&server);
        for epoch in [41, 42] {
            for expected in &recorded {
                let line = reader.until(is_event);
                assert!(
                    content(line.clone(), epoch) == content(expected.clone(), 1),
                    "{line} is not {expected}"
                );
            }
            // The witness is of one epoch; trade numbers begin again with the recording.
            for book in reader.witness.books.values_mut() {
                book.trade_id = None;
            }
        }
    }
}

#[test]
fn a_reader_that_comes_in_the_middle_of_a_replay_gets_the_book_of_that_moment() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording.jsonl");
    record_some(&path);
    let config = ReplayConfig { speed: Speed::Max, ..ReplayConfig::new(path) };
    let server = Server::start(any_port(), &SourceConfig::Replay(config)).expect("it serves");
    let mut first = Reader::connect(&server);
    first.until(|line| line["type"] == "heartbeat");
    assert!(server.is_finished());
    let mut late = Reader::connect(&server);
    late.until(|line| line["type"] == "heartbeat");
    for (symbol, book) in &first.witness.books {
        let told = &late.witness.books[symbol];
        assert!((&book.bids, &book.asks, book.seq) == (&told.bids, &told.asks, told.seq), "{symbol} differs");
    }
}

#[test]
fn faults_happen_to_own_recordings_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("recording.jsonl");
    record_some(&path);
    let config = ReplayConfig { rate: Some(5_000.0), ..ReplayConfig::new(path) };
    let server = Server::start(any_port(), &SourceConfig::Replay(config)).expect("it serves");
    let mut reader = Reader::connect(&server);
    reader.lines(1_000);
    server.inject(Fault::Crossed);
    let crossed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| reader.lines(10_000)));
    let text = crossed.expect_err("it crosses").downcast::<String>().expect("a text");
    assert!(text.starts_with("crossed or locked"), "{text}");
}

#[test]
fn a_reader_that_does_not_read_is_disconnected_and_counted() {
    let config = SimulatorConfig { symbols: 5, depth: 100, rate: 1e8, ..SimulatorConfig::default() };
    let server = Server::start(any_port(), &SourceConfig::Simulator(config)).expect("it serves");
    let slow = Reader::connect(&server);
    while server.slow_readers() == 0 {
        std::thread::yield_now();
    }
    drop(slow);
}

#[test]
fn stopping_ends_a_venue_that_waits_for_its_reader() {
    let config = ServerConfig { wait_for_slow_readers: Some(true), ..ServerConfig::default() };
    let server = Server::start_with(any_port(), &simulator(1e8), config).expect("it serves");
    let mut stuck = Reader::connect(&server);
    stuck.lines(10);
    server.stop();
}
