//! A feed whose rate is changed while it runs, in ticks, through the library and through the command.

mod witness;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use feed_sim::{ReplayConfig, Server, ServerHandle, Simulator, SimulatorConfig, SourceConfig, Venue};
use model::Nanos;
use serde_json::Value;
use witness::Witness;

const PATIENCE: Duration = Duration::from_secs(10);

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Lines of a feed, each checked by the witness.
struct Reader {
    stream: BufReader<TcpStream>,
    witness: Witness,
}

impl Reader {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { stream: BufReader::new(stream), witness: Witness::default() }
    }

    fn line(&mut self) -> Value {
        let mut text = String::new();
        assert!(self.stream.read_line(&mut text).expect("it goes on") > 0, "the connection ended");
        self.witness.read_line(text.trim_end())
    }

    /// Reads until nothing but heartbeats comes.
    fn until_still(&mut self) {
        let mut heartbeats = 0;
        while heartbeats < 2 {
            heartbeats = if self.line()["type"] == "heartbeat" { heartbeats + 1 } else { 0 };
        }
    }

    fn events(&mut self, count: usize) -> Vec<Value> {
        std::iter::repeat_with(|| self.line())
            .filter(|line| line["type"] != "heartbeat")
            .take(count)
            .collect()
    }
}

/// A recording as the `print` command makes it.
fn recording(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("recording.jsonl");
    let words = "print --symbols 3 --depth 10 --trades 0 --zipf 0 --arrivals uniform --events 20000";
    let output = command(words).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(&path, output.stdout).expect("a file");
    path
}

fn command(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_feed-sim"));
    command.args(words.split_ascii_whitespace());
    command
}

#[test]
fn a_feed_goes_on_at_another_rate_and_stands_still_at_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let simulator = SimulatorConfig { symbols: 2, depth: 20, rate: 1_000.0, ..SimulatorConfig::default() };
    let replay =
        ReplayConfig { rate: Some(1_000.0), looping: true, ..ReplayConfig::new(recording(folder.path())) };
    for source in [SourceConfig::Simulator(simulator), SourceConfig::Replay(replay)] {
        let server = Server::start(any_port(), &source).expect("it serves");
        let mut reader = Reader::connect(server.local_addr());
        reader.events(100);
        server.set_rate(0.0);
        reader.until_still();
        let told = server.lines();
        assert!(!server.is_finished(), "a feed that stands still is not at its end");
        reader.until_still();
        assert_eq!(server.lines(), told);
        server.set_rate(20_000.0);
        let events = reader.events(4_000);
        let time = |event: &Value| witness::number(event, "ts");
        let seconds = (time(&events[3_999]) - time(&events[0])) as f64 / 1e9;
        // Bursty arrivals vary a lot, a replay hardly.
        assert!((0.05..1.0).contains(&seconds), "4,000 events at 20,000 a second take {seconds} s");
    }
}

#[test]
fn a_replay_in_ticks_tells_each_tick_at_once_and_keeps_its_rate() {
    let folder = tempfile::tempdir().expect("a folder");
    let tick = Nanos::from_millis(5);
    let config = ReplayConfig { rate: Some(20_000.0), tick, ..ReplayConfig::new(recording(folder.path())) };
    let server = Server::start(any_port(), &SourceConfig::Replay(config)).expect("it serves");
    let mut reader = Reader::connect(server.local_addr());
    let times: Vec<u64> = reader.events(4_000).iter().map(|line| witness::number(line, "ts")).collect();
    let ticks = times.iter().collect::<BTreeSet<_>>().len();
    // 100 events a tick, and the first one by itself.
    assert!((40..=42).contains(&ticks), "{ticks} ticks");
    let seconds = (times[3_999] - times[0]) as f64 / 1e9;
    assert!((0.19..0.4).contains(&seconds), "4,000 events at 20,000 a second take {seconds} s");
}

#[test]
fn a_market_without_trades_has_none() {
    let config = SimulatorConfig { trades: 0, symbols: 2, rate: 1e6, ..SimulatorConfig::default() };
    let mut simulator = Simulator::new(config).expect("the settings are good");
    let mut lines = feed_sim::Lines::default();
    simulator.poll(Nanos(1), &mut lines);
    simulator.poll(Nanos(1) + Nanos::from_millis(20), &mut lines);
    let mut out = Vec::new();
    feed_sim::Stamper::default().stamp(&lines, &mut out);
    let text = String::from_utf8(out).expect("lines are texts");
    assert!(text.lines().count() > 1_000 && !text.contains("\"trade\""));
}

fn serve(folder: &Path) -> (Child, BufReader<std::process::ChildStderr>, SocketAddr) {
    let path = recording(folder);
    let mut child = command("serve --listen 127.0.0.1:0 --loop --rate 5000 --tick 500us --commands --replay")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut errors = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    errors.read_line(&mut line).expect("it says where it serves");
    let address = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok()).expect("an address");
    (child, errors, address)
}

fn end(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

#[test]
fn commands_set_the_rate_and_count_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut child, _errors, address) = serve(folder.path());
    let mut input = child.stdin.take().expect("it is piped");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut reader = Reader::connect(address);
    reader.events(1_000);
    input.write_all(b"rate 0\n").expect("it listens");
    reader.until_still();
    let mut lines = || {
        input.write_all(b"lines\n").expect("it listens");
        let mut text = String::new();
        output.read_line(&mut text).expect("it answers");
        text.trim().parse::<u64>().expect("a number")
    };
    let told = lines();
    assert_eq!((told >= 1_000, lines()), (true, told));
    drop(input);
    assert!(end(child).status.success(), "it ends with its input");
}

#[test]
fn a_command_that_there_is_not_is_refused() {
    for (bad, reason) in [("faster", "no command"), ("rate -1", "0 or more"), ("rate x", "0 or more")] {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut child, mut errors, _) = serve(folder.path());
        child
            .stdin
            .take()
            .expect("it is piped")
            .write_all(format!("{bad}\n").as_bytes())
            .expect("it listens");
        let mut text = String::new();
        errors.read_line(&mut text).expect("it complains");
        assert!(text.contains(reason), "{bad}: {text}");
        assert!(!end(child).status.success());
    }
}

/// A server is told no rate that it cannot keep.
#[test]
#[should_panic(expected = "a rate is 0 or more")]
fn a_rate_below_nothing_is_a_mistake() {
    let server: ServerHandle =
        Server::start(any_port(), &SourceConfig::Simulator(SimulatorConfig::default())).expect("it serves");
    server.set_rate(-1.0);
}
