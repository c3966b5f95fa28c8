//! The client: reads what it is sent, and accounts for every entry of the stream that is looked at.
//!
//! Owns what the client knows (`view.rs`) and the counts of the summary. Frames come from the socket in the order of their
//! receipt, entries from the world as they are published.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Instrument, Nanos, StreamKey};
use wire::text::parse_time;

use super::ExplainError;
use super::message::{CLOSE, Element, Frame, Message, TEXT};
use super::received::{Kind, Received};
use super::view::View;

/// The client's side of the connection.
#[derive(Debug)]
pub(super) struct Reader {
    channel: &'static str,
    symbol: String,
    /// Minutes; none when the stream is not of candles.
    interval: Option<u16>,
    /// Wall time of the beginning of the tape.
    base: Nanos,
    pub(super) view: View,
    /// Generation of what was received last; none before the subscription begins.
    epoch: Option<u64>,
    /// Epoch and sequence of entries that were published and not accounted for yet, oldest first.
    unsent: VecDeque<(u64, u64)>,
    pub(super) tally: Tally,
}

/// What became of the entries and the bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Entries that were published since the subscription.
    pub(super) entries: u64,
    /// Messages about the stream or the connection, and their bytes.
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) updates: u64,
    pub(super) snapshots: u64,
    /// Entries folded into another's message.
    pub(super) merged: u64,
    /// Updates that stand for several entries.
    pub(super) merges: u64,
    /// Entries lost with a notice, and how many notices that were.
    pub(super) dropped: u64,
    pub(super) gaps: u64,
    /// Entries lost to a client that has no notices: `prev` and `trade_id` tell it.
    pub(super) dropped_silently: u64,
    /// Entries that a snapshot made up for.
    pub(super) covered: u64,
    /// Messages and bytes of the subscriptions beside it.
    pub(super) beside_messages: u64,
    pub(super) beside_bytes: u64,
    /// Receipt and age of data, in the order of receipt.
    pub(super) ages: Vec<(Nanos, Nanos)>,
    /// The longest time without data, and when it began.
    pub(super) silence: Nanos,
    pub(super) silence_from: Nanos,
    /// When data came last.
    pub(super) last_data: Option<Nanos>,
    /// Position of the last data.
    pub(super) seq: u64,
}

