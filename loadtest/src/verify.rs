//! The witness of one connection: what it must see, in which order.
//!
//! Owns the subscriptions of one client, their books and their links. Never touches a socket or a clock.
//! Frames and their time come from [`crate::client`]; findings go to the [`Tally`] of the thread.

mod element;

use crate::book::{Book, Checksum};
use crate::plan::Plan;
use crate::scan::{Ack, Channel, Header, Message, Scanner};
use crate::tally::Tally;
use crate::time::Micros;
use crate::violation::{Kind, Violation, quote};
use std::collections::HashMap;
use std::time::Duration;

/// How long the acknowledgement and the snapshot may take.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The number of the one request that a client sends.
pub(crate) const REQ_ID: u64 = 1;
/// Up to here a symbol is found by comparing; above, by hashing.
const LINEAR_SYMBOLS_MAX: usize = 8;

/// What all clients of a thread share while one of them handles a frame.
pub(crate) struct Desk {
    /// Reads frames.
    pub(crate) scanner: Scanner,
    /// Scratch of the checksum.
    pub(crate) checksum: Checksum,
    /// Counts and violations of the thread.
    pub(crate) tally: Tally,
}

/// One client's view of the protocol.
pub(crate) struct Verifier {
    client: u32,
    channel: Channel,
    opted_in: bool,
    silence_us: Micros,
    subscriptions: Vec<Subscription>,
    /// Position in `subscriptions` by symbol; empty when there are few.
    index: HashMap<String, usize>,
    /// Subscriptions that still wait for their acknowledgement or snapshot.
    unsettled: usize,
    /// When the request was sent.
    asked_at: Micros,
    /// When the last message came; the request counts as one.
    heard_at: Micros,
    /// Whether the present silence has been reported.
    is_silent: bool,
}

/// One symbol on the channel of this client.
struct Subscription {
    symbol: String,
    state: State,
    /// Last `seq` received; the next `prev` must equal it.
    seq: Option<u64>,
    epoch: Option<u64>,
    trade_id: Option<u64>,
    book: Book,
}

/// How far the subscription has come.
#[derive(Clone, Copy, Default)]
struct State {
    acked: bool,
    refused: bool,
    snapshot: bool,
    /// Acknowledged and, on `book`, with its snapshot; or given up.
    settled: bool,
}

/// The parts of a violation that differ between subscriptions.
struct Reporter<'a> {
    client: u32,
    now: Micros,
    tally: &'a mut Tally,
}

impl Desk {
    /// Buffers and counters of one thread.
    pub(crate) fn new() -> Self {
        Self { scanner: Scanner::default(), checksum: Checksum::new(), tally: Tally::new() }
    }
}

impl Reporter<'_> {
    fn report(&mut self, kind: Kind, symbol: &str, expected: impl ToString, got: impl ToString) {
        let Self { client, now, tally } = self;
        tally.violations.push(kind, || Violation {
            kind: kind.name(),
            client: *client,
            symbol: symbol.to_owned(),
            expected: expected.to_string(),
            got: got.to_string(),
            at_us: *now,
        });
    }
}

impl Verifier {
    /// The view of a client that sends its request now.
    pub(crate) fn new(client: u32, plan: &Plan, now: Micros) -> Self {
        let subscriptions: Vec<_> =
            plan.symbols_of(client).map(|symbol| Subscription::new(symbol, plan.depth_levels())).collect();
        let is_few = subscriptions.len() <= LINEAR_SYMBOLS_MAX;
        let named = subscriptions.iter().enumerate().filter(|_| !is_few);
        Self {
            client,
            channel: plan.channel,
            opted_in: plan.opted_in,
            silence_us: plan.silence.as_micros() as Micros,
            index: named.map(|(i, s)| (s.symbol.clone(), i)).collect(),
            unsettled: subscriptions.len(),
            subscriptions,
            asked_at: now,
            heard_at: now,
            is_silent: false,
        }
    }

    /// Whether every subscription is running, or has been given up.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// Takes one text frame.
    pub(crate) fn handle_text(&mut self, frame: &[u8], now: Micros, desk: &mut Desk) {
        let Desk { scanner, checksum, tally } = desk;
        tally.window.messages += 1;
        tally.window.bytes += frame.len() as u64;
        let mut reporter = Reporter { client: self.client, now, tally };
        self.note_heard(&mut reporter);
        match scanner.scan(frame) {
            Ok(Message::Data(header)) => self.handle_data(header, scanner, checksum, &mut reporter),
            Ok(Message::Heartbeat) => reporter.tally.window.heartbeats += 1,
            Ok(Message::Status) => {}
            Ok(Message::Ack(ack)) => self.handle_ack(&ack, &mut reporter),
            Ok(Message::Notice(_)) if self.opted_in => {}
            Ok(Message::Notice(text)) => {
                reporter.report(
                    Kind::UnrequestedNotice,
                    "",
                    "no notice without opting in",
                    quote(text.as_bytes()),
                );
            }
            Ok(Message::Other(name)) => {
                reporter.report(
                    Kind::UnexpectedMessage,
                    "",
                    format!("channel {}", self.channel.name()),
                    name,
                );
            }
            Err(reason) => {
                let got = format!("{reason} in {}", quote(frame));
                reporter.report(Kind::Unparseable, "", "a message of the protocol", got);
            }
        }
    }

    /// Takes a data frame that is not text.
    pub(crate) fn handle_binary(&mut self, frame: &[u8], now: Micros, tally: &mut Tally) {
        let mut reporter = Reporter { client: self.client, now, tally };
        self.note_heard(&mut reporter);
        reporter.report(Kind::UnexpectedMessage, "", "text frames", format!("{} bytes binary", frame.len()));
    }

