//! What a client may have while it is connected: logins, and grants that shrink, end or are taken back.
//!
//! Looked at when somebody subscribes and when a grant changes; an update is never held against a grant. Tokens are not judged here:
//! they are handed out by [`Hub::poll_login`], and the answer comes in by [`Hub::handle_login`].

use std::sync::Arc;

use model::StreamKey;
use wire::close::CloseCode;
use wire::reply::{self, LoggedIn, Notice, NoticeCode};
use wire::request::Token;

use super::requests::Asked;
use super::{Hub, Now};
use crate::client::{ClientId, Mode};
use crate::grant::{Denied, Grant, GrantEnd};
use crate::planted::{self, Bug};

/// A token that a client presented, for somebody to look at.
#[derive(Debug)]
pub struct Login {
    /// Who presented it; its number may be another client's by the time of the answer.
    pub client: ClientId,
    /// The number that is never another's.
    pub connection_id: u64,
    /// What it presented.
    pub token: Token,
    asked: Asked,
}

impl Hub {
    /// The next token that somebody has to look at.
    pub fn poll_login(&mut self) -> Option<Login> {
        self.logins.pop_front()
    }

    pub(super) fn login(&mut self, id: ClientId, token: Token, asked: Asked) {
        self.opt_in(id);
        let Some(client) = self.client(id) else { return };
        if std::mem::replace(&mut client.rare().logs_in, true) {
            return self.refuse(id, asked, "A login is under way already", None);
        }
        let connection_id = client.connection_id;
        self.logins.push_back(Login { client: id, connection_id, token, asked });
    }

    /// Answers a login: with the grant that the client has from now on, or with why it has none, which ends the connection. `false`
    /// when the client has gone.
    pub fn handle_login(&mut self, login: Login, verdict: Result<Arc<Grant>, &str>, now: Now) -> bool {
        let Login { client: id, connection_id, asked, .. } = login;
        let Some(client) = self.client(id).filter(|client| client.connection_id == connection_id) else {
            return false;
        };
        if matches!(client.mode, Mode::Closing(_) | Mode::Closed) {
            return false;
        }
        client.rare().logs_in = false;
        match verdict {
            Ok(grant) => {
                let tier = self.tiers[usize::from(grant.tier)].name.clone();
                let made = LoggedIn { subject: &grant.subject, tier: &tier, expires: grant.expires };
                let stamp = asked.answered_at(now);
                self.answer(id, |out| reply::logged_in(&made, stamp, out));
                self.handle_grant(id, grant, now);
            }
            Err(reason) => {
                self.refuse(id, asked, &format!("Authentication failed: {reason}"), None);
                self.stats.requests_refused += 1;
                self.close(id, CloseCode::PolicyViolation, reason);
            }
        }
        self.close_flooders();
        true
    }

    /// Gives a client a grant in place of what it had. What it does not cover ends.
    pub fn handle_grant(&mut self, id: ClientId, grant: Arc<Grant>, now: Now) {
        let tier = grant.tier;
        let Some(client) = self.client(id) else { return };
        client.rare().grant = Some(grant);
        self.set_tier(id, tier, now);
    }

    /// Ends a client's grant, and with it the connection: nothing more is sent but why.
    pub fn end_grant(&mut self, id: ClientId, end: GrantEnd) {
        let (code, reason) = match end {
            GrantEnd::Expired => (CloseCode::TokenExpired, "token expired"),
            GrantEnd::Revoked => (CloseCode::NotEntitled, "grant revoked"),
            GrantEnd::NoLogin => (CloseCode::NotAuthenticated, "nobody logged in"),
        };
        if self.client(id).is_some_and(|client| !matches!(client.mode, Mode::Closing(_) | Mode::Closed)) {
            if !planted::is(Bug::GrantEndUntold) {
                self.notify(id, &Notice { text: Some(reason), ..Notice::new(NoticeCode::Revoked) });
            }
            self.close(id, code, reason);
        }
    }

    /// Ends a grant whose time is over, unless its connection ends already.
    pub(super) fn end_expired(&mut self, id: ClientId) -> bool {
        let Some(client) = self.client(id) else { return false };
        if matches!(client.mode, Mode::Closing(_) | Mode::Closed) || planted::is(Bug::GrantEndIgnored) {
            return false;
        }
        let awaits_login = client.grant().is_some_and(|grant| grant.awaits_login);
        self.end_grant(id, if awaits_login { GrantEnd::NoLogin } else { GrantEnd::Expired });
        true
    }

    /// Whether a client may have a stream; a refusal is counted and given as its answer.
    pub(super) fn entitle(&mut self, id: ClientId, stream: StreamKey) -> Result<(), String> {
        self.check_grant(id, stream).map_err(|denied| {
            self.stats.denied[denied.index()] += 1;
            denied.to_string()
        })
    }

    fn check_grant(&self, id: ClientId, stream: StreamKey) -> Result<(), Denied> {
        let Some(client) = self.clients.get(id.index()).and_then(Option::as_ref) else { return Ok(()) };
        // Of the instrument itself: what the client wrote is not looked at any more.
        let symbol = self.symbol(stream);
        if let Some(grant) = client.grant() {
            if grant.awaits_login {
                return Err(Denied::Login);
            }
            grant.coverage.check(stream, symbol)?;
        }
        self.tiers[usize::from(client.tier)].coverage.check(stream, symbol)
    }

    /// Takes one request out of what the client's subject may ask.
    pub(super) fn may_ask(&mut self, id: ClientId, now: Now) -> bool {
        let Some(client) = self.client(id) else { return true };
        let rate = client.grant().and_then(|grant| grant.requests.as_ref());
        let may = rate.is_none_or(|rate| rate.take(now.mono));
        self.stats.requests_over_rate += u64::from(!may);
        may
    }

    /// Ends the subscriptions that the grant does not cover any more. Who opted in is told of each; others would take silence for
    /// quiet, so their connection ends.
    pub(super) fn enforce(&mut self, id: ClientId, now: Now) {
        let count = self.client(id).map_or(0, |client| client.subs.len());
        // From the last on: the last takes the place of one that ends, and was looked at.
        for position in (0..count).rev() {
            let Some(client) = self.client(id) else { return };
            let (stream, ext) = (StreamKey::from(client.subs[position].stream), client.ext);
            if self.check_grant(id, stream).is_ok() || planted::is(Bug::RevocationIgnored) {
                continue;
            }
            if !ext {
                self.stats.subscriptions_revoked += count as u64;
                return self.end_grant(id, GrantEnd::Revoked);
            }
            self.revoke(id, position, now);
        }
    }

    fn revoke(&mut self, id: ClientId, position: usize, now: Now) {
        self.acknowledge_before_end(id, position, now);
        // What was fanned out and not written is not sent any more.
        if !planted::is(Bug::RevokedSent) {
            self.lag_live(id);
        }
        let Some(stream) = self.client(id).map(|client| client.subs[position].stream) else { return };
        self.discard_pending(id, position);
        self.drop_subscription(id, position, now.mono);
        self.stats.subscriptions_revoked += 1;
        let symbol = self.symbol(stream.into()).to_owned();
        if !planted::is(Bug::RevocationUntold) {
            self.notify(id, &Notice::about(NoticeCode::Revoked, stream.into(), &symbol));
        }
        self.make_dirty(id);
    }
}
