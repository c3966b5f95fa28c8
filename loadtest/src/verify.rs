//! The witness of one client: what it must see, in which order.
//!
//! Owns the subscriptions of one client, their books and their links, and what it asked for. Never touches a socket or a
//! clock. Messages and their time come from [`crate::client`]; findings go to the [`Tally`] of the thread.

mod answer;
mod asking;
mod element;
mod notice;
mod seen;

use crate::book::{Book, Checksum};
use crate::plan::{Group, Plan, Policy, Profile};
use crate::scan::{Channel, Header, Message, Scanner};
use crate::tally::Tally;
use crate::time::Micros;
use crate::violation::{Kind, Violation, quote};
use answer::Request;
use element::Link;
pub(crate) use seen::{Seen, Standing, What};
use std::collections::HashMap;
use std::time::Duration;

/// How long the acknowledgement and the snapshot may take.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The number of the first request of a client.
const FIRST_REQ_ID: u64 = 1;
/// Up to here a symbol is found by comparing; above, by hashing.
const LINEAR_SYMBOLS_MAX: usize = 8;
/// Bytes that a limited client may get beyond its bandwidth: snapshots and answers, and what a second's worth of delay brings.
const BANDWIDTH_SLACK_BYTES: u64 = 1 << 20;

/// What all clients of a thread share while one of them handles a message.
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
    group: usize,
    channel: Channel,
    opted_in: bool,
    /// Whether it goes on from its places when it comes back.
    resumes: bool,
    /// Whether everything that a client missed comes as one update.
    merges: bool,
    bytes_per_s: u64,
    silence_us: Micros,
    subscriptions: Vec<Subscription>,
    /// Position in `subscriptions` by symbol; empty when there are few.
    index: HashMap<String, usize>,
    /// Subscriptions that still wait for their acknowledgement or snapshot.
    unsettled: usize,
    /// What was asked and is not answered in full.
    requests: Vec<Request>,
    next_req_id: u64,
    pause: Pause,
    /// When the connection was opened, and what came over it.
    opened_at: Micros,
    bytes: u64,
    is_too_fast: bool,
    /// When the last message came; the opening counts as one.
    heard_at: Micros,
    /// Whether the present silence has been reported.
    is_silent: bool,
}

/// Whether the subscriptions are paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    /// They are not, or it is not certain any more.
    Running,
    /// The server has acknowledged it.
    Acknowledged,
}

/// One symbol on the channel of this client.
struct Subscription {
    symbol: String,
    /// Its place among the client's.
    number: usize,
    state: State,
    /// When it was asked for.
    asked_at: Micros,
    /// What the next `prev` must be.
    link: Link,
    epoch: Option<u64>,
    trade_id: Option<u64>,
    /// Generation of the feed in which it has that number.
    trade_epoch: Option<u64>,
    /// Its data was told to be stale since: the feed may have lost trades that nobody can tell of one by one.
    is_stale: bool,
    /// Trades that a notice told as lost behind `trade_id`.
    told_lost: u64,
    /// What a notice said of the next update: its `seq` and how many entries it stands for.
    announced: Option<(u64, u64)>,
    /// The `seq` that the next update must reach at least.
    owed: Option<u64>,
    /// At most one update per this, as the server has granted it; 0 is no limit.
    interval_us: Micros,
    /// Updates, and when the first of them came.
    updates: u64,
    first_update_at: Micros,
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
    /// A notice has announced another snapshot.
    resync: bool,
    /// The request named a place to go on from.
    resuming: bool,
    /// Its end was asked for.
    ending: bool,
    /// Its end was acknowledged.
    ended: bool,
}

/// The parts of a violation that differ between subscriptions.
struct Reporter<'a> {
    client: u32,
    group: usize,
    opted_in: bool,
    channel: Channel,
    now: Micros,
    tally: &'a mut Tally,
}

