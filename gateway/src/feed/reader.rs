//! The feed's side of the gateway: connect, read, split, decode, hand over; on any trouble reconnect with backoff.
//!
//! A [`Reader`] takes one step at a time, so it can have a thread of its own or share one with the engine and a shard.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use model::{EventBatch, Nanos};
use wire::feed::{FEED_LINE_BYTES_MAX, FeedDecoder, FeedRequest};

use super::{FeedLanes, FeedLoss, FeedMessage, FeedRefusals, Source, connect};
use crate::clock::Clock;
use crate::config::FeedConfig;

/// Batches between the feed and the engine.
pub(crate) const BATCHES_MAX: usize = 32;

/// Requests that wait for the feed's thread.
const REQUESTS_MAX: usize = 1_024;

/// Longest wait in a read, so that requests and the end of the gateway are seen.
const READ_PATIENCE: Duration = Duration::from_millis(10);

/// How often a reader that shares a thread looks whether it is connected.
const CONNECT_LOOK: Nanos = Nanos::from_millis(1);

/// Most events of one batch: bounds how long the engine works before it looks at anything else.
const EVENTS_PER_BATCH: usize = 512;

/// Lines that the decoder looks at before they are decoded: as many as one core fetches side by side.
const WARMED: usize = 16;

/// With so many instruments that pays: the places of their listings have some hundred thousand octets, a core's own cache about a million.
const WARMED_FROM: usize = 2_000;

/// A reader, and the engine's ends of its lanes.
#[must_use]
pub fn build(config: FeedConfig, clock: Clock, stop: Arc<AtomicBool>) -> (FeedLanes, Reader) {
    let (messages_in, messages) = bounded(BATCHES_MAX);
    let (emptied, emptied_out) = bounded(BATCHES_MAX);
    let (requests, requests_out) = bounded(REQUESTS_MAX);
    let reader = Reader {
        link: Link::Down { until: Nanos(0) },
        connections: 0,
        backoff: config.reconnect_min(),
        last_loss: None,
        config,
        clock,
        stop,
        messages: messages_in,
        emptied: emptied_out,
        requests: requests_out,
        decoder: FeedDecoder::default(),
        buffer: Vec::new(),
        refusals: FeedRefusals::default(),
    };
    (FeedLanes { messages, emptied, requests }, reader)
}

/// Gives a reader a thread of its own. It ends when `stop` is set.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(mut reader: Reader) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("feed".into()).spawn(move || {
        while !reader.stopped() {
            reader.turn(READ_PATIENCE);
        }
    })
}

/// Where the connection stands.
enum Link {
    /// There is none; it is tried again at that time (monotonic).
    Down { until: Nanos },
    /// A thread tries to make one: an address that does not answer must not stop whoever shares ours.
    Connecting(Receiver<io::Result<Box<dyn Source>>>),
    /// It is there; when the last line came (monotonic).
    Up(Box<dyn Source>, Nanos),
}

/// The feed's side of the gateway: one connection after the other.
pub struct Reader {
    config: FeedConfig,
    clock: Clock,
    stop: Arc<AtomicBool>,
    link: Link,
    /// Connections made so far.
    connections: u64,
    /// Pause before the next attempt; doubles with each failure.
    backoff: Duration,
    /// How the last connection ended; the same trouble is logged once.
    last_loss: Option<FeedLoss>,
    messages: Sender<FeedMessage>,
    emptied: Receiver<Box<EventBatch>>,
    requests: Receiver<FeedRequest>,
    /// Kept over connections: an instrument has one number for the life of the process.
    decoder: FeedDecoder,
    /// Bytes read and not yet decoded: at most one unfinished line when a read begins.
    buffer: Vec<u8>,
    refusals: FeedRefusals,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("source", &self.config.source).finish_non_exhaustive()
    }
}

