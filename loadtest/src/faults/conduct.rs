//! The conductor: does one fault after the other and measures how fast everybody has recovered.
//!
//! Owns the servers, the proxies, the reference and the crowd while they run. Never sees a message. Which fault comes when is drawn
//! by [`super::schedule`]; what happened goes to [`super::report`].
//!
//! Recovered means: every client is connected and has all its subscriptions, and has been sent something verified that happened
//! behind the mark: of each of its books, or of one of its tickers or trades. The mark is where the feed stood at the moment that
//! the time counts from, which [`Fault::counts_from`] names; where servers were replaced, at the moment that they were.

use super::crowd::{Crowd, Excuse, Order, Outcome};
use super::ledger::Losses;
use super::proxy::{Proxy, Weather};
use super::reference::{Place, Record, Reference};
use super::schedule::{Dice, Fault};
use super::servers::{Feed, FeedSettings, Gateway, GatewaySettings};
use crate::conserve;
use crate::gateway::{Scrape, fetch};
use crate::tally::Tally;
use crate::time;
use crate::violation::{Kind, Violation};
use std::fmt::{Display, Formatter};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// After SIGKILL a gateway is started again after this, as deploy/gateway.service says.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// How long a slow or stalled thing lasts.
const SPELL: Duration = Duration::from_millis(1_500);
/// How long callers stay that use up the descriptors.
const CROWDED_FOR: Duration = Duration::from_secs(1);
/// Beyond its limit, a recovery is waited for so long before the run is given up.
const GRACE: Duration = Duration::from_secs(20);
/// How long the gateway may take to close who does not read: it has to notice first.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);
/// How long the gateway may take to end by itself.
const END_LIMIT: Duration = Duration::from_secs(15);
/// Bad requests that must do to fill the disk of the log.
const NONSENSE_MAX: usize = 5_000;
/// Events of each symbol before anybody connects.
const EVENTS_BEFORE: u64 = 60;
/// How long everybody may take to be connected, and in the end to stand where the feed does.
const START_LIMIT: Duration = Duration::from_secs(30);
const END_PATIENCE: Duration = Duration::from_secs(15);

const SHED: &str = "gateway_connections_refused_total{reason=\"descriptors\"}";
const CLOSED_AS_SLOW: &str = "gateway_connections_closed_total{code=\"slow_consumer\"}";
const LINES_LOST: &str = "gateway_log_lines_lost_total{reason=\"not_written\"}";

/// One fault that happened.
#[derive(Clone, Debug)]
pub(super) struct Incident {
    pub(super) fault: Fault,
    /// What exactly.
    pub(super) what: String,
    /// Since the start of the run.
    pub(super) at: Duration,
    /// None when the run was given up.
    pub(super) recovery: Option<Duration>,
    /// Connections that ended.
    pub(super) ends: u64,
    /// Trades told as lost meanwhile.
    pub(super) told_lost: u64,
}

/// A run that is over.
pub(super) struct Concluded {
    pub(super) incidents: Vec<Incident>,
    /// What was wrong with servers and times.
    pub(super) tally: Tally,
    /// What clients saw.
    pub(super) outcome: Outcome,
    pub(super) record: Arc<Record>,
}

/// Everything at work.
pub(super) struct Conductor {
    pub(super) feed: Option<Feed>,
    pub(super) feed_settings: FeedSettings,
    pub(super) epoch: u64,
    pub(super) feed_links: Proxy,
    pub(super) gateway: Gateway,
    pub(super) gateway_settings: GatewaySettings,
    pub(super) client_links: Proxy,
    pub(super) reference: Reference,
    pub(super) crowd: Crowd,
    /// Clients that may be told not to read.
    pub(super) stallers: Vec<u32>,
    pub(super) dice: Dice,
    /// Limits are multiplied by this.
    pub(super) patience: f64,
    pub(super) started: Instant,
    pub(super) incidents: Vec<Incident>,
    /// Losses of everybody, and connections that ended, up to the last incident.
    pub(super) losses: Losses,
    pub(super) ends: u64,
    /// What was wrong with servers and times, beside what clients see.
    pub(super) tally: Tally,
    /// Everybody did not recover: nothing more can be learned.
    pub(super) is_lost: bool,
}

impl Conductor {
    /// Lets everybody connect.
    pub(super) fn gather(&mut self, clients: u32) -> Result<(), String> {
        // Every symbol should have traded, so that snapshots of trades name their epoch.
        self.reference.wait_events(EVENTS_BEFORE)?;
        self.crowd.order(Order::Connect(0..clients, 500))?;
        let anything = vec![(0, 0); self.reference.symbols().len()];
        let told = self.crowd.wait_fresh(anything, Instant::now() + START_LIMIT)?;
        told.map(drop).ok_or_else(|| {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let shared = &self.crowd.shared;
            format!(
                "of {clients} clients {} are served, {} have data",
                count(&shared.served),
                count(&shared.fresh)
            )
        })
    }

