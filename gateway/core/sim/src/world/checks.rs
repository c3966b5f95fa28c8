//! What must hold after every step, when somebody is closed, and at the end.

use fanout::{ClientId, Limits};
use model::{Channel, Nanos, Side};
use wire::close::CloseCode;

use super::World;
use super::asking::interval_index;
use crate::client::{Sent, SimClient};
use crate::oracle::{Key, View};

/// Stands among the codes that a client may be closed with when its socket took nothing for too long: no code at all.
pub(super) const STALLED: u16 = 0;

/// About what an answer takes.
const ANSWER_BYTES: usize = 250;

impl World {
    /// Per channel the counts add up and are those that are found by counting anew, and nobody was told of more losses than were counted.
    pub(super) fn check_counts(&self) -> Result<(), String> {
        let stats = self.hub.stats();
        let counted = self.hub.recount(|| true).ok_or("a count that nothing interrupts ends")?;
        stats.verdict(&counted).map_err(|what| format!("counts do not add up: {what}"))?;
        let dropped: u64 = stats.channels.iter().map(|counts| counts.dropped).sum();
        let told: u64 = self.clients.iter().map(|client| client.oracle.told_dropped).sum();
        let told = told + self.told_dropped;
        if told > dropped { Err(format!("{told} losses were told, {dropped} counted")) } else { Ok(()) }
    }

    /// Bytes held for a client have a limit, whatever its lag: its answers, one turn's batch, the rest of one frame.
    pub(super) fn check_held_bytes(&self) -> Result<(), String> {
        let limits = &self.limits;
        let frame_bytes_max = self.scenario.frame_bytes_max + self.padded_bytes;
        let max = limits.control_bytes_max + limits.write_bytes_max + frame_bytes_max;
        match self.hub.clients(self.now()).iter().find(|client| client.held_bytes > max) {
            None => Ok(()),
            Some(client) => {
                Err(format!("{} bytes are held for connection {}", client.held_bytes, client.connection_id))
            }
        }
    }

    /// A client is closed for a reason only: plain ones when entries were lost before they reached the hub, others when they
    /// chose it or an operator did, who asks without reading, and who takes nothing for too long.
    pub(super) fn check_close(&mut self, id: ClientId) -> Result<(), String> {
        let Some(client) = self.clients.find(id) else { return Ok(()) };
        let Some(code) = client.oracle.closed else { return Ok(()) };
        let (ext, connection) = (client.oracle.ext, client.connection_id);
        // A request is answered once per symbol; half of the room may be taken by data.
        let answered_most = client.unwritten_most as usize * self.scenario.symbols.max(4) * ANSWER_BYTES;
        let was_refused = client.was_refused || answered_most > self.limits.control_bytes_max / 2;
        let stalled = client.closings.contains(&STALLED);
        if client.closings.contains(&code) {
            let of_grant = [CloseCode::NotEntitled, CloseCode::TokenExpired].map(CloseCode::code);
            self.report.grants_ended += u64::from(of_grant.contains(&code));
            return Ok(());
        }
        let views: Vec<(Key, View)> =
            client.oracle.views.iter().map(|(&key, view)| (key, view.clone())).collect();
        let is = |one: CloseCode| one.code() == code;
        let is_ordered = views.iter().any(|(_, view)| view.ordered);
        let may_close = || stalled || views.iter().any(|(key, view)| self.may_close(*key, view));
        if is(CloseCode::OutOfReach) && (self.scenario.lossy_lane || is_ordered) && !ext {
            self.report.out_of_reach += 1;
        } else if is(CloseCode::SlowConsumer) && may_close() {
            self.report.disconnected += 1;
        } else if is(CloseCode::PolicyViolation) && was_refused {
            self.report.unread += 1;
        } else {
            return Err(format!("connection {connection} (ext {ext}) is closed with {code}"));
        }
        Ok(())
    }

    /// Whether a subscription may have lagged beyond the limits that it chose, as far as an outsider can tell.
    fn may_close(&self, (_, symbol): Key, view: &View) -> bool {
        if view.ordered {
            return true;
        }
        let Some((ms, entries)) = view.lag_limits else { return false };
        let listing = &self.venue.listings[symbol];
        let (epoch, seq) = (self.venue.epoch().0, listing.seq.0);
        let Some(last) = view.last_seq.filter(|_| view.epoch == Some(epoch)) else { return true };
        let entries_max = entries.min(self.scenario.ring_entries.min(Limits::RING_ENTRIES_MIN) as u64);
        // What it lacks is not older than the first event that it was not shown.
        let age = listing.time_after(last).map_or(Nanos(0), |at| self.time().since(at));
        let is_late = seq.saturating_sub(last) > entries_max || age > Nanos::from_millis(ms);
        is_late || self.scenario.lossy_lane
    }

    /// No more trouble: everything is delivered, every book must be right.
    pub(super) fn calm_down(&mut self, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        // Longer than the longest interval of a client, and than a stream lingers.
        const QUIET_STEPS: u64 = 40;
        self.calm = true;
        self.venue.trouble = 0;
        // Nobody is paused for ever, and nobody has less bandwidth than it needs.
        let open = self.clients.iter().filter(|one| one.is_open() && one.has_opted_in());
        for id in open.map(|one| one.id).collect::<Vec<_>>() {
            self.pause_all(id, "resume");
            self.limit_rate(id, 0);
        }
        // One more event each, so that a loss at the very end is seen.
        for _ in 0..self.scenario.symbols * 20 {
            let now = self.time();
            self.venue.happen(&mut self.rng, now);
        }
        self.settle(QUIET_STEPS, watch)?;
        // Everybody has its subscriptions by now: the last trade of all reaches whoever takes trades or candles.
        let now = self.time();
        self.venue.trade_everything(&mut self.rng, now);
        self.settle(1, watch)?;
        self.check_ends()
    }

