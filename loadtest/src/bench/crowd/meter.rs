//! What the crowd counts: messages, bytes, latency of a sample of them, and links between them.
//!
//! Owns the counters of one thread. Hops over frames by their headers and looks into a payload only when it is sampled or
//! its client is a witness, so that one core takes more than ten million messages a second. Never judges a book:
//! `loadtest run` does. Bytes come from [`super::member`], counts are taken by [`crate::bench::session`].

use super::dialect::{Refusal, Splitter};
use crate::bench::work::Dice;
use crate::frame::{self, FrameError, Header};
use crate::time::{self, Micros};
use hdrhistogram::Histogram;
use memchr::memmem;
use std::collections::HashMap;
use std::sync::LazyLock;

/// Shorter messages are no updates: heartbeats, and answers of some servers.
const UPDATE_BYTES_MIN: usize = 100;
/// Where the keys behind the levels of an update are looked for: from the end of the message.
const TRAILER_BYTES: usize = 192;
const LATENCY_US_MAX: u64 = 120_000_000;
const LATENCY_DIGITS: u8 = 3;
/// Parts of a window whose latency is recorded apart.
pub(crate) const PARTS: usize = 4;

static TIMESTAMP: LazyLock<memmem::FinderRev<'static>> =
    LazyLock::new(|| memmem::FinderRev::new(b"\"timestamp\":\""));
static SEQ: LazyLock<memmem::FinderRev<'static>> = LazyLock::new(|| memmem::FinderRev::new(b"\"seq\":"));
static PREV: LazyLock<memmem::FinderRev<'static>> = LazyLock::new(|| memmem::FinderRev::new(b"\"prev\":"));
static SYMBOL: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"symbol\":\""));

/// Counts since the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Updates: each is a delivery.
    pub(crate) updates: u64,
    /// Messages too short to be one.
    pub(crate) others: u64,
    /// Bytes of the updates' frames, or of the messages in a stream.
    pub(crate) bytes: u64,
    /// Reads that brought something.
    pub(crate) reads: u64,
    /// Updates whose link to the one before was checked.
    pub(crate) linked: u64,
    /// Of those, how many did not follow the one before.
    pub(crate) broken: u64,
    /// Sampled updates without a readable time.
    pub(crate) untimed: u64,
    /// Connections that ended.
    pub(crate) gone: u64,
}

/// Why a connection cannot be read any further.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamError {
    /// The framing makes no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The server says no.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The server says goodbye.
    #[error("the server closes: {0}")]
    Closed(String),
}

/// The counters.
pub(crate) struct Meter {
    /// Since the last reset.
    pub(crate) counts: Counts,
    /// Latency in microseconds by part of the window.
    latency: [Histogram<u64>; PARTS],
    /// Which part is now.
    pub(crate) part: usize,
    /// One of so many updates is sampled, in the mean.
    stride: usize,
    /// Updates until the next sample.
    countdown: usize,
    dice: Dice,
    clock: Stamps,
    /// When the read at hand returned, once somebody wanted to know.
    now: Option<Micros>,
}

/// The last sequence of each symbol that one client has seen.
#[derive(Debug, Default)]
pub(super) struct Chain(HashMap<Box<[u8]>, u64>);

/// What one member needs to have its bytes read.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    /// Present in witnesses, which check every link.
    pub(super) chain: Option<Box<Chain>>,
    /// Present where the protocol has framing of its own.
    pub(super) splitter: Option<Box<Splitter>>,
}