    /// Lets a fault happen and waits until everybody has recovered from it.
    pub(super) fn strike(&mut self, fault: Fault) -> Result<(), String> {
        match fault {
            Fault::FeedKilled => self.kill_feed(),
            Fault::FeedCut => self.cut_feed(),
            Fault::FeedDelayed => self.delay_feed(),
            Fault::FeedStalled => self.stall_feed(),
            Fault::GatewayKilled => self.kill_gateway(),
            Fault::GatewayStopped => self.stop_gateway(),
            Fault::LinksCut => self.cut_links(),
            Fault::LinksDelayed => self.delay_links(),
            Fault::LinksStalled => self.stall_links(),
            Fault::ClientsStalled => self.stall_clients(),
            Fault::Descriptors => self.use_up_descriptors(),
            Fault::LogFull => self.fill_log(),
        }
    }

    /// A calm time between two faults.
    pub(super) fn rest(&mut self) {
        sleep(self.dice.millis(300, 1_200));
    }

    fn kill_feed(&mut self) -> Result<(), String> {
        let down = self.dice.millis(100, 1_500);
        self.feed_links.lead(None);
        if let Some(feed) = self.feed.take() {
            feed.kill();
        }
        sleep(down);
        self.epoch += 1;
        let feed = Feed::start(&self.feed_settings, self.epoch)?;
        self.reference.go_on_at(feed.address)?;
        let mark = self.reference.places();
        self.feed_links.lead(Some(feed.address));
        self.feed = Some(feed);
        let what = format!("SIGKILL, again after {} ms as epoch {}", down.as_millis(), self.epoch);
        self.recover(Fault::FeedKilled, what, Instant::now(), mark)
    }

    fn cut_feed(&mut self) -> Result<(), String> {
        let down = self.dice.millis(50, 1_500);
        self.feed_links.lead(None);
        self.feed_links.cut(100);
        sleep(down);
        let mark = self.reference.places();
        self.feed_links.lead(self.feed.as_ref().map(|feed| feed.address));
        self.recover(
            Fault::FeedCut,
            format!("reset, refused for {} ms", down.as_millis()),
            Instant::now(),
            mark,
        )
    }

    fn delay_feed(&mut self) -> Result<(), String> {
        let delay = self.dice.millis(30, 300);
        self.feed_links.change(Weather::Delay(delay), 100);
        sleep(SPELL);
        self.feed_links.change(Weather::Fair, 100);
        let mark = self.reference.places();
        self.recover(Fault::FeedDelayed, format!("{} ms each way", delay.as_millis()), Instant::now(), mark)
    }

    fn stall_feed(&mut self) -> Result<(), String> {
        // The gateway has to notice by itself, and to connect anew: new links are fair.
        let (mark, since) = (self.reference.places(), Instant::now());
        self.feed_links.change(Weather::Stall, 100);
        self.recover(Fault::FeedStalled, "no byte, no end".to_owned(), since, mark)?;
        self.feed_links.change(Weather::Fair, 100);
        Ok(())
    }

    fn kill_gateway(&mut self) -> Result<(), String> {
        self.crowd.shared.excuse(Excuse::Cut);
        self.client_links.lead(None);
        let (mark, since) = (self.reference.places(), Instant::now());
        self.gateway.kill();
        sleep(RESTART_AFTER);
        self.start_gateway()?;
        self.client_links.lead(Some(self.gateway.public));
        let what = format!("SIGKILL, again after {} ms", RESTART_AFTER.as_millis());
        self.recover(Fault::GatewayKilled, what, since, mark)
    }

    /// Starts a gateway in the place of the one that there was, which it returns.
    fn start_gateway(&mut self) -> Result<Gateway, String> {
        if let Some(log) = &self.gateway_settings.log {
            std::fs::write(log, "").map_err(|e| format!("{}: {e}", log.display()))?;
        }
        let gateway = Gateway::start(&self.gateway_settings)?;
        Ok(std::mem::replace(&mut self.gateway, gateway))
    }

