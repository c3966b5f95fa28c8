//! What a client asks for: subscriptions, their ends, pauses; and what that makes of its view.
//!
//! Owns the text of requests and the numbers in them. Never sends: [`crate::client`] does. `asked_at` is when the client meant
//! to ask, so that an answer's latency includes what held the request up.

use super::answer::{Method, Request};
use super::element::Link;
use super::{Pause, State, Subscription, Verifier};
use crate::book::digest;
use crate::plan::Group;
use crate::scan::Channel;
use crate::tally::{BookAt, Tally};
use crate::time::Micros;
use crate::violation::Kind;
use serde_json::{Map, Value, json};

impl Verifier {
    /// The requests for everything that the client wants and does not have: where it stands somewhere and goes on from its
    /// places, with those.
    pub(crate) fn subscribe_all(&mut self, group: &Group, asked_at: Micros) -> Vec<String> {
        let all = 0..self.subscriptions.len();
        let (known, unknown): (Vec<usize>, Vec<usize>) =
            all.partition(|at| self.resumes && self.subscriptions[*at].place().is_some());
        let mut requests = Vec::new();
        for (symbols, resumes) in [(known, true), (unknown, false)] {
            if !symbols.is_empty() {
                requests.push(self.subscribe(group, &symbols, resumes, asked_at));
            }
        }
        requests
    }

    fn subscribe(&mut self, group: &Group, at: &[usize], resumes: bool, asked_at: Micros) -> String {
        let mut places = Map::new();
        for &at in at {
            let subscription = &mut self.subscriptions[at];
            if let (true, Some((epoch, seq))) = (resumes, subscription.place()) {
                places.insert(subscription.symbol.clone(), json!({"epoch": epoch, "seq": seq}));
            } else {
                subscription.forget();
            }
            subscription.state = State { resuming: resumes, ..State::default() };
            subscription.asked_at = asked_at;
        }
        let symbols: Vec<&str> = at.iter().map(|at| self.subscriptions[*at].symbol.as_str()).collect();
        let params = group.params(&symbols, resumes.then_some(Value::Object(places)));
        self.unsettled = self.subscriptions.iter().filter(|s| !s.state.settled && !s.state.ended).count();
        self.ask(Method::Subscribe, Some(params), at.len(), asked_at)
    }

    /// The request for the next step of a churning client: the end of one subscription, or that one again. None while the step
    /// before is not answered: a client that asks faster than it is answered would ask in vain.
    pub(crate) fn churn(&mut self, group: &Group, step: u64, asked_at: Micros) -> Option<String> {
        if !self.is_settled() || !self.is_answered() {
            return None;
        }
        if let Some(ended) = self.subscriptions.iter().position(|s| s.state.ended && !s.state.refused) {
            return Some(self.subscribe(group, &[ended], false, asked_at));
        }
        let at = step as usize % self.subscriptions.len();
        self.unsubscribe(group, &[at], asked_at)
    }

    /// The request to end everything that runs; none when nothing does.
    pub(crate) fn unsubscribe_all(&mut self, group: &Group, asked_at: Micros) -> Option<String> {
        let runs = |s: &Subscription| s.state.acked && !s.state.refused && !s.state.ended && !s.state.ending;
        let running: Vec<usize> =
            (0..self.subscriptions.len()).filter(|at| runs(&self.subscriptions[*at])).collect();
        self.unsubscribe(group, &running, asked_at)
    }

    fn unsubscribe(&mut self, group: &Group, at: &[usize], asked_at: Micros) -> Option<String> {
        if at.is_empty() {
            return None;
        }
        at.iter().for_each(|at| self.subscriptions[*at].state.ending = true);
        let symbols: Vec<&str> = at.iter().map(|at| self.subscriptions[*at].symbol.as_str()).collect();
        let mut params = json!({"channel": self.channel.name(), "symbol": symbols});
        match self.channel {
            Channel::Ohlc => params["interval"] = 1.into(),
            Channel::Book => params["depth"] = group.depth_levels().into(),
            Channel::Ticker | Channel::Trade => {}
        }
        Some(self.ask(Method::Unsubscribe, Some(params), at.len(), asked_at))
    }

    /// The request to pause everything, or to go on.
    pub(crate) fn pause(&mut self, pauses: bool, asked_at: Micros) -> String {
        // Going on counts from the request: what comes from now on may be of the time after it.
        self.pause = Pause::Running;
        self.ask(if pauses { Method::Pause } else { Method::Resume }, None, 1, asked_at)
    }

    fn ask(&mut self, method: Method, params: Option<Value>, answers: usize, asked_at: Micros) -> String {
        let req_id = self.next_req_id;
        self.next_req_id += 1;
        self.requests.push(Request { req_id, method, waiting: answers, asked_at });
        match params {
            Some(params) => json!({"method": method.name(), "params": params, "req_id": req_id}).to_string(),
            None => json!({"method": method.name(), "req_id": req_id}).to_string(),
        }
    }

    /// The connection is gone. What a client that goes on from its places knows, it keeps.
    pub(crate) fn disconnect(&mut self) {
        self.requests.clear();
        self.next_req_id = super::FIRST_REQ_ID;
        self.pause = Pause::Running;
        for subscription in &mut self.subscriptions {
            // Who waits for a snapshot stands nowhere that it could name.
            if !self.resumes || subscription.state.resync {
                subscription.forget();
            }
            subscription.announced = None;
            subscription.owed = None;
            subscription.state = State::default();
        }
        self.unsettled = self.subscriptions.len();
    }

    /// There is a connection again.
    pub(crate) fn reconnect(&mut self, now: Micros) {
        self.opened_at = now;
        self.bytes = 0;
        self.excuse_silence(now);
    }

    /// Compares the book of a subscription that has ended with those that other clients had at the same place.
    pub(super) fn compare_book(&mut self, at: usize, now: Micros, tally: &mut Tally) {
        let subscription = &self.subscriptions[at];
        let Some(seq) =
            subscription.link.last().filter(|_| self.channel == Channel::Book && subscription.state.snapshot)
        else {
            return;
        };
        let place = BookAt {
            symbol: subscription.symbol.clone(),
            depth_levels: subscription.book.depth_levels(),
            epoch: subscription.epoch,
            seq,
        };
        let found = tally.note_book(place, digest(&subscription.book), self.client);
        if let Some(other) = found {
            let got = format!("another book than client {other} at seq {seq}");
            let symbol = subscription.symbol.clone();
            self.reporter(now, tally).report(Kind::BookDiffers, &symbol, "one book at one seq", got);
        }
    }
}

impl Subscription {
    /// Epoch and sequence to go on from.
    fn place(&self) -> Option<(u64, u64)> {
        self.epoch.zip(self.link.last())
    }

    /// Whatever was known is worth nothing.
    pub(super) fn forget(&mut self) {
        self.link = Link::Anywhere;
        self.epoch = None;
        self.trade_id = None;
        self.told_lost = 0;
        self.is_stale = false;
        self.announced = None;
        self.owed = None;
        self.updates = 0;
        self.book.clear();
    }
}