    /// Takes a protocol ping, which strict clients treat as an error.
    pub(crate) fn handle_ping(&mut self, now: Micros, tally: &mut Tally) {
        if !self.opted_in && self.subscriptions.iter().any(|s| s.state.acked) {
            let expected = "no ping frame to a subscribed client that has not opted in";
            Reporter { client: self.client, now, tally }.report(
                Kind::PingFrame,
                "",
                expected,
                "a ping frame",
            );
        }
    }

    /// Takes the passing of time: silence, and answers that are overdue.
    pub(crate) fn handle_time(&mut self, now: Micros, tally: &mut Tally) {
        let mut reporter = Reporter { client: self.client, now, tally };
        self.check_silence(&mut reporter);
        if self.is_settled() || now - self.asked_at < ANSWER_LIMIT.as_micros() as Micros {
            return;
        }
        let expected = format!("within {} s", ANSWER_LIMIT.as_secs());
        for subscription in self.subscriptions.iter_mut().filter(|s| !s.state.settled) {
            let kind = if subscription.state.acked { Kind::SnapshotMissing } else { Kind::AckMissing };
            reporter.report(kind, &subscription.symbol, &expected, "nothing yet");
            subscription.state.settled = true;
        }
        self.unsettled = 0;
    }

    fn note_heard(&mut self, reporter: &mut Reporter<'_>) {
        // Silence that ended between two ticks is still silence.
        self.check_silence(reporter);
        self.heard_at = reporter.now;
        self.is_silent = false;
    }

    fn check_silence(&mut self, reporter: &mut Reporter<'_>) {
        let quiet_us = reporter.now - self.heard_at;
        if quiet_us > self.silence_us && !self.is_silent {
            self.is_silent = true;
            let expected = format!("a message every {} ms", self.silence_us / 1_000);
            reporter.report(Kind::Silent, "", expected, format!("none for {} ms", quiet_us / 1_000));
        }
    }

    fn handle_ack(&mut self, ack: &Ack, reporter: &mut Reporter<'_>) {
        let wanted = self.channel.name();
        if ack.req_id != Some(REQ_ID) {
            let got = format!("req_id {:?}", ack.req_id);
            reporter.report(Kind::AckWrong, &ack.symbol, format!("req_id {REQ_ID}"), got);
        }
        let Some(at) = self.find(&ack.symbol) else {
            return self.handle_foreign_ack(ack, reporter);
        };
        let subscription = &mut self.subscriptions[at];
        if let Some(error) = &ack.error {
            reporter.report(Kind::SubscribeRefused, &ack.symbol, "success", quote(error.as_bytes()));
            subscription.state.refused = true;
        } else if ack.method != "subscribe" || ack.channel != wanted {
            let got = format!("{} of {}", ack.method, ack.channel);
            reporter.report(Kind::AckWrong, &ack.symbol, format!("subscribe of {wanted}"), got);
        } else if subscription.state.acked {
            reporter.report(Kind::AckWrong, &ack.symbol, "one acknowledgement", "another one");
        } else {
            subscription.state.acked = true;
            subscription.epoch = subscription.epoch.or(ack.epoch);
        }
        self.settle(at);
    }

    /// An answer that names none of our symbols: the refusal of the whole request, or a mistake.
    fn handle_foreign_ack(&mut self, ack: &Ack, reporter: &mut Reporter<'_>) {
        let Some(error) = &ack.error else {
            return reporter.report(Kind::AckWrong, &ack.symbol, "a symbol of the request", "another one");
        };
        reporter.report(Kind::SubscribeRefused, &ack.symbol, "success", quote(error.as_bytes()));
        if ack.symbol.is_empty() {
            for at in 0..self.subscriptions.len() {
                self.subscriptions[at].state.refused = true;
                self.settle(at);
            }
        }
    }

    fn handle_data(
        &mut self,
        header: Header,
        scanner: &Scanner,
        checksum: &mut Checksum,
        reporter: &mut Reporter<'_>,
    ) {
        let elements = scanner.elements();
        if !header.is_snapshot {
            reporter.tally.window.updates += elements.len() as u64;
        }
        if header.channel != self.channel {
            let expected = format!("channel {}", self.channel.name());
            return reporter.report(
                Kind::UnexpectedMessage,
                "",
                expected,
                format!("channel {}", header.channel.name()),
            );
        }
        if matches!(header.channel, Channel::Book | Channel::Ticker) && elements.len() > 1 {
            let got = format!("{} elements", elements.len());
            reporter.report(Kind::UnexpectedMessage, "", "one element in a message of this channel", got);
        }
        let mut previous = None;
        for element in elements {
            let symbol = scanner.symbol(element);
            let Some(at) = self.find(symbol) else {
                reporter.report(
                    Kind::UnexpectedMessage,
                    symbol,
                    "a subscribed symbol",
                    "data of another one",
                );
                continue;
            };
            let subscription = &mut self.subscriptions[at];
            if previous.replace(at) != Some(at) {
                subscription.check_order(header, self.opted_in, reporter);
            }
            subscription.handle_element(header, element, scanner, checksum, reporter);
            if header.is_snapshot {
                self.settle(at);
            }
        }
    }

    fn find(&self, symbol: &str) -> Option<usize> {
        if self.index.is_empty() {
            return self.subscriptions.iter().position(|s| s.symbol == symbol);
        }
        self.index.get(symbol).copied()
    }

    fn settle(&mut self, at: usize) {
        let state = &mut self.subscriptions[at].state;
        let has_data = state.snapshot || self.channel != Channel::Book;
        if !state.settled && (state.refused || (state.acked && has_data)) {
            state.settled = true;
            self.unsettled -= 1;
        }
    }
}

#[cfg(test)]
mod tests;