impl Reader {
    /// One step: connects, or reads what is there. Waits at most `patience`, and not at all when that is nothing. `true` when
    /// something came.
    pub fn turn(&mut self, patience: Duration) -> bool {
        match &self.link {
            Link::Down { until } => {
                let wait = until.since(self.clock.mono());
                if wait == Nanos(0) {
                    self.begin_connecting();
                    return true;
                }
                thread::sleep(patience.min(Duration::from_nanos(wait.0)));
                false
            }
            Link::Connecting(result) => {
                let result = if patience.is_zero() {
                    result.try_recv().map_err(|error| error == TryRecvError::Empty)
                } else {
                    result.recv_timeout(patience).map_err(|error| error == RecvTimeoutError::Timeout)
                };
                match result {
                    Ok(result) => self.end_connecting(result),
                    Err(true) => return false,
                    Err(false) => self.end_connecting(Err(io::ErrorKind::Other.into())),
                }
                true
            }
            Link::Up(..) => match self.follow(patience) {
                Ok(came) => came,
                Err(loss) => {
                    if !self.stopped() {
                        tracing::warn!(feed = %self.config.source, reason = loss.name(), "feed lost");
                    }
                    self.lose(loss);
                    true
                }
            },
        }
    }

    /// When there is something to do without that anything came (monotonic).
    #[must_use]
    pub fn next_turn(&self) -> Nanos {
        match &self.link {
            Link::Down { until } => *until,
            // Nobody wakes us when it is done.
            Link::Connecting(_) => self.clock.mono() + CONNECT_LOOK,
            Link::Up(source, last_line) => {
                let silent = *last_line + Nanos::from_millis(self.config.silence_ms);
                source.next().map_or(silent, |next| silent.min(self.clock.mono() + next))
            }
        }
    }

    /// Whether a step is due although nothing is known to have come.
    #[must_use]
    pub fn is_due(&self) -> bool {
        // Whoever makes the connection tells nobody when it is made.
        let is_connecting = matches!(self.link, Link::Connecting(_));
        is_connecting || !self.requests.is_empty() || self.clock.mono() >= self.next_turn()
    }