    /// Goes on for so many steps, and then until everybody has everything.
    fn settle(&mut self, steps_min: u64, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        const CALM_STEPS: u64 = 400;
        // A snapshot that was asked for takes two steps, in which nothing else may be pending.
        const SETTLED_STEPS: u64 = 3;
        let mut settled = 0;
        for step in 0..CALM_STEPS {
            self.turn(watch)?;
            settled = if self.is_settled() { settled + 1 } else { 0 };
            if step > steps_min && settled >= SETTLED_STEPS {
                return Ok(());
            }
        }
        Err("it never settled".into())
    }

    /// Whether everybody has everything.
    fn is_settled(&self) -> bool {
        let pending = self.hub.stats().channels.iter().map(|counts| counts.pending).sum::<u64>();
        pending == 0
            && self.asks.is_empty()
            && self.questions.is_empty()
            && self.market.stale_count() == 0
            && self.clients.iter().all(SimClient::is_idle)
            && self.hub.clients(self.now()).iter().all(|client| client.mode == "live")
    }

    fn check_ends(&self) -> Result<(), String> {
        for client in self.clients.iter() {
            if client.oracle.refusals_due > 0 {
                return Err(format!("connection {} was not refused", client.connection_id));
            }
            if client.oracle.pongs_due > 0 || !client.pings.is_empty() {
                return Err(format!("connection {} was not answered its pings", client.connection_id));
            }
            if let Some(what) = client.oracle.untold() {
                return Err(format!("connection {}: {what}", client.connection_id));
            }
        }
        self.check_books()?;
        self.check_newest()?;
        if self.scenario.feed_trouble > 0 {
            // What the feed lost is missing, and nobody can tell.
            return Ok(());
        }
        let ext = self.clients.iter().filter(|one| one.oracle.ext).map(|one| &one.oracle);
        let (trades, snapshots) = ext.fold((0, 0), |(trades, snapshots), one| {
            (trades + one.trades_missed, snapshots + one.snapshots_missed)
        });
        match (trades, snapshots) {
            (0, 0) => Ok(()),
            (0, _) => Err(format!("{snapshots} subscriptions to trades began without their snapshot")),
            _ => Err(format!("{trades} trades are missing and nobody was told")),
        }
    }

    fn check_books(&self) -> Result<(), String> {
        for (index, listing) in self.venue.listings.iter().enumerate() {
            let symbol = &*listing.instrument.symbol;
            let id = self.decoder.instruments().id(symbol).ok_or("an instrument was never announced")?;
            if self.market.is_stale(id) {
                return Err(format!("{symbol} is still stale: {:?}", self.market.stale_reason(id)));
            }
            for client in self.clients.iter() {
                let Some(view) = client.oracle.views.get(&(Channel::Book, index)) else { continue };
                if view.is_blind() {
                    continue;
                }
                for (side, have) in [(Side::Bid, &view.bids), (Side::Ask, &view.asks)] {
                    let truth = listing.top(side, view.depth);
                    let mut have: Vec<_> = have.iter().map(|(&price, &qty)| (price, qty)).collect();
                    if side == Side::Bid {
                        have.reverse();
                    }
                    if have != truth {
                        return Err(format!(
                            "connection {} has a wrong book of {symbol}: {have:?}, not {truth:?}",
                            client.connection_id
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// What was sent last of everything else is the newest that there is, unless the policy skips it.
    fn check_newest(&self) -> Result<(), String> {
        for client in self.clients.iter() {
            let connection = client.connection_id;
            for (&key, view) in &client.oracle.views {
                if view.told_stale {
                    return Err(format!("connection {connection} believes that {key:?} is stale"));
                }
                if let Some(what) = self.outdated(key, view).filter(|_| !view.skips && !view.ordered) {
                    return Err(format!("connection {connection} has an old {key:?}: {what}"));
                }
            }
        }
        Ok(())
    }

    /// What a client has of a subscription and should not have any more.
    fn outdated(&self, (channel, symbol): Key, view: &View) -> Option<String> {
        let listing = &self.venue.listings[symbol];
        match channel {
            Channel::Book => None,
            Channel::Ticker => {
                let best = |side| listing.top(side, 1).first().map_or(0, |&(price, _)| price);
                let truth = (best(Side::Bid), best(Side::Ask));
                view.quote.filter(|&quote| quote != truth).map(|quote| format!("{quote:?}, not {truth:?}"))
            }
            Channel::Trade => {
                let truth = listing.last_trade();
                (view.last_trade != truth).then(|| format!("{:?}, not {truth:?}", view.last_trade))
            }
            Channel::Ohlc => {
                let id = self.decoder.instruments().id(&listing.instrument.symbol)?;
                let interval = interval_index(symbol) as u8;
                let truth = self.market.candles(id, interval).next_back().map(|candle| candle.trades);
                (view.candle_trades != truth).then(|| format!("{:?}, not {truth:?}", view.candle_trades))
            }
            Channel::Instrument => {
                let halted = view.pairs.iter().find(|(_, status)| *status != "online");
                halted.map(|(symbol, status)| format!("{symbol} is {status}"))
            }
        }
    }
}