    fn stop_gateway(&mut self) -> Result<(), String> {
        let mut old = self.start_gateway()?;
        self.client_links.lead(Some(self.gateway.public));
        self.crowd.shared.excuse(Excuse::Goodbye);
        let since = Instant::now();
        old.terminate()?;
        let status = old.wait(END_LIMIT);
        if !status.is_some_and(|status| status.success()) {
            self.complain(Kind::Misbehaved, "to end by itself with 0 after SIGTERM", format!("{status:?}"));
        }
        let ended = since.elapsed();
        let what = format!("SIGTERM, gone after {} ms, another was there", ended.as_millis());
        let mark = self.reference.places();
        self.recover(Fault::GatewayStopped, what, since, mark)
    }

    fn cut_links(&mut self) -> Result<(), String> {
        let percent = self.dice.between(20, 100) as u32;
        self.crowd.shared.excuse(Excuse::Cut);
        let (mark, since) = (self.reference.places(), Instant::now());
        self.client_links.cut(percent);
        self.recover(Fault::LinksCut, format!("{percent} % reset"), since, mark)
    }

    fn delay_links(&mut self) -> Result<(), String> {
        let (percent, delay) = (self.dice.between(20, 100) as u32, self.dice.millis(30, 400));
        self.client_links.change(Weather::Delay(delay), percent);
        sleep(SPELL);
        self.client_links.change(Weather::Fair, 100);
        let what = format!("{percent} % by {} ms each way", delay.as_millis());
        let mark = self.reference.places();
        self.recover(Fault::LinksDelayed, what, Instant::now(), mark)
    }

    fn stall_links(&mut self) -> Result<(), String> {
        // Shorter than the gateway's patience with who does not read.
        let (percent, stall) = (self.dice.between(20, 100) as u32, self.dice.millis(300, 1_500));
        self.client_links.change(Weather::Stall, percent);
        sleep(stall);
        self.client_links.change(Weather::Fair, 100);
        let what = format!("{percent} % for {} ms", stall.as_millis());
        let mark = self.reference.places();
        self.recover(Fault::LinksStalled, what, Instant::now(), mark)
    }

    fn stall_clients(&mut self) -> Result<(), String> {
        let before = self.gateway.count(CLOSED_AS_SLOW)?;
        self.crowd.order(Order::Stall(self.stallers.clone()))?;
        let (wanted, began) = (self.stallers.len() as u64, Instant::now());
        let mut closed = 0;
        while closed < wanted && began.elapsed() < CLOSE_LIMIT {
            sleep(Duration::from_millis(50));
            closed = self.gateway.count(CLOSED_AS_SLOW)?.saturating_sub(before);
        }
        if closed < wanted {
            let expected = format!("{wanted} clients that do not read to be closed with 4008");
            self.complain(Kind::Misbehaved, &expected, format!("{closed}"));
        }
        let what = format!("{closed} closed with 4008 after {:.1} s", began.elapsed().as_secs_f64());
        let mark = self.reference.places();
        self.crowd.order(Order::Read)?;
        self.recover(Fault::ClientsStalled, what, Instant::now(), mark)
    }

    fn use_up_descriptors(&mut self) -> Result<(), String> {
        let before = self.gateway.count(SHED)?;
        let (mark, since) = (self.reference.places(), Instant::now());
        let calls = 2 * self.gateway_settings.descriptors.unwrap_or(0);
        let call = |_| TcpStream::connect_timeout(&self.gateway.public, Duration::from_secs(1)).ok();
        let callers: Vec<TcpStream> = (0..calls).filter_map(call).collect();
        let what = format!("{} callers", callers.len());
        self.recover(Fault::Descriptors, what, since, mark)?;
        sleep(CROWDED_FOR.saturating_sub(since.elapsed()));
        drop(callers);
        let gone_at = Instant::now();
        let public = self.gateway.public.to_string();
        while let Err(error) = fetch(&public, "/0/public/Time") {
            if gone_at.elapsed() > self.limit(Fault::Descriptors) {
                self.complain(Kind::Misbehaved, "somebody new to be served when the callers are gone", error);
                break;
            }
            sleep(Duration::from_millis(20));
        }
        if self.gateway.count(SHED)? == before {
            self.complain(Kind::Misbehaved, "callers to be shed for want of descriptors", "none".to_owned());
        }
        Ok(())
    }

