//! The feed's thread: connect, read, split, decode, hand over; on any trouble reconnect with backoff.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
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

/// Most events of one batch: bounds how long the engine works before it looks at anything else.
const EVENTS_PER_BATCH: usize = 512;

/// Starts the thread. It ends when `stop` is set.
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(
    config: FeedConfig,
    clock: Clock,
    stop: Arc<AtomicBool>,
) -> io::Result<(FeedLanes, JoinHandle<()>)> {
    let (messages_in, messages) = bounded(BATCHES_MAX);
    let (emptied, emptied_out) = bounded(BATCHES_MAX);
    let (requests, requests_out) = bounded(REQUESTS_MAX);
    let reader = Reader {
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
    let thread = thread::Builder::new().name("feed".into()).spawn(move || reader.run())?;
    Ok((FeedLanes { messages, emptied, requests }, thread))
}

struct Reader {
    config: FeedConfig,
    clock: Clock,
    stop: Arc<AtomicBool>,
    messages: Sender<FeedMessage>,
    emptied: Receiver<Box<EventBatch>>,
    requests: Receiver<FeedRequest>,
    /// Kept over connections: an instrument has one number for the life of the process.
    decoder: FeedDecoder,
    /// Bytes read and not yet decoded: at most one unfinished line when a read begins.
    buffer: Vec<u8>,
    refusals: FeedRefusals,
}

impl Reader {
    fn run(mut self) {
        let mut backoff = self.config.reconnect_min();
        let mut last_loss = None;
        while !self.stopped() {
            let loss = match connect(&self.config) {
                Err(error) => {
                    if last_loss != Some(FeedLoss::Refused) {
                        tracing::warn!(feed = %self.config.source, %error, "feed cannot be reached, trying again");
                    }
                    FeedLoss::Refused
                }
                Ok(mut source) => {
                    tracing::info!(feed = %self.config.source, "feed connected");
                    backoff = self.config.reconnect_min();
                    self.send(FeedMessage::Connected);
                    let loss = self.follow(&mut *source);
                    if !self.stopped() {
                        tracing::warn!(feed = %self.config.source, reason = loss.name(), "feed lost");
                    }
                    loss
                }
            };
            last_loss = Some(loss);
            self.send(FeedMessage::Disconnected(loss));
            self.pause(backoff);
            backoff = (backoff * 2).min(self.config.reconnect_max());
        }
    }

    fn stopped(&self) -> bool {
        // Relaxed: the flag orders nothing, it is only looked at again and again.
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits in small steps, so that the end of the gateway does not wait for a backoff.
    fn pause(&self, pause: Duration) {
        let until = self.clock.mono() + Nanos(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
        while self.clock.mono() < until && !self.stopped() {
            thread::sleep(READ_PATIENCE.min(pause));
        }
    }

    fn send(&self, message: FeedMessage) {
        // The engine outlives the feed; when it is gone the gateway is ending and nobody needs the message.
        let _ = self.messages.send(message);
    }

    /// Reads one connection until it is lost.
    fn follow(&mut self, source: &mut dyn Source) -> FeedLoss {
        self.buffer.clear();
        let silence = Nanos::from_millis(self.config.silence_ms);
        let mut last_line = self.clock.mono();
        while !self.stopped() {
            for request in self.requests.try_iter() {
                if source.request(&request).is_err() {
                    return FeedLoss::Ended;
                }
            }
            match source.read(&mut self.buffer, READ_PATIENCE) {
                Err(_) => return FeedLoss::Ended,
                Ok(0) => {}
                Ok(_) => {
                    if self.decode() {
                        last_line = self.clock.mono();
                    }
                }
            }
            if self.clock.mono().since(last_line) > silence {
                return FeedLoss::Silent;
            }
        }
        FeedLoss::Ended
    }

    /// Decodes every whole line of the buffer; `false` when there was none.
    fn decode(&mut self) -> bool {
        let ts_recv = self.clock.wall();
        let mut batch = self.empty_batch();
        let mut start = 0;
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some(len) = find_line_end(&buffer[start..]) {
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