impl Reader {
    pub(super) fn new(key: StreamKey, instrument: Arc<Instrument>, base: Nanos) -> Self {
        let interval = match key {
            StreamKey::Ohlc(_, index) => Some(model::INTERVALS_MIN[usize::from(index)]),
            _ => None,
        };
        Self {
            channel: key.channel().name(),
            symbol: instrument.symbol.to_string(),
            interval,
            base,
            view: View::new(key, instrument),
            epoch: None,
            unsent: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// The engine has answered: entries from here on are for the client. A client that did not opt in is not told the generation.
    pub(super) fn begin(&mut self, epoch: u64) {
        self.epoch.get_or_insert(epoch);
    }

    /// An entry of the stream was published; history that was told before the beginning is not for the client.
    pub(super) fn expect(&mut self, epoch: u64, seq: u64) {
        if self.epoch.is_some() {
            self.unsent.push_back((epoch, seq));
            self.tally.entries += 1;
        }
    }

    /// Entries that the client has not been told of in any way.
    pub(super) fn unsent(&self) -> u64 {
        self.unsent.len() as u64
    }

    /// Takes one frame; none when it is of a subscription that is not looked at.
    ///
    /// # Errors
    /// When the gateway refuses a request, or sends what cannot be read.
    pub(super) fn read(&mut self, at: Nanos, frame: &Frame) -> Result<Option<Received>, ExplainError> {
        let blank = Received { offset: at, bytes: frame.bytes, ..Received::default() };
        let unreadable = || ExplainError::Unreadable(String::from_utf8_lossy(&frame.payload).into_owned());
        let received = match frame.opcode {
            CLOSE => Some(read_close(&frame.payload, blank).ok_or_else(unreadable)?),
            TEXT => {
                let message: Message<'_> =
                    serde_json::from_slice(&frame.payload).map_err(|_| unreadable())?;
                if let Some(error) = message.error {
                    return Err(ExplainError::Refused(error.into_owned()));
                }
                self.read_message(&message, blank).ok_or_else(unreadable)?
            }
            _ => return Err(unreadable()),
        };
        let is_ours = received.is_some();
        let (messages, bytes) = if is_ours {
            (&mut self.tally.messages, &mut self.tally.bytes)
        } else {
            (&mut self.tally.beside_messages, &mut self.tally.beside_bytes)
        };
        *messages += 1;
        *bytes += frame.bytes as u64;
        Ok(received)
    }

    /// None when it cannot be read; none within when it is of another subscription.
    fn read_message(&mut self, message: &Message<'_>, blank: Received) -> Option<Option<Received>> {
        if message.method.is_some() {
            let answer = message.result.as_ref()?;
            let is_ours = self.is_ours(answer.channel, answer.symbol, answer.interval);
            return Some(is_ours.then_some(Received {
                kind: Kind::Subscribed,
                seq: answer.seq,
                epoch: answer.epoch,
                ..blank
            }));
        }
        match message.channel? {
            "heartbeat" => Some(Some(blank)),
            "status" => {
                let text = message.data.first()?.system?.to_owned();
                Some(Some(Received { kind: Kind::Status, text: Some(text), ..blank }))
            }
            "notice" => self.read_notice(message.data.first()?, blank),
            channel => {
                let first = message.data.first()?;
                if !self.is_ours(Some(channel), first.symbol, first.interval) {
                    return Some(None);
                }
                self.read_data(message, blank).map(Some)
            }
        }
    }

    fn is_ours(&self, channel: Option<&str>, symbol: Option<&str>, interval: Option<u16>) -> bool {
        channel == Some(self.channel) && symbol == Some(&*self.symbol) && interval == self.interval
    }

    fn read_notice(&mut self, notice: &Element<'_>, blank: Received) -> Option<Option<Received>> {
        let is_ours = notice.symbol.is_none() || self.is_ours(notice.channel, notice.symbol, notice.interval);
        if !is_ours {
            return Some(None);
        }
        let kind = match notice.code? {
            "lagging" => Kind::Lagging,
            "merged" => Kind::Merged,
            "gap" => Kind::Gap,
            "resynced" => Kind::Resynced,
            "stale" => Kind::Stale,
            "fresh" => Kind::Fresh,
            _ => Kind::Notice,
        };
        if let (Kind::Gap | Kind::Resynced, Some(count)) = (kind, notice.count) {
            let told = (count as usize).min(self.unsent.len());
            self.unsent.drain(..told);
            self.tally.dropped += told as u64;
            self.tally.gaps += 1;
            self.epoch = notice.epoch.or(self.epoch);
        }
        let Element { from_seq, to_seq, count, epoch, .. } = *notice;
        let text = notice.code.filter(|_| kind == Kind::Notice).map(str::to_owned);
        Some(Some(Received { kind, from_seq, to_seq, count, epoch, text, ..blank }))
    }

    fn read_data(&mut self, message: &Message<'_>, blank: Received) -> Option<Received> {
        let is_snapshot = message.kind? == "snapshot";
        let element = message.data.last()?;
        let seq = element.seq?;
        self.view.apply(&message.data, is_snapshot)?;
        if is_snapshot {
            self.epoch = Some(element.epoch?);
            self.tally.snapshots += 1;
            self.tally.covered += self.pass(seq);
        } else {
            self.account(element.prev?, element.epoch, seq);
        }
        let is_book = self.channel == "book";
        // Of candles the message says the time of the event; of snapshots only a book is as new as its time.
        let told = message.timestamp.or(element.timestamp).filter(|_| !is_snapshot || is_book);
        let wall = self.base + blank.offset;
        let age = told.and_then(|text| parse_time(text.as_bytes())).map(|at| wall.since(at));
        self.note_data(blank.offset, age, seq);
        Some(Received {
            kind: if is_snapshot { Kind::Snapshot } else { Kind::Update },
            age,
            seq: Some(seq),
            prev: element.prev,
            epoch: element.epoch,
            merged: element.merged,
            trade_id: element.trade_id,
            elements: is_snapshot.then(|| match is_book {
                true => element.bids.len() + element.asks.len(),
                false => message.data.len(),
            }),
            ..blank
        })
    }

    /// An update stands for everything from what it follows up to its own entry.
    fn account(&mut self, prev: u64, epoch: Option<u64>, seq: u64) {
        self.tally.dropped_silently += self.pass(prev);
        self.epoch = epoch.or(self.epoch);
        let entries = self.pass(seq);
        self.tally.updates += 1;
        self.tally.merged += entries.saturating_sub(1);
        self.tally.merges += u64::from(entries > 1);
    }

    /// Takes the entries up to a position of this generation from those that are not accounted for; says how many they were.
    fn pass(&mut self, seq: u64) -> u64 {
        let to = (self.epoch.unwrap_or_default(), seq);
        let mut passed = 0;
        while self.unsent.pop_front_if(|entry| *entry <= to).is_some() {
            passed += 1;
        }
        passed
    }

    fn note_data(&mut self, at: Nanos, age: Option<Nanos>, seq: u64) {
        self.note_silence(at);
        self.tally.last_data = Some(at);
        self.tally.seq = seq;
        self.tally.ages.extend(age.map(|age| (at, age)));
    }

    /// Looks how long there was no data when it comes, or when everything ends.
    pub(super) fn note_silence(&mut self, at: Nanos) {
        let Some(last) = self.tally.last_data else { return };
        if at.since(last) > self.tally.silence {
            (self.tally.silence, self.tally.silence_from) = (at.since(last), last);
        }
    }
}

/// The text of an answer that refuses a request.
pub(super) fn refusal(frame: &Frame) -> Option<String> {
    let message: Message<'_> = serde_json::from_slice(&frame.payload).ok()?;
    message.error.map(std::borrow::Cow::into_owned)
}

fn read_close(payload: &[u8], blank: Received) -> Option<Received> {
    let (code, reason) = payload.split_at_checked(2)?;
    let code = u16::from_be_bytes(code.try_into().ok()?);
    let text = std::str::from_utf8(reason).ok()?.to_owned();
    Some(Received { kind: Kind::Close, code: Some(code), text: Some(text), ..blank })
}
