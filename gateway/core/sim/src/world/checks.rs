//! What must hold after every step, when somebody is closed, and at the end.

use fanout::ClientId;
use model::{Channel, Nanos, Side};
use wire::close::CloseCode;

use super::World;
use crate::client::{Sent, SimClient};
use crate::oracle::{Key, View};

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
        let max = limits.control_bytes_max + limits.write_bytes_max + self.scenario.frame_bytes_max;
        match self.hub.clients(self.now()).iter().find(|client| client.held_bytes > max) {
            None => Ok(()),
            Some(client) => {
                Err(format!("{} bytes are held for connection {}", client.held_bytes, client.connection_id))
            }
        }
    }

    /// A client is closed for a reason only: plain ones when entries were lost before they reached the hub, others when they
    /// chose it, and who asks without reading.
    pub(super) fn check_close(&mut self, id: ClientId) -> Result<(), String> {
        let Some(client) = self.clients.find(id) else { return Ok(()) };
        let Some(code) = client.oracle.closed else { return Ok(()) };
        let (ext, connection) = (client.oracle.ext, client.connection_id);
        let views: Vec<(Key, View)> =
            client.oracle.views.iter().map(|(&key, view)| (key, view.clone())).collect();
        let is = |one: CloseCode| one.code() == code;
        if is(CloseCode::OutOfReach) && self.scenario.lossy_lane && !ext {
            self.report.out_of_reach += 1;
        } else if is(CloseCode::SlowConsumer) && views.iter().any(|(key, view)| self.may_close(*key, view)) {
            self.report.disconnected += 1;
        } else if is(CloseCode::PolicyViolation) {
            self.report.unread += 1;
        } else {
            return Err(format!("connection {connection} (ext {ext}) is closed with {code}"));
        }
        Ok(())
    }

    /// Whether a subscription may have lagged beyond the limits that it chose, as far as an outsider can tell.
    fn may_close(&self, (_, symbol): Key, view: &View) -> bool {
        let Some((ms, entries)) = view.lag_limits else { return false };
        let listing = &self.venue.listings[symbol];
        let (epoch, seq) = (self.venue.epoch().0, listing.seq.0);
        let Some(last) = view.last_seq.filter(|_| view.epoch == Some(epoch)) else { return true };
        let entries_max = entries.min(self.scenario.ring_entries as u64);
        // What it lacks is not older than the first event that it was not shown.
        let age = listing.time_after(last).map_or(Nanos(0), |at| self.time().since(at));
        let is_late = seq.saturating_sub(last) > entries_max || age > Nanos::from_millis(ms);
        is_late || self.scenario.lossy_lane
    }

    /// No more trouble: everything is delivered, every book must be right.
    pub(super) fn calm_down(&mut self, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        const CALM_STEPS: u64 = 400;
        // Longer than the longest interval of a client, and than a stream lingers.
        const QUIET_STEPS: u64 = 40;
        self.calm = true;
        self.venue.trouble = 0;
        // Nobody is paused for ever, and nobody has less bandwidth than it needs.
        let open = self.clients.iter().filter(|one| one.is_open() && one.oracle.ext);
        for id in open.map(|one| one.id).collect::<Vec<_>>() {
            self.pause_all(id, "resume");
            self.limit_rate(id, 0);
        }
        // One more event each, so that a loss at the very end is seen.
        for _ in 0..self.scenario.symbols * 20 {
            let now = self.time();
            self.venue.happen(&mut self.rng, now);
        }
        for step in 0..CALM_STEPS {
            self.turn(watch)?;
            if step > QUIET_STEPS && self.is_settled() {
                break;
            }
        }
        if !self.is_settled() {
            return Err("it never settled".into());
        }
        self.check_ends()
    }

    /// Whether everybody has everything.
    fn is_settled(&self) -> bool {
        let pending = self.hub.stats().channels.iter().map(|counts| counts.pending).sum::<u64>();
        pending == 0
            && self.asks.is_empty()
            && self.market.stale_count() == 0
            && self.clients.iter().all(SimClient::is_idle)
            && self.hub.clients(self.now()).iter().all(|client| client.mode == "live")
    }

    fn check_ends(&self) -> Result<(), String> {
        for client in self.clients.iter() {
            if client.oracle.refusals_due > 0 {
                return Err(format!("connection {} was not refused", client.connection_id));
            }
        }
        self.check_books()?;
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
}
