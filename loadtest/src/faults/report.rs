//! The report of a fault run: a table of faults, what was lost and how it was told, and every violation.
//!
//! Owns its shape for people and as JSON. Never measures: it is made of what [`super::conduct`] and [`super::crowd`] have seen.

use super::conduct::{Concluded, Incident};
use super::ledger::{Compared, Ledger, Losses};
use super::reference::Record;
use super::schedule::Fault;
use crate::report::{Close, EXIT_CLEAN, EXIT_VIOLATED, Machine, Violations, closes_of, violations_of};
use crate::tally::Tally;
use crate::time;
use crate::violation::Violation;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};
use std::time::Duration;

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Asked {
    pub(crate) duration_s: f64,
    pub(crate) seed: u64,
    pub(crate) clients: u32,
    pub(crate) symbols: usize,
    /// Lines of the feed per second.
    pub(crate) rate: f64,
    /// What limits are multiplied by.
    pub(crate) patience: f64,
}

/// One kind of fault.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    fault: &'static str,
    times: usize,
    /// Of those that everybody recovered from.
    median_s: Option<f64>,
    worst_s: Option<f64>,
    limit_s: f64,
    /// From when the recovery counts.
    counts_from: &'static str,
    connections_ended: u64,
    trades_told_lost: u64,
}

/// One fault that happened.
#[derive(Clone, Debug, Serialize)]
struct Event {
    at_s: f64,
    fault: &'static str,
    what: String,
    recovery_s: Option<f64>,
    connections_ended: u64,
    trades_told_lost: u64,
}

/// The report.
#[derive(Serialize)]
pub(crate) struct Report {
    version: &'static str,
    /// Wall clock at the end of the run, seconds since 1970.
    finished_at: i64,
    clean: bool,
    pub(crate) exit_code: u8,
    machine: Machine,
    asked: Asked,
    ran_s: f64,
    faults: Vec<Row>,
    events: Vec<Event>,
    messages: u64,
    connections: u64,
    trades_received: u64,
    losses: Losses,
    compared: Compared,
    /// Books and last trades that were compared with the feed's when it stood still.
    compared_in_the_end: u64,
    /// Subscriptions of clients that came back: went on, or got a snapshot.
    resumed: [u64; 2],
    notices: BTreeMap<String, u64>,
    closes: Vec<Close>,
    violations: Violations,
}

impl Report {
    /// Compares what clients were sent with what the feed told, and adds everything up.
    pub(super) fn new(asked: Asked, ran: Duration, concluded: Concluded, symbols: &[String]) -> Self {
        let Concluded { incidents, tally, outcome, record } = concluded;
        let mut all = outcome.tally;
        all.violations.merge(tally.violations);
        let compared = compare(&outcome.ledger, &record, symbols, &mut all);
        let clean = all.violations.total() == 0 && outcome.ledger.losses.silent == 0;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            finished_at: time::now() / 1_000_000,
            clean,
            exit_code: if clean { EXIT_CLEAN } else { EXIT_VIOLATED },
            machine: Machine::here(),
            asked,
            ran_s: ran.as_secs_f64(),
            faults: Fault::ALL.into_iter().filter_map(|fault| row(fault, &incidents)).collect(),
            events: incidents.iter().map(event).collect(),
            messages: all.counts.messages,
            connections: outcome.opened,
            trades_received: outcome.ledger.received,
            losses: outcome.ledger.losses,
            compared,
            compared_in_the_end: outcome.compared,
            resumed: all.resumed,
            notices: all.notices.clone(),
            closes: closes_of(&all),
            violations: violations_of(&all),
        }
    }

    /// One JSON object on one line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("the report has only string keys and finite numbers")
    }
}

/// Compares what clients were sent with what the feed told; differences are violations.
pub(super) fn compare(ledger: &Ledger, record: &Record, symbols: &[String], all: &mut Tally) -> Compared {
    ledger.compare(record, |(kind, symbol, expected, got)| {
        all.violations.push(kind, || Violation {
            kind: kind.name(),
            client: None,
            symbol: symbols[symbol].clone(),
            expected,
            got,
            at_us: time::now(),
        });
    })
}