impl Meter {
    /// All zero, and every update sampled.
    pub(crate) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
                .expect("bounds of the latency histogram are constants")
        };
        Self {
            counts: Counts::default(),
            latency: std::array::from_fn(|_| histogram()),
            part: 0,
            stride: 1,
            countdown: 1,
            dice: Dice(1),
            clock: Stamps::default(),
            now: None,
        }
    }

    /// Starts a window; one of `stride` updates will be sampled.
    pub(crate) fn reset(&mut self, stride: usize) {
        self.counts = Counts::default();
        self.latency.iter_mut().for_each(Histogram::reset);
        self.part = 0;
        self.stride = stride.max(1);
        self.countdown = 1;
    }

    /// Latency of a part of the window.
    pub(crate) const fn latency(&self, part: usize) -> &Histogram<u64> {
        &self.latency[part]
    }

    /// Begins with what a read brought.
    pub(super) const fn start_read(&mut self) {
        self.counts.reads += 1;
        self.now = None;
    }

    /// Goes through whole frames and says how many bytes they were; what the server is owed goes to `answers`.
    pub(super) fn walk(
        &mut self,
        bytes: &[u8],
        tracks: &mut Tracks,
        answers: &mut Vec<u8>,
    ) -> Result<usize, StreamError> {
        let mut at = 0;
        while let Some(header) = Header::parse(&bytes[at..])? {
            let end = at + header.frame_bytes();
            if end > bytes.len() {
                break;
            }
            let payload = &bytes[at + header.head_bytes..end];
            if header.opcode >= frame::CLOSE {
                control(header.opcode, payload, answers)?;
            } else if let Some(splitter) = &mut tracks.splitter {
                let chain = &mut tracks.chain;
                splitter.split(payload, answers, |message| {
                    self.count(message, message.len(), chain.as_deref_mut());
                })?;
            } else if header.is_last {
                self.count(payload, end - at, tracks.chain.as_deref_mut());
            }
            at = end;
        }
        Ok(at)
    }

    /// Counts a message; of one in parts the last is counted.
    #[inline]
    fn count(&mut self, message: &[u8], bytes: usize, chain: Option<&mut Chain>) {
        if message.len() < UPDATE_BYTES_MIN {
            self.counts.others += 1;
            return;
        }
        self.counts.updates += 1;
        self.counts.bytes += bytes as u64;
        self.countdown -= 1;
        if self.countdown == 0 {
            self.sample(message);
        }
        if let Some(chain) = chain {
            self.link(chain, message);
        }
    }

    #[cold]
    fn sample(&mut self, message: &[u8]) {
        // At random distances, so that no rhythm of the messages meets a rhythm of the samples.
        self.countdown = if self.stride == 1 { 1 } else { 1 + self.dice.below(2 * self.stride - 1) };
        let Some(stamp) = self.clock.read(message) else {
            self.counts.untimed += 1;
            return;
        };
        let now = *self.now.get_or_insert_with(time::now);
        let us = u64::try_from(now - stamp).unwrap_or(0);
        self.latency[self.part].saturating_record(us.max(1));
    }

    fn link(&mut self, chain: &mut Chain, message: &[u8]) {
        match chain.check(message) {
            Link::Holds => self.counts.linked += 1,
            Link::Broken => {
                self.counts.linked += 1;
                self.counts.broken += 1;
            }
            Link::First => {}
        }
    }
}

fn control(opcode: u8, payload: &[u8], answers: &mut Vec<u8>) -> Result<(), StreamError> {
    match opcode {
        frame::PING => frame::push_client(frame::PONG, payload, answers),
        frame::CLOSE => {
            let (code, reason) = payload.split_at(payload.len().min(2));
            let code = code.iter().fold(0_u16, |code, &byte| code << 8 | u16::from(byte));
            let reason = String::from_utf8_lossy(reason);
            return Err(StreamError::Closed(format!("{code} {reason}")));
        }
        _ => {}
    }
    Ok(())
}

/// How an update follows the one before of its symbol.
#[derive(Debug, PartialEq, Eq)]
enum Link {
    First,
    Holds,
    Broken,
}

