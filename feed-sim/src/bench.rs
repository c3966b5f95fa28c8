//! How fast feed-sim is on this machine.
//!
//! Owns three measurements: generating lines in memory, the simulator over a loopback socket, and a replay of its own
//! recording over one. Each reader only counts. The figures are of this machine at this moment.

use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use model::Nanos;

use crate::encode::{BATCH_BYTES_MAX, Lines, Stamper};
use crate::record::{Until, record};
use crate::recording::{OpenError, ReplayConfig, Speed};
use crate::serve::{Server, ServerConfig};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::venue::{SourceConfig, Venue, tell_opening};

/// A rate that no machine keeps up with: the simulator then runs as fast as it can.
const RATE_UNBOUNDED: f64 = 1e8;

/// What is measured.
#[derive(Clone, Debug)]
pub struct BenchConfig {
    /// The simulator; its rate is ignored.
    pub simulator: SimulatorConfig,
    /// How long each measurement takes; default 5 s.
    pub span: Duration,
    /// Lines of the recording that is replayed; default 500,000.
    pub recorded_lines: u64,
}

impl Default for BenchConfig {
    fn default() -> Self {
        Self { simulator: SimulatorConfig::default(), span: Duration::from_secs(5), recorded_lines: 500_000 }
    }
}

/// Lines and bytes of one measurement.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Lines received or generated.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// In how long.
    pub elapsed: Duration,
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let (lines, bytes) = (self.lines as f64 / seconds, self.bytes as f64 / seconds);
        let per_line = self.bytes as f64 / self.lines.max(1) as f64;
        write!(f, "{lines:>12.0} lines/s {:>8.1} MB/s {per_line:>7.1} bytes/line", bytes / 1e6)
    }
}

/// The figures.
#[derive(Clone, Copy, Debug)]
pub struct BenchReport {
    /// Simulator into memory, one thread.
    pub generated: Measured,
    /// Simulator over loopback TCP to one reader.
    pub served: Measured,
    /// Own recording at full speed over loopback TCP to one reader.
    pub replayed: Measured,
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "simulator, in memory, one thread  {}", self.generated)?;
        writeln!(f, "simulator, over TCP, one reader   {}", self.served)?;
        write!(f, "replay at max, TCP, one reader    {}", self.replayed)
    }
}

/// Measures; `path` is where the recording goes.
///
/// # Errors
/// When a setting is out of range, or sockets or the file fail.
pub fn bench(config: &BenchConfig, path: &Path) -> Result<BenchReport, OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), error };
    let simulator = SimulatorConfig { rate: RATE_UNBOUNDED, ..config.simulator.clone() };
    let generated = generate(&simulator, config.span)?;
    let source = SourceConfig::Simulator(simulator);
    // It runs as fast as its reader takes it, like a replay.
    let serving = ServerConfig { wait_for_slow_readers: Some(true), ..ServerConfig::default() };
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start_with(loopback, &source, serving.clone())?;
    let served = receive(server.local_addr(), config.span).map_err(failed)?;
    server.stop();
    let server = Server::start_with(loopback, &source, serving)?;
    record(server.local_addr(), path, Until::Lines(config.recorded_lines)).map_err(failed)?;
    server.stop();
    let replay = ReplayConfig { speed: Speed::Max, looping: true, ..ReplayConfig::new(path) };
    let server = Server::start(loopback, &SourceConfig::Replay(replay))?;
    let replayed = receive(server.local_addr(), config.span).map_err(failed)?;
    server.stop();
    Ok(BenchReport { generated, served, replayed })
}

fn generate(config: &SimulatorConfig, span: Duration) -> Result<Measured, OpenError> {
    let mut simulator = Simulator::new(config.clone())?;
    let mut lines = Lines::with_capacity(2 * BATCH_BYTES_MAX);
    let mut stamper = Stamper::default();
    let mut out = Vec::with_capacity(2 * BATCH_BYTES_MAX);
    tell_opening(&mut simulator, Nanos(1), &mut lines);
    simulator.poll(Nanos(1), &mut lines);
    let start = Instant::now();
    let (mut count, mut bytes) = (0, 0);
    while start.elapsed() < span {
        lines.clear();
        out.clear();
        simulator.poll(simulator.next_due() + Nanos::SECOND, &mut lines);
        stamper.stamp(&lines, &mut out);
        count += lines.len() as u64;
        bytes += out.len() as u64;
    }
    Ok(Measured { lines: count, bytes, elapsed: start.elapsed() })
}

/// Reads and counts for `span`, after a first tenth of it that is not counted.
///
/// The lines carry their own numbers: a count that disagrees with them is an error and not a figure.
fn receive(from: SocketAddr, span: Duration) -> io::Result<Measured> {
    let mut stream = TcpStream::connect(from)?;
    let mut counter = Counter::default();
    counter.read_for(&mut stream, span / 10)?;
    let before = (counter.lines, counter.bytes);
    let start = Instant::now();
    counter.read_for(&mut stream, span)?;
    let elapsed = start.elapsed();
    counter.check()?;
    Ok(Measured { lines: counter.lines - before.0, bytes: counter.bytes - before.1, elapsed })
}

/// Longest line that the check of the count looks for at the end of what was read.
const LAST_LINE_BYTES_MAX: usize = 4_096;

/// Counts what is read, and keeps its end to check the count.
struct Counter {
    buffer: Vec<u8>,
    lines: u64,
    bytes: u64,
    end: Vec<u8>,
}

impl Default for Counter {
    fn default() -> Self {
        Self { buffer: vec![0; BATCH_BYTES_MAX], lines: 0, bytes: 0, end: Vec::new() }
    }
}

impl Counter {
    fn read_for(&mut self, stream: &mut TcpStream, span: Duration) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < span {
            let read = stream.read(&mut self.buffer)?;
            if read == 0 {
                break;
            }
            let bytes = &self.buffer[..read];
            self.lines += count_lines(bytes);
            self.bytes += read as u64;
            self.end.extend_from_slice(&bytes[read.saturating_sub(LAST_LINE_BYTES_MAX)..]);
            self.end.drain(..self.end.len().saturating_sub(LAST_LINE_BYTES_MAX));
        }
        Ok(())
    }

    /// Compares the count with the number of the last whole line.
    fn check(&self) -> io::Result<()> {
        let text = String::from_utf8_lossy(&self.end);
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let last = whole.rsplit('\n').next().unwrap_or_default();
        let number = last.split_once("\"line\":").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
        if number == Some(self.lines) {
            return Ok(());
        }
        let reason = format!("counted {} lines, but the last one says {number:?}", self.lines);
        Err(io::Error::new(io::ErrorKind::InvalidData, reason))
    }
}

/// Counts line feeds in chunks that fit a byte counter, so that the compiler uses vector instructions.
fn count_lines(bytes: &[u8]) -> u64 {
    let in_chunk = |chunk: &[u8]| chunk.iter().map(|&byte| u8::from(byte == b'\n')).sum::<u8>();
    bytes.chunks(255).map(|chunk| u64::from(in_chunk(chunk))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_feeds_are_counted() {
        let text = "ab\n\n".repeat(1_000);
        assert_eq!(count_lines(text.as_bytes()), 2_000);
    }
}
