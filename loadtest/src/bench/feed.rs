//! The gateway's publisher: feed-sim as a child process, playing a recording of itself in a circle.
//!
//! Owns the child and makes the recording. Its rate is set, and its lines are counted, by commands on its standard input.
//! Updates are real changes of books; nearly every line of the recording is one that a subscriber of ten levels sees.

use super::machine::{Machine, process_cpu};
use super::publisher::TICK;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Lines of a recording: a circle takes seconds even at rates that no gateway keeps up with, so that its beginning, which
/// tells books instead of updates, does not count.
const LINES: u64 = 1_000_000;
/// Levels a side of the recorded books: fewer than the ten that clients see, so that every change is seen.
const DEPTH: &str = "8";
/// Lines per second of the opening, before anybody is measured.
const OPENING_RATE: f64 = 100_000.0;

/// A running feed.
#[derive(Debug)]
pub(crate) struct Feed {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Held open, so that it can complain.
    _errors: BufReader<ChildStderr>,
    address: SocketAddr,
}

/// A recording, and the symbols that it tells of.
#[derive(Clone, Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    /// Names, in the order of the feed.
    pub(crate) symbols: Vec<String>,
}

impl Recording {
    /// Makes a recording of so many symbols, all equally often. The same number gives the same recording.
    pub(crate) fn make(machine: &Machine, symbols: usize) -> Result<Self, String> {
        let path = machine.env.join(format!("recording-{symbols}.jsonl"));
        let failed = |error: io::Error| format!("cannot record into {}: {error}", path.display());
        let out = File::create(&path).map_err(failed)?;
        let (count, lines) = (symbols.to_string(), LINES.to_string());
        let status = Command::new(&machine.feed_sim)
            .args(["print", "--symbols", &count, "--events", &lines, "--depth", DEPTH])
            .args(["--trades", "0", "--zipf", "0", "--arrivals", "uniform"])
            .stdout(out)
            .status()
            .map_err(|e| {
                format!("cannot run {}: {e}; build it with cargo build --release", machine.feed_sim.display())
            })?;
        if !status.success() {
            return Err(format!("feed-sim print ended with {status}"));
        }
        let symbols = BufReader::new(File::open(&path).map_err(failed)?)
            .lines()
            .map_while(io::Result::ok)
            .filter_map(|line| announced(&line))
            .take(symbols)
            .collect();
        Ok(Self { path, symbols })
    }
}

/// The symbol that a line announces.
fn announced(line: &str) -> Option<String> {
    let rest = line.strip_prefix("{\"type\":\"instrument\"")?;
    let (_, rest) = rest.split_once("\"symbol\":\"")?;
    rest.split_once('"').map(|(symbol, _)| symbol.to_owned())
}

impl Feed {
    /// Serves a recording. Until a rate is set it tells its opening to whoever connects.
    pub(crate) fn start(machine: &Machine, recording: &Recording) -> io::Result<Self> {
        let mut child = machine
            .generator_command(&machine.feed_sim)
            .args(["serve", "--listen", "127.0.0.1:0", "--loop", "--commands"])
            .args([
                "--tick",
                &format!("{}us", TICK.as_micros()),
                "--rate",
                &OPENING_RATE.to_string(),
                "--replay",
            ])
            .arg(&recording.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let broken = || io::Error::other("feed-sim has lost a pipe");
        let commands = child.stdin.take().ok_or_else(broken)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(broken)?);
        let mut errors = BufReader::new(child.stderr.take().ok_or_else(broken)?);
        let mut line = String::new();
        errors.read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().and_then(|word| word.parse().ok());
        let address = address.ok_or_else(|| io::Error::other(format!("feed-sim says {line:?}")))?;
        Ok(Self { child, commands, answers, _errors: errors, address })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lines per second from now on; 0 is none.
    pub(crate) fn set_rate(&mut self, rate: f64) -> io::Result<()> {
        writeln!(self.commands, "rate {rate}")
    }

    /// Lines so far.
    pub(crate) fn published(&mut self) -> io::Result<u64> {
        writeln!(self.commands, "lines")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().map_err(|_| io::Error::other(format!("feed-sim answers {line:?}")))
    }

    /// CPU time of its process so far.
    pub(crate) fn cpu(&self) -> Duration {
        process_cpu(self.child.id())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // It has nothing to lose; an error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
