//! Logs that never hold anything up: lines go through a bounded queue to a thread that writes them to standard error.
//!
//! A full queue, a full disk or a reader that is gone costs lines, which are counted, and nothing else. Owns the queue, its
//! thread and the counts; the lines come from `tracing`.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogConfig, LogFormat};

/// Lines that wait to be written.
const LINES_MAX: usize = 4_096;

/// Longest wait for the last lines when the process ends.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// Why a line was lost; the labels of the metric.
pub const LOSSES: [&str; 2] = ["queue_full", "not_written"];

/// Lines lost so far, in the order of [`LOSSES`]. Static, because there is one log per process whatever runs in it.
static LOST: [AtomicU64; LOSSES.len()] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Lines lost so far, in the order of [`LOSSES`].
#[must_use]
pub fn lost() -> [u64; LOSSES.len()] {
    // Relaxed: bare counts.
    LOST.each_ref().map(|count| count.load(Ordering::Relaxed))
}

enum Message {
    Line(Box<[u8]>),
    /// Everything before it is to be written; then this is dropped.
    Flush(Sender<()>),
}

/// Where lines go in.
#[derive(Clone)]
pub struct Logs(Sender<Message>);

impl std::fmt::Debug for Logs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Logs").field("waiting", &self.0.len()).finish()
    }
}

/// Starts to log to standard error.
///
/// # Errors
/// When the filter is none, or the thread cannot be started.
pub fn start(config: &LogConfig) -> Result<Logs, Box<dyn std::error::Error + Send + Sync>> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|error| format!("log.level = {}: {error}", config.level))?;
    let (sender, lines) = bounded(LINES_MAX);
    thread::Builder::new().name("log".into()).spawn(move || write(&lines, io::stderr()))?;
    let logs = Logs(sender);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(logs.clone())
        // It would complain of a full disk to the full disk, and panic.
        .log_internal_errors(false);
    match config.format {
        LogFormat::Json => subscriber.json().try_init()?,
        LogFormat::Text => subscriber.with_ansi(false).try_init()?,
    }
    Ok(logs)
}

impl Logs {
    /// Waits a moment for the lines before it to be written.
    pub fn flush(&self) {
        let (done, written) = bounded(0);
        if self.0.send_timeout(Message::Flush(done), FLUSH_PATIENCE).is_ok() {
            // Ends by an error in any case: when the other end is dropped, or when the time is over.
            let _ = written.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

/// Writes until all senders are gone.
fn write(lines: &Receiver<Message>, mut out: impl Write) {
    let mut told = 0;
    for message in lines {
        match message {
            Message::Line(line) if out.write_all(&line).is_ok() => tell_losses(&mut told),
            Message::Line(_) => drop(LOST[1].fetch_add(1, Ordering::Relaxed)),
            Message::Flush(done) => drop(done),
        }
    }
}

/// Logs how many lines were lost since it was last told, once lines can be written again.
fn tell_losses(told: &mut u64) {
    let lost = lost().iter().sum::<u64>();
    if lost > *told {
        tracing::warn!(lines = lost - *told, "log lines were lost");
        *told = lost;
    }
}

impl<'a> MakeWriter<'a> for Logs {
    type Writer = &'a Self;
    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Logs {
    /// Takes a whole line; `tracing` writes each with one call.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.0.try_send(Message::Line(line.into())) {
            LOST[0].fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody else in this process logs, so the counts are this test's.
    #[test]
    fn lines_are_lost_and_counted_and_nothing_waits() {
        let (sender, lines) = bounded(3);
        let logs = Logs(sender);
        for number in 0..5 {
            (&logs).write_all(format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(lost(), [2, 0]);
        drop(logs);
        let mut out = Vec::new();
        write(&lines, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "line 0\nline 1\nline 2\n");

        let (sender, lines) = bounded(3);
        let logs = Logs(sender);
        (&logs).write_all(b"never seen\n").unwrap();
        drop(logs);
        write(&lines, fs_full());
        assert_eq!(lost(), [2, 1]);
    }

    /// A disk that is full.
    fn fs_full() -> std::fs::File {
        std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap()
    }
}