impl Desk {
    /// Buffers and counters of one thread.
    pub(crate) fn new(plan: &Plan) -> Self {
        let is_prompt: Vec<bool> =
            plan.settings.groups.iter().map(|group| group.profile.is_prompt()).collect();
        Self { scanner: Scanner::default(), checksum: Checksum::new(), tally: Tally::new(&is_prompt) }
    }
}

impl Reporter<'_> {
    fn report(&mut self, kind: Kind, symbol: &str, expected: impl ToString, got: impl ToString) {
        let Self { client, now, tally, .. } = self;
        tally.violations.push(kind, || Violation {
            kind: kind.name(),
            client: Some(*client),
            symbol: symbol.to_owned(),
            expected: expected.to_string(),
            got: got.to_string(),
            at_us: *now,
        });
    }
}

impl Verifier {
    /// The view of a client that has asked for nothing yet.
    pub(crate) fn new(client: u32, plan: &Plan, now: Micros) -> Self {
        let number = plan.group_of(client);
        let group: &Group = &plan.settings.groups[number];
        let depth_levels = group.depth_levels();
        let subscriptions: Vec<_> = plan
            .symbols_of(client)
            .enumerate()
            .map(|(n, symbol)| Subscription::new(n, symbol, depth_levels))
            .collect();
        let is_few = subscriptions.len() <= LINEAR_SYMBOLS_MAX;
        let named = subscriptions.iter().enumerate().filter(|_| !is_few);
        let bytes_per_s = match group.profile {
            Profile::Limited { bytes_per_s, .. } => bytes_per_s,
            _ => 0,
        };
        let merges = matches!(group.channel, Channel::Book | Channel::Ticker)
            && matches!(group.policy, None | Some(Policy::Conflate | Policy::Latest));
        Self {
            client,
            group: number,
            merges,
            channel: group.channel,
            opted_in: group.opted_in,
            resumes: matches!(group.profile, Profile::Resuming { .. }),
            bytes_per_s,
            silence_us: plan.settings.silence.as_micros() as Micros,
            index: named.map(|(i, s)| (s.symbol.clone(), i)).collect(),
            unsettled: subscriptions.len(),
            subscriptions,
            requests: Vec::new(),
            next_req_id: FIRST_REQ_ID,
            pause: Pause::Running,
            opened_at: now,
            bytes: 0,
            is_too_fast: false,
            heard_at: now,
            is_silent: false,
        }
    }