impl Chain {
    fn check(&mut self, message: &[u8]) -> Link {
        let trailer = trailer(message);
        let symbol = SYMBOL.find(message).and_then(|at| {
            let rest = &message[at + SYMBOL.needle().len()..];
            memchr::memchr(b'"', rest).map(|end| &rest[..end])
        });
        let (Some(symbol), Some(seq)) = (symbol, number_after(&SEQ, trailer)) else { return Link::First };
        let prev = number_after(&PREV, trailer);
        match self.0.get_mut(symbol) {
            None => {
                self.0.insert(symbol.into(), seq);
                Link::First
            }
            Some(last) => {
                // A snapshot has no `prev` and starts anew.
                let holds = prev.is_none_or(|prev| prev == *last);
                *last = seq;
                if holds { Link::Holds } else { Link::Broken }
            }
        }
    }
}

fn trailer(message: &[u8]) -> &[u8] {
    &message[message.len().saturating_sub(TRAILER_BYTES)..]
}

fn number_after(key: &memmem::FinderRev<'_>, text: &[u8]) -> Option<u64> {
    let digits = &text[key.rfind(text)? + key.needle().len()..];
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number =
        digits[..count].iter().fold(0_u64, |n, b| n.wrapping_mul(10).wrapping_add(u64::from(b - b'0')));
    (count > 0).then_some(number)
}

/// Reads the times of updates. Most have the same minute, so only what follows it is worked out each time.
#[derive(Debug, Default)]
struct Stamps {
    /// `2026-02-03T04:05:` and its time.
    minute: [u8; 17],
    start: Micros,
}

