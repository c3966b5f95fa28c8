//! Grants that change while their clients are served: given, narrowed, renewed by a login, taken back, over.
//!
//! When a grant changes the hub is told first, and then the client's oracle: behind the bytes that its socket had taken by then, and those
//! that stood in line for it, nothing may be sent of what the grant does not cover.

use std::sync::Arc;

use fanout::{ClientId, GrantEnd, Login};
use model::Nanos;
use wire::close::CloseCode;

use super::World;
use crate::granting::Granted;

/// From the end of a grant until nothing more is sent: as long as the hub needs to look at everybody, and then some.
const STOPPED_WITHIN: Nanos = Nanos::SECOND;

/// Most steps until a login is answered.
const LOGIN_STEPS: u64 = 30;

/// A login that somebody has to answer.
#[derive(Debug)]
pub(super) struct Waiting {
    login: Login,
    /// In which step it is answered.
    due: u64,
}

impl World {
    /// Something about somebody's grant, in the worlds where clients have one.
    pub(super) fn meddle_with_grants(&mut self) {
        const CHANCE: u64 = 3;
        if !self.scenario.granted || !self.has_begun() || !self.rng.one_in(CHANCE) {
            return;
        }
        let kind = self.rng.below(16);
        let Some(client) = self.clients.pick(&mut self.rng).filter(|client| client.is_open()) else { return };
        let (id, connection_id) = (client.id, client.connection_id);
        match kind {
            0..=8 => {
                let now = self.now().mono;
                let granted = Granted::pick(&mut self.rng, now);
                self.give(id, granted);
            }
            9..=14 => self.log_in(id),
            _ => self.take_back(id, connection_id),
        }
    }

    /// Gives a client another grant, as when the entry of its key changed.
    fn give(&mut self, id: ClientId, granted: Granted) {
        let on_its_way = self.on_its_way(id);
        match granted.grant() {
            Ok(grant) => self.hub.handle_grant(id, Arc::new(grant), self.now()),
            Err(what) => return self.wrong = Some(what),
        }
        self.note_grant(id, granted, on_its_way);
        self.drain_hub();
    }

    /// Bytes that were sent to a client so far or stand in line for its socket: of what it lags behind nothing does.
    fn on_its_way(&mut self, id: ClientId) -> u64 {
        let reports = self.hub.clients(self.now());
        let held = reports.iter().find(|client| client.id == id).map_or(0, |client| client.held_bytes as u64);
        self.clients.find(id).map_or(0, |client| client.sent_bytes() + held)
    }

    /// Tells a client's oracle what its grant is from now on.
    fn note_grant(&mut self, id: ClientId, granted: Granted, on_its_way: u64) {
        let Some(client) = self.clients.find(id) else { return };
        let ext = client.has_opted_in();
        let revoked = client.oracle.take_grant(granted, on_its_way, ext);
        if revoked > 0 && !ext {
            client.closings.push(CloseCode::NotEntitled.code());
        }
    }

    /// Takes a whole grant back.
    fn take_back(&mut self, id: ClientId, connection_id: u64) {
        let on_its_way = self.on_its_way(id);
        self.hub.end_grant(id, GrantEnd::Revoked);
        if let Some(client) = self.clients.find(id).filter(|one| one.connection_id == connection_id) {
            client.closings.push(CloseCode::NotEntitled.code());
            client.oracle.end_grant(on_its_way);
        }
        self.drain_hub();
    }

    /// Presents a token; what it is worth is known when it is answered.
    fn log_in(&mut self, id: ClientId) {
        let Some(client) = self.clients.find(id) else { return };
        if client.logs_in {
            // One is under way.
            client.oracle.refusals_due += 1;
        }
        client.logs_in = true;
        self.request(id, r#"{"method":"login","params":{"token":"of-somebody"}}"#.to_owned());
        self.note_opt_in(id);
        while let Some(login) = self.hub.poll_login() {
            let due = self.step + self.rng.below(LOGIN_STEPS);
            self.logins.push(Waiting { login, due });
        }
    }

    /// Answers the logins that are due.
    pub(super) fn answer_logins(&mut self) {
        let step = self.step;
        let (due, later) = std::mem::take(&mut self.logins).into_iter().partition(|one| one.due <= step);
        self.logins = later;
        for Waiting { login, .. } in due {
            self.answer_login(login);
        }
    }

    fn answer_login(&mut self, login: Login) {
        const REFUSED: u64 = 12;
        let (id, connection_id, now) = (login.client, login.connection_id, self.now());
        let granted = Granted::pick(&mut self.rng, now.mono);
        let refused = !self.calm && self.rng.one_in(REFUSED);
        let verdict = match granted.grant() {
            Ok(_) if refused => Err("token expired"),
            Ok(grant) => Ok(Arc::new(grant)),
            Err(what) => return self.wrong = Some(what),
        };
        let on_its_way = self.on_its_way(id);
        let was_there = self.hub.handle_login(login, verdict, now);
        let client = self.clients.find(id).filter(|client| client.connection_id == connection_id);
        if let Some(client) = client.filter(|_| was_there) {
            client.logs_in = false;
            if refused {
                client.oracle.refusals_due += 1;
                client.closings.push(CloseCode::PolicyViolation.code());
            } else {
                self.note_grant(id, granted, on_its_way);
            }
        }
        self.drain_hub();
    }

    /// Grants whose time is over: their clients may be closed for it, and a second later nothing may be sent to them any more.
    pub(super) fn check_grants(&mut self) -> Result<(), String> {
        if !self.scenario.granted {
            return Ok(());
        }
        let now = self.now();
        let mut overdue = Vec::new();
        for client in self.clients.iter_mut() {
            let Some(ends) = client.oracle.granted_until().filter(|ends| *ends <= now.mono) else { continue };
            let expired = CloseCode::TokenExpired.code();
            if !client.closings.contains(&expired) {
                client.closings.push(expired);
            }
            if now.mono.since(ends) > STOPPED_WITHIN && !client.oracle.has_ended() {
                overdue.push(client.id);
            }
        }
        for id in overdue {
            let is_served = |client: &fanout::ClientReport| client.id == id && client.mode != "closing";
            if let Some(client) = self.hub.clients(now).iter().find(|client| is_served(client)) {
                let connection = client.connection_id;
                return Err(format!(
                    "connection {connection} is served although its grant ended a second ago"
                ));
            }
            let on_its_way = self.on_its_way(id);
            if let Some(client) = self.clients.find(id) {
                client.oracle.end_grant(on_its_way);
            }
        }
        Ok(())
    }
}