    /// Whether every subscription is running, or has been given up.
    pub(crate) fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// Whether every request was answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.requests.is_empty()
    }

    /// Takes one text message.
    pub(crate) fn handle_text(&mut self, frame: &[u8], now: Micros, desk: &mut Desk) {
        let Desk { scanner, checksum, tally } = desk;
        tally.counts.messages += 1;
        tally.counts.bytes += frame.len() as u64;
        self.bytes += frame.len() as u64;
        let mut reporter = self.reporter(now, tally);
        self.note_heard(&mut reporter);
        match scanner.scan(frame) {
            Ok(Message::Data(header)) => self.handle_data(header, scanner, checksum, &mut reporter),
            Ok(Message::Heartbeat) => reporter.tally.counts.heartbeats += 1,
            Ok(Message::Status { is_online: true }) => {}
            Ok(Message::Status { is_online: false }) => self.note_stale(None, &mut reporter),
            Ok(Message::Ack(ack)) => self.handle_ack(&ack, &mut reporter),
            Ok(Message::Notice(notice)) if self.opted_in => self.handle_notice(&notice, &mut reporter),
            Ok(Message::Notice(notice)) => {
                let got = format!("notice {}", notice.code);
                reporter.report(Kind::UnrequestedNotice, "", "no notice without opting in", got);
            }
            Ok(Message::Other(name)) => {
                let expected = format!("channel {}", self.channel.name());
                reporter.report(Kind::UnexpectedMessage, "", expected, name);
            }
            Err(reason) => {
                let got = format!("{reason} in {}", quote(frame));
                reporter.report(Kind::Unparseable, "", "a message of the protocol", got);
            }
        }
    }

    /// Takes a data message that is not text.
    pub(crate) fn handle_binary(&mut self, frame: &[u8], now: Micros, tally: &mut Tally) {
        let mut reporter = self.reporter(now, tally);
        self.note_heard(&mut reporter);
        reporter.report(Kind::UnexpectedMessage, "", "text frames", format!("{} bytes binary", frame.len()));
    }

    /// Takes a protocol ping, which strict clients treat as an error.
    pub(crate) fn handle_ping(&mut self, now: Micros, tally: &mut Tally) {
        if !self.opted_in && self.subscriptions.iter().any(|s| s.state.acked) {
            let expected = "no ping frame to a subscribed client that has not opted in";
            self.reporter(now, tally).report(Kind::PingFrame, "", expected, "a ping frame");
        }
    }

    /// Takes the passing of time: silence, and answers that are overdue. Only for a client that reads.
    pub(crate) fn handle_time(&mut self, now: Micros, tally: &mut Tally) {
        let mut reporter = self.reporter(now, tally);
        self.check_silence(&mut reporter);
        self.check_overdue(&mut reporter);
        self.check_bandwidth(&mut reporter);
    }

    /// Takes the end: what is not answered by now is missing.
    pub(crate) fn handle_leave(&mut self, now: Micros, tally: &mut Tally) {
        let mut reporter = self.reporter(now, tally);
        self.check_overdue(&mut reporter);
    }

    fn reporter<'a>(&self, now: Micros, tally: &'a mut Tally) -> Reporter<'a> {
        let Self { client, group, opted_in, channel, .. } = *self;
        Reporter { client, group, opted_in, channel, now, tally }
    }

    fn note_heard(&mut self, reporter: &mut Reporter<'_>) {
        // Silence that ended between two ticks is still silence.
        self.check_silence(reporter);
        self.heard_at = reporter.now;
        self.is_silent = false;
    }

    /// Forgets how long nothing was heard: the client did not listen.
    pub(crate) fn excuse_silence(&mut self, now: Micros) {
        self.heard_at = now;
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

    fn check_bandwidth(&mut self, reporter: &mut Reporter<'_>) {
        if self.bytes_per_s == 0 || self.is_too_fast {
            return;
        }
        let seconds = (reporter.now - self.opened_at).max(0) as u64 / 1_000_000 + 1;
        let allowed = self.bytes_per_s * seconds + BANDWIDTH_SLACK_BYTES;
        if self.bytes > allowed {
            self.is_too_fast = true;
            let expected = format!("at most {} bytes/s", self.bytes_per_s);
            reporter.report(Kind::TooFast, "", expected, format!("{} bytes in {seconds} s", self.bytes));
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
            reporter.tally.counts.updates += elements.len() as u64;
        }
        if header.channel != self.channel {
            let expected = format!("channel {}", self.channel.name());
            let got = format!("channel {}", header.channel.name());
            return reporter.report(Kind::UnexpectedMessage, "", expected, got);
        }
        if matches!(header.channel, Channel::Book | Channel::Ticker) && elements.len() > 1 {
            let got = format!("{} elements", elements.len());
            reporter.report(Kind::UnexpectedMessage, "", "one element in a message of this channel", got);
        }
        if self.pause == Pause::Acknowledged {
            reporter.report(Kind::WhilePaused, "", "nothing until the client resumes", header.kind());
        }
        let mut previous = None;
        for element in elements {
            let symbol = scanner.symbol(element);
            let Some(at) = self.find(symbol).filter(|at| !self.subscriptions[*at].state.ended) else {
                let expected = "a subscribed symbol";
                reporter.report(Kind::UnexpectedMessage, symbol, expected, "data of another one");
                continue;
            };
            let subscription = &mut self.subscriptions[at];
            if previous.replace(at) != Some(at) {
                subscription.check_order(header, reporter);
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