    fn fill_log(&mut self) -> Result<(), String> {
        let Some(log) = self.gateway_settings.log.clone() else { return Ok(()) };
        let before = self.gateway.count(LINES_LOST)?;
        let mut sent = 0;
        while self.gateway.count(LINES_LOST)? == before && sent < NONSENSE_MAX {
            (0..20).for_each(|_| talk_nonsense(self.gateway.public));
            sent += 20;
        }
        if sent >= NONSENSE_MAX {
            self.complain(Kind::Misbehaved, "lines to be lost on a full disk", "none".to_owned());
        }
        let (mark, since) = (self.reference.places(), Instant::now());
        (0..50).for_each(|_| talk_nonsense(self.gateway.public));
        self.recover(Fault::LogFull, format!("after {sent} bad requests"), since, mark)?;
        // There is room again.
        std::fs::File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let freed_at = Instant::now();
        while std::fs::metadata(&log).map_or(0, |file| file.len()) == 0 {
            talk_nonsense(self.gateway.public);
            if freed_at.elapsed() > self.limit(Fault::LogFull) {
                let expected = "lines to be written when the disk has room again";
                self.complain(Kind::Misbehaved, expected, "none".to_owned());
                break;
            }
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn limit(&self, fault: Fault) -> Duration {
        fault.limit().mul_f64(self.patience)
    }

    /// Waits until everybody has been sent something verified beyond the mark.
    fn recover(
        &mut self,
        fault: Fault,
        what: String,
        since: Instant,
        mark: Vec<Place>,
    ) -> Result<(), String> {
        let limit = self.limit(fault);
        let told = self.crowd.wait_fresh(mark, since + limit + GRACE)?;
        let recovery = told.as_ref().map(|told| told.at.saturating_duration_since(since));
        self.crowd.shared.excuse(Excuse::None);
        if recovery.is_none_or(|recovery| recovery > limit) {
            let fresh = self.crowd.shared.fresh.load(Ordering::Relaxed);
            let got =
                recovery.map_or_else(|| format!("only {fresh} did at all"), |time| format!("{time:.3?}"));
            let expected = format!("everybody to recover within {limit:.1?}: {}, {what}", fault.name());
            self.complain(Kind::RecoveryLate, &expected, got);
        }
        self.is_lost = told.is_none();
        if let Ok(scrape) = Scrape::take(&self.gateway.admin) {
            conserve::check_sum(&scrape, &mut self.tally);
        }
        let ends = self.crowd.shared.ends.load(Ordering::Relaxed);
        let losses = told.map_or(self.losses, |told| told.losses);
        let incident = Incident {
            fault,
            what,
            at: since.saturating_duration_since(self.started),
            recovery,
            ends: ends - std::mem::replace(&mut self.ends, ends),
            told_lost: losses.told() - std::mem::replace(&mut self.losses, losses).told(),
        };
        eprintln!("{incident}");
        self.incidents.push(incident);
        Ok(())
    }

    /// Lets the feed stand still, compares everybody with it, and ends everything.
    pub(super) fn conclude(mut self) -> Result<Concluded, String> {
        let feed = self.feed.as_mut().ok_or("there is no feed in the end")?;
        feed.quiet()?;
        self.reference.settle()?;
        let record = Arc::new(self.reference.finish()?);
        let patience = END_PATIENCE.mul_f64(self.patience);
        self.crowd.order(Order::Conclude(Arc::clone(&record), patience))?;
        let outcome = self.crowd.join()?;
        let Self { incidents, tally, .. } = self;
        Ok(Concluded { incidents, tally, outcome, record })
    }

    fn complain(&mut self, kind: Kind, expected: &str, got: String) {
        complain(&mut self.tally, kind, expected, got);
    }
}

/// Notes what is wrong with a server or a time, and says so at once.
pub(super) fn complain(tally: &mut Tally, kind: Kind, expected: &str, got: String) {
    eprintln!("VIOLATION {}: expected {expected}, got {got}", kind.name());
    tally.violations.push(kind, || Violation {
        kind: kind.name(),
        client: None,
        symbol: String::new(),
        expected: expected.to_owned(),
        got,
        at_us: time::now(),
    });
}

impl Display for Incident {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { fault, what, at, recovery, ends, told_lost } = self;
        let recovery =
            recovery.map_or_else(|| "never".to_owned(), |time| format!("{:.2} s", time.as_secs_f64()));
        let (at, name) = (at.as_secs_f64(), fault.name());
        write!(f, "{at:7.1} s  {name:<16} recovered {recovery:>7}  {ends:>3} connections ended, ")?;
        write!(f, "{told_lost:>4} trades told as lost  ({what})")
    }
}

/// A request that is none, which is worth a line in the gateway's log.
fn talk_nonsense(gateway: SocketAddr) {
    // Whether it is answered does not matter.
    if let Ok(mut stream) = TcpStream::connect_timeout(&gateway, Duration::from_secs(1)) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let _ = stream.write_all(b"NONSENSE\r\n\r\n");
        let _ = stream.read(&mut [0; 64]);
    }
}