impl Stamps {
    fn read(&mut self, message: &[u8]) -> Option<Micros> {
        let trailer = trailer(message);
        let text = &trailer[TIMESTAMP.rfind(trailer)? + TIMESTAMP.needle().len()..];
        let text = &text[..memchr::memchr(b'"', text)?];
        // `04.123456Z` behind the minute: the form that the gateway and the publisher of records use.
        let &[ref minute @ .., a, b, b'.', c, d, e, f, g, h, b'Z'] = text else {
            return time::from_rfc3339(text);
        };
        if *minute != self.minute {
            self.start = time::from_rfc3339(&[minute, b"00Z"].concat())?;
            self.minute = minute.try_into().ok()?;
        }
        let digits = [a, b, c, d, e, f, g, h];
        let micros = digits
            .iter()
            .try_fold(0, |n, byte| byte.is_ascii_digit().then(|| n * 10 + Micros::from(byte - b'0')))?;
        Some(self.start + micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UPDATE: &str = "{\"channel\":\"book\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"bids\":[],\
        \"asks\":[{\"price\":1.5,\"qty\":0.10}],\"checksum\":1,\"timestamp\":\"TIME\",\"seq\":SEQ,\"prev\":PREV}]}";

    fn update(time: &str, seq: u64, prev: u64) -> Vec<u8> {
        let text = UPDATE.replace("TIME", time).replace("SEQ", &seq.to_string());
        text.replace("PREV", &prev.to_string()).into_bytes()
    }

    fn witness() -> Tracks {
        Tracks { chain: Some(Box::default()), splitter: None }
    }

    /// Counts after a stream that is cut into pieces, with the rest carried as a member does.
    fn count(stream: &[u8], sizes: &[usize]) -> (Meter, Vec<u8>) {
        let (mut meter, mut tracks, mut answers) = (Meter::new(), witness(), Vec::new());
        let mut carry = Vec::new();
        let mut rest = stream;
        for &size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            carry.extend_from_slice(piece);
            meter.start_read();
            let taken = meter.walk(&carry, &mut tracks, &mut answers).unwrap();
            carry.drain(..taken);
            if rest.is_empty() {
                break;
            }
        }
        assert!(carry.is_empty());
        (meter, answers)
    }

    #[test]
    fn updates_are_counted_and_links_checked() {
        let mut stream = Vec::new();
        for (seq, prev) in [(5, 3), (9, 5), (10, 8), (11, 10)] {
            frame::push_server(frame::TEXT, &update("2026-02-03T04:05:06.789012Z", seq, prev), &mut stream);
        }
        frame::push_server(frame::TEXT, b"{\"channel\":\"heartbeat\"}", &mut stream);
        frame::push_server(frame::PING, b"hello", &mut stream);
        let (meter, answers) = count(&stream, &[stream.len()]);
        let Counts { updates, others, linked, broken, reads, .. } = meter.counts;
        assert_eq!((updates, others, linked, broken, reads), (4, 1, 3, 1, 1));
        let mut pong = Vec::new();
        frame::push_client(frame::PONG, b"hello", &mut pong);
        assert_eq!(answers, pong);
    }

    #[test]
    fn a_message_in_parts_is_one_message() {
        let update = update("2026-02-03T04:05:06.789012Z", 5, 3);
        let mut stream = vec![frame::TEXT, 9];
        stream.extend_from_slice(&update[..9]);
        frame::push_server(0, &update[9..], &mut stream);
        assert_eq!(count(&stream, &[7]).0.counts.updates, 1);
    }

    #[test]
    fn latency_is_the_time_since_the_stamp() {
        let mut meter = Meter::new();
        let message = update("2026-02-03T04:05:06.789012Z", 5, 3);
        let stamp = time::from_rfc3339(b"2026-02-03T04:05:06.789012Z").unwrap();
        for (part, us) in [(0, 1_000), (3, 250)] {
            meter.part = part;
            meter.now = Some(stamp + us);
            meter.count(&message, message.len(), None);
            assert_eq!((meter.latency(part).len(), meter.latency(part).max() as i64), (1, us));
        }
        meter.count(&update("yesterday", 6, 5), message.len(), None);
        assert_eq!(meter.counts.untimed, 1);
        meter.reset(1);
        assert!(meter.latency(3).is_empty());
    }

    #[test]
    fn one_of_stride_updates_is_sampled() {
        let mut meter = Meter::new();
        meter.reset(50);
        let message = update("2026-02-03T04:05:06.789012Z", 5, 3);
        (0..100_000).for_each(|_| meter.count(&message, message.len(), None));
        assert!((1_900..2_100).contains(&meter.latency(0).len()), "{}", meter.latency(0).len());
    }

    #[test]
    fn closing_and_nonsense_end_a_stream() {
        let end = |stream: &[u8]| Meter::new().walk(stream, &mut witness(), &mut Vec::new()).unwrap_err();
        assert_eq!(end(b"\x88\x06\x0F\xA8slow"), StreamError::Closed("4008 slow".to_owned()));
        assert_eq!(end(b"\x88\0"), StreamError::Closed("0 ".to_owned()));
        assert_eq!(end(b"\xF1\x01x"), StreamError::Frame(FrameError::Reserved(0xF1)));
    }

    #[test]
    fn times_of_every_form_are_read() {
        let mut stamps = Stamps::default();
        for text in ["2026-02-03T04:05:06.789012Z", "2026-02-03T04:06:59.000001Z", "2026-02-03T04:05:06Z"] {
            assert_eq!(stamps.read(&update(text, 1, 0)), time::from_rfc3339(text.as_bytes()), "{text}");
        }
        assert_eq!(stamps.read(&update("2026-02-03T04:05:0x.789012Z", 1, 0)), None);
        assert_eq!(stamps.read(b"{}"), None);
    }

    proptest! {
        /// However reads cut the stream, each frame is counted once.
        #[test]
        fn frames_are_hopped_whatever_reads_bring(sizes in prop::collection::vec(1..600_usize, 1..20)) {
            let mut stream = Vec::new();
            for seq in 1..=50_u64 {
                let mut payload = update("2026-02-03T04:05:06.789012Z", seq, seq - 1);
                payload.resize(payload.len() + seq as usize * 7, b' ');
                frame::push_server(if seq % 2 == 0 { frame::TEXT } else { frame::BINARY }, &payload, &mut stream);
            }
            let (meter, _) = count(&stream, &sizes);
            prop_assert_eq!((meter.counts.updates, meter.counts.bytes), (50, stream.len() as u64));
            prop_assert_eq!(meter.counts.broken, 0);
        }
    }
}