    /// Whether there may be more to read than the last step took.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match &self.link {
            Link::Up(source, _) => source.has_more(),
            Link::Down { .. } | Link::Connecting(_) => false,
        }
    }

    /// Number of the connection and its descriptor, to be watched for readiness while there is one.
    #[must_use]
    pub fn descriptor(&self) -> Option<(u64, RawFd)> {
        match &self.link {
            Link::Up(source, _) => Some((self.connections, source.descriptor()?)),
            Link::Down { .. } | Link::Connecting(_) => None,
        }
    }

    fn begin_connecting(&mut self) {
        let (sender, result) = bounded(1);
        let config = self.config.clone();
        let spawned = thread::Builder::new().name("feed-connect".into()).spawn(move || {
            // A reader that has gone needs no connection.
            drop(sender.send(connect(&config)));
        });
        match spawned {
            Ok(_) => self.link = Link::Connecting(result),
            Err(error) => self.end_connecting(Err(error)),
        }
    }

    fn end_connecting(&mut self, result: io::Result<Box<dyn Source>>) {
        match result {
            Ok(source) => {
                tracing::info!(feed = %self.config.source, "feed connected");
                self.connections += 1;
                self.backoff = self.config.reconnect_min();
                self.buffer.clear();
                self.send(FeedMessage::Connected);
                self.link = Link::Up(source, self.clock.mono());
            }
            Err(error) => {
                if self.last_loss != Some(FeedLoss::Refused) {
                    tracing::warn!(feed = %self.config.source, %error, "feed cannot be reached, trying again");
                }
                self.lose(FeedLoss::Refused);
            }
        }
    }

    fn lose(&mut self, loss: FeedLoss) {
        self.last_loss = Some(loss);
        self.send(FeedMessage::Disconnected(loss));
        let pause = Nanos(u64::try_from(self.backoff.as_nanos()).unwrap_or(u64::MAX));
        self.link = Link::Down { until: self.clock.mono() + pause };
        self.backoff = (self.backoff * 2).min(self.config.reconnect_max());
    }

    fn stopped(&self) -> bool {
        // Relaxed: the flag orders nothing, it is only looked at again and again.
        self.stop.load(Ordering::Relaxed)
    }

    fn send(&self, message: FeedMessage) {
        // The engine outlives the feed; when it is gone the gateway is ending and nobody needs the message.
        let _ = self.messages.send(message);
    }

    /// Passes requests on and reads once; `Ok(false)` when nothing came.
    fn follow(&mut self, patience: Duration) -> Result<bool, FeedLoss> {
        let Link::Up(source, last_line) = &mut self.link else { return Ok(false) };
        for request in self.requests.try_iter() {
            source.request(&request).map_err(|_| FeedLoss::Ended)?;
        }
        let read = source.read(&mut self.buffer, patience).map_err(|_| FeedLoss::Ended)?;
        let last_line = *last_line;
        let came = read > 0;
        if came && self.decode() {
            let now = self.clock.mono();
            if let Link::Up(_, last_line) = &mut self.link {
                *last_line = now;
            }
        } else if self.clock.mono().since(last_line) > Nanos::from_millis(self.config.silence_ms) {
            return Err(FeedLoss::Silent);
        }
        Ok(came)
    }

    /// Decodes every whole line of the buffer; `false` when there was none.
    fn decode(&mut self) -> bool {
        let ts_recv = self.clock.wall();
        let mut batch = self.empty_batch();
        let mut start = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        let is_large = self.decoder.instruments().len() >= WARMED_FROM;
        let mut warm_to = 0;
        while let Some(len) = find_line_end(&buffer[start..]) {
            if is_large && start >= warm_to {
                warm_to = start + for_some_lines(&buffer[start..], |line| self.decoder.warm(line));
            }
            let line = &mut buffer[start..start + len];
            start += len + 1;
            if line.is_empty() {
                continue;
            }
            if let Err(reject) = self.decoder.decode_line(line, ts_recv, &mut batch) {
                self.refusals.count(reject);
                tracing::debug!(%reject, "feed line refused");
            }
            if batch.events.len() >= EVENTS_PER_BATCH {
                self.hand_over(batch);
                batch = self.empty_batch();
            }
        }
        buffer.drain(..start);
        if buffer.len() > FEED_LINE_BYTES_MAX {
            // Whatever this is, it is no line; its number is missing from the count and tells the market.
            buffer.clear();
            self.refusals.0[FeedRefusals::TOO_LONG] += 1;
        }
        self.buffer = buffer;
        self.hand_over(batch);
        start > 0
    }

    fn empty_batch(&self) -> Box<EventBatch> {
        self.emptied.try_recv().unwrap_or_default()
    }

    fn hand_over(&mut self, batch: Box<EventBatch>) {
        if !batch.is_empty() || self.refusals != FeedRefusals::default() {
            let refusals = std::mem::take(&mut self.refusals);
            self.send(FeedMessage::Events(batch, refusals));
        }
    }
}

fn find_line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

/// Calls `look` for the next whole lines, [`WARMED`] at most, and says how many octets they have.
fn for_some_lines(lines: &[u8], mut look: impl FnMut(&[u8])) -> usize {
    let mut end = 0;
    for _ in 0..WARMED {
        let Some(len) = find_line_end(&lines[end..]) else { break };
        look(&lines[end..end + len]);
        end += len + 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ahead_sees_some_whole_lines_and_goes_on_behind_them() {
        let text: String = (0..40).map(|n| format!("line {n}\n\n")).collect::<String>() + "cut";
        let (mut at, mut seen) = (0, Vec::new());
        loop {
            let before = seen.len();
            let len = for_some_lines(&text.as_bytes()[at..], |line| seen.push(line.to_vec()));
            at += len;
            assert!(seen.len() - before <= WARMED);
            if len == 0 {
                break;
            }
        }
        let lines: Vec<&[u8]> = text.as_bytes().split(|&byte| byte == b'\n').collect();
        assert_eq!(seen, lines[..lines.len() - 1], "all but the one that is not whole");
    }
}
