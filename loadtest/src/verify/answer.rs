//! Answers: whether each request got the ones that it must get, in time, and what they promise.
//!
//! Owns what was asked and is open. Requests are made in [`super::asking`].

use super::element::Link;
use super::{ANSWER_LIMIT, Pause, Reporter, Verifier};
use crate::scan::{Ack, Channel};
use crate::time::Micros;
use crate::violation::{Kind, quote};

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Subscribe,
    Unsubscribe,
    Pause,
    Resume,
}

/// A request that is not answered in full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) req_id: u64,
    pub(super) method: Method,
    /// Answers that are still to come.
    pub(super) waiting: usize,
    /// When the client meant to ask.
    pub(super) asked_at: Micros,
}

impl Method {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

impl Verifier {
    pub(super) fn handle_ack(&mut self, ack: &Ack, reporter: &mut Reporter<'_>) {
        let method = self.take_request(ack, reporter);
        if method.is_some_and(|method| method.name() != ack.method) {
            let got = format!("an answer to {}", ack.method);
            let expected = format!("one to {}", method.map_or("", Method::name));
            return reporter.report(Kind::AckWrong, &ack.symbol, expected, got);
        }
        match ack.method.as_str() {
            "unsubscribe" => self.handle_end(ack, reporter),
            "pause" | "resume" => self.handle_pause(ack, reporter),
            _ => self.handle_start(ack, method.is_some(), reporter),
        }
    }

    /// Finds what is answered, and counts the answer.
    fn take_request(&mut self, ack: &Ack, reporter: &mut Reporter<'_>) -> Option<Method> {
        let Some(at) = self.requests.iter().position(|request| Some(request.req_id) == ack.req_id) else {
            let expected = match self.requests.first() {
                Some(request) => format!("req_id {}", request.req_id),
                None => "no answer, since nothing is asked".to_owned(),
            };
            reporter.report(Kind::AckWrong, &ack.symbol, expected, format!("req_id {:?}", ack.req_id));
            return None;
        };
        let request = &mut self.requests[at];
        let us = (reporter.now - request.asked_at).max(0) as u64;
        reporter.tally.answers.saturating_record(us);
        let method = request.method;
        // A refusal that names no symbol is that of the whole request.
        let is_whole = ack.error.is_some() && ack.symbol.is_empty();
        request.waiting = if is_whole { 0 } else { request.waiting - 1 };
        if request.waiting == 0 {
            self.requests.remove(at);
        }
        Some(method)
    }

    fn handle_start(&mut self, ack: &Ack, is_asked: bool, reporter: &mut Reporter<'_>) {
        let wanted = self.channel.name();
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
            // One that answers nothing has been reported for that.
            if is_asked {
                reporter.report(Kind::AckWrong, &ack.symbol, "one acknowledgement", "another one");
            }
        } else {
            subscription.state.acked = true;
            subscription.interval_us = ack.interval_ms.unwrap_or(0) as Micros * 1_000;
            self.begin(at, ack, reporter);
        }
        self.settle(at);
    }

    /// Where an acknowledged subscription begins.
    fn begin(&mut self, at: usize, ack: &Ack, reporter: &mut Reporter<'_>) {
        let merges = self.merges;
        let subscription = &mut self.subscriptions[at];
        if subscription.state.resuming {
            let Some(recovered) = ack.recovered else {
                let expected = "whether it goes on from the place that was named";
                return reporter.report(Kind::AckWrong, &ack.symbol, expected, "no `recovered`");
            };
            reporter.tally.resumed[usize::from(!recovered)] += 1;
            subscription.note_begun(recovered, reporter);
            if recovered {
                // Nothing was lost, so there is no snapshot, and one update brings all that was missed.
                subscription.state.snapshot = true;
                subscription.epoch = ack.epoch.or(subscription.epoch);
                let behind = ack.seq.filter(|seq| subscription.link.last().is_some_and(|last| last < *seq));
                subscription.owed = behind.filter(|_| merges);
                return;
            }
            subscription.forget();
        } else {
            subscription.note_begun(false, reporter);
        }
        subscription.epoch = subscription.epoch.or(ack.epoch);
        if let (Channel::Trade, Some(seq)) = (self.channel, ack.seq) {
            // The trades of the snapshot are older; the first update follows the place of the acknowledgement.
            subscription.link = Link::From(seq);
        }
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

    fn handle_end(&mut self, ack: &Ack, reporter: &mut Reporter<'_>) {
        if let Some(error) = &ack.error {
            return reporter.report(Kind::SubscribeRefused, &ack.symbol, "success", quote(error.as_bytes()));
        }
        let asked = self.find(&ack.symbol).filter(|at| self.subscriptions[*at].state.ending);
        let Some(at) = asked else {
            return reporter.report(Kind::AckWrong, &ack.symbol, "an end that was asked for", "another one");
        };
        self.compare_book(at, reporter.now, reporter.tally);
        let state = &mut self.subscriptions[at].state;
        (state.ending, state.ended) = (false, true);
    }

    fn handle_pause(&mut self, ack: &Ack, reporter: &mut Reporter<'_>) {
        if let Some(error) = &ack.error {
            return reporter.report(Kind::SubscribeRefused, &ack.symbol, "success", quote(error.as_bytes()));
        }
        // Only if nothing was asked since: a client that wants to go on may be sent data at once.
        let goes_on = self.requests.iter().any(|request| request.method == Method::Resume);
        if ack.method == "pause" && !goes_on {
            self.pause = Pause::Acknowledged;
        }
    }

    /// Reports what was not answered in time, once.
    pub(super) fn check_overdue(&mut self, reporter: &mut Reporter<'_>) {
        let limit_us = ANSWER_LIMIT.as_micros() as Micros;
        let expected = format!("within {} s", ANSWER_LIMIT.as_secs());
        let now = reporter.now;
        if self.unsettled > 0 {
            for subscription in &mut self.subscriptions {
                let state = &mut subscription.state;
                if state.settled || state.ended || now - subscription.asked_at < limit_us {
                    continue;
                }
                let kind = if state.acked { Kind::SnapshotMissing } else { Kind::AckMissing };
                reporter.report(kind, &subscription.symbol, &expected, "nothing yet");
                state.settled = true;
                self.unsettled -= 1;
            }
        }
        let is_overdue = |request: &Request| now - request.asked_at >= limit_us;
        for request in self.requests.iter().filter(|request| is_overdue(request)) {
            // Of subscriptions each symbol has been told of.
            if request.method != Method::Subscribe {
                let got = format!("no answer to {}", request.method.name());
                reporter.report(Kind::AckMissing, "", &expected, got);
            }
        }
        self.requests.retain(|request| !is_overdue(request));
    }
}