/// The row of a kind; none when it did not happen.
fn row(fault: Fault, incidents: &[Incident]) -> Option<Row> {
    let of_kind: Vec<&Incident> = incidents.iter().filter(|one| one.fault == fault).collect();
    let mut times: Vec<Duration> = of_kind.iter().filter_map(|one| one.recovery).collect();
    times.sort_unstable();
    (!of_kind.is_empty()).then(|| Row {
        fault: fault.name(),
        times: of_kind.len(),
        median_s: times.get(times.len() / 2).map(Duration::as_secs_f64),
        worst_s: times.last().map(Duration::as_secs_f64),
        limit_s: fault.limit().as_secs_f64(),
        counts_from: fault.counts_from(),
        connections_ended: of_kind.iter().map(|one| one.ends).sum(),
        trades_told_lost: of_kind.iter().map(|one| one.told_lost).sum(),
    })
}

fn event(incident: &Incident) -> Event {
    Event {
        at_s: incident.at.as_secs_f64(),
        fault: incident.fault.name(),
        what: incident.what.clone(),
        recovery_s: incident.recovery.map(|time| time.as_secs_f64()),
        connections_ended: incident.ends,
        trades_told_lost: incident.told_lost,
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Asked { clients, symbols, rate, seed, patience, .. } = &self.asked;
        writeln!(f, "machine     {}", self.machine.line())?;
        writeln!(
            f,
            "run         {:.1} s, seed {seed}, {clients} clients, {symbols} symbols, {rate} lines/s",
            self.ran_s
        )?;
        if *patience > 1.0 {
            writeln!(f, "patience    limits are multiplied by {patience}")?;
        }
        writeln!(
            f,
            "\n{:<16}{:>6}{:>9}{:>9}{:>8}{:>7}{:>11}  recovery counts from",
            "fault", "times", "median", "worst", "limit", "ended", "told lost"
        )?;
        for row in &self.faults {
            let shown = |time: Option<f64>| time.map_or_else(|| "never".to_owned(), |s| format!("{s:.2} s"));
            writeln!(
                f,
                "{:<16}{:>6}{:>9}{:>9}{:>8}{:>7}{:>11}  {}",
                row.fault,
                row.times,
                shown(row.median_s),
                shown(row.worst_s),
                format!("{:.0} s", row.limit_s),
                row.connections_ended,
                row.trades_told_lost,
                row.counts_from
            )?;
        }
        writeln!(f, "\nmessages    {}, all verified; {} connections", self.messages, self.connections)?;
        writeln!(
            f,
            "resumed     {} subscriptions went on, {} got a snapshot",
            self.resumed[0], self.resumed[1]
        )?;
        fmt_truth(f, &self.compared, self.compared_in_the_end)?;
        fmt_losses(f, &self.losses, self.trades_received)?;
        fmt_violations(f, &self.violations, &self.closes)?;
        writeln!(f, "result      {}", if self.clean { "clean" } else { "NOT CLEAN" })
    }
}

pub(super) fn fmt_truth(f: &mut Formatter<'_>, compared: &Compared, in_the_end: u64) -> std::fmt::Result {
    let Compared { books, trades, beyond } = compared;
    writeln!(f, "truth       {books} states of books and {trades} trades compared with what the feed told")?;
    if *beyond > 0 {
        writeln!(f, "  {beyond} of them were told to the gateway only, when the feed was killed")?;
    }
    writeln!(f, "  {in_the_end} subscriptions compared with the feed when it stood still")
}

pub(super) fn fmt_losses(f: &mut Formatter<'_>, losses: &Losses, received: u64) -> std::fmt::Result {
    let Losses { by_notice, by_link, by_epoch, by_stale, by_new_subscription, silent } = losses;
    writeln!(
        f,
        "trades      {received} received; told as lost: {by_notice} by a notice, {by_link} by the link,"
    )?;
    writeln!(
        f,
        "  {by_epoch} by a new epoch, {by_stale} as stale when the feed was away, {by_new_subscription} by a new subscription"
    )?;
    writeln!(f, "silent      {silent} losses that were not told")
}

pub(super) fn fmt_violations(f: &mut Formatter<'_>, all: &Violations, closes: &[Close]) -> std::fmt::Result {
    for close in closes {
        let code = close.code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
        writeln!(f, "ended       {code} {:?}, {} times", close.reason, close.count)?;
    }
    writeln!(f, "violations  {}", all.total)?;
    for violation in &all.first {
        let who = violation.client.map_or_else(|| "run".to_owned(), |client| format!("client {client}"));
        writeln!(f, "  {who} {} {}:", violation.symbol, violation.kind)?;
        writeln!(f, "    expected  {}", violation.expected)?;
        writeln!(f, "    got       {}", violation.got)?;
    }
    Ok(())
}
