//! The report as people read it.
//!
//! Owns the layout. Never computes: every number comes from [`Report`].

use super::{EXIT_BREACHED, EXIT_CLEAN, GroupShown, Latency, Report};
use crate::conserve::Comparison;
use std::fmt::{Display, Formatter, Result};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.fmt_load(f)?;
        self.fmt_latency(f)?;
        self.fmt_gateway(f)?;
        self.fmt_violations(f)?;
        if let Some(ceiling) = &self.ceiling {
            ceiling.fmt_text(f)?;
        }
        for verdict in &self.thresholds {
            writeln!(f, "threshold   {verdict}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning     {warning}")?;
        }
        let result = match self.exit_code {
            EXIT_CLEAN => "clean",
            EXIT_BREACHED => "clean, but a threshold does not hold",
            _ => "NOT CLEAN",
        };
        writeln!(f, "result      {result}")
    }
}

impl Report {
    fn fmt_load(&self, f: &mut Formatter<'_>) -> Result {
        let (clients, settings) = (&self.clients, &self.settings);
        if let Some(title) = &settings.title {
            writeln!(f, "scenario    {title}")?;
        }
        writeln!(f, "server      {}", settings.url)?;
        writeln!(f, "machine     {}", self.machine.line())?;
        writeln!(
            f,
            "clients     {} of {} connected, {} failed, {} lost, {} closed as slow, {} reconnects; {} symbols",
            clients.connected,
            clients.asked,
            clients.failed,
            clients.lost,
            clients.closed_slow,
            clients.reconnects,
            settings.symbols.len()
        )?;
        for storm in &settings.storms {
            writeln!(f, "storm       {storm}")?;
        }
        writeln!(f, "window      {:.2} s, after a ramp of {:.2} s", self.duration_s, self.ramp_s)?;
        writeln!(f, "messages    {} ({:.0}/s), all verified", self.messages, self.messages_per_s)?;
        writeln!(f, "updates     {} ({:.0}/s), {} merged", self.updates, self.updates_per_s, self.merged)?;
        writeln!(f, "payload     {:.2} MB/s", self.mb_per_s)?;
        write!(f, "generator   {:.0} % of a core", self.cpu.process_percent)?;
        if let Some(rate) = self.cpu.messages_per_cpu_s {
            write!(f, ", {rate:.0} messages per CPU second")?;
        }
        writeln!(f)
    }

    fn fmt_latency(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "latency     {}", shown(&self.latency_us, "updates"))?;
        if self.groups.len() > 1 {
            for group in &self.groups {
                writeln!(
                    f,
                    "  {:<14}{} x {}, {}",
                    group.name,
                    group.clients,
                    group.what(),
                    shown(&group.latency_us, "updates")
                )?;
            }
        }
        writeln!(f, "connecting  {}", shown(&self.connect_us, "handshakes"))?;
        writeln!(f, "answers     {}", shown(&self.answer_us, "answers"))
    }

    fn fmt_gateway(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(gateway) = &self.gateway {
            writeln!(
                f,
                "gateway     {:.0} % of a core, {:.1} MB at most, up to {} clients lagging",
                gateway.cpu_percent, gateway.rss_mb_max, gateway.lagging_max
            )?;
            for stage in &gateway.stages {
                writeln!(f, "  {:<20}p50 {:.0} us, p99 {:.0} us", stage.stage, stage.p50_us, stage.p99_us)?;
            }
        }
        let how = match self.conservation.comparison {
            Comparison::NotAsked => return writeln!(f, "counts      not compared: no admin listener"),
            Comparison::Exact => "equal to what the gateway counts",
            Comparison::AtLeast => {
                "not more than the gateway counts (connections broke off, or others were there)"
            }
        };
        writeln!(f, "counts      what clients received is {how}")?;
        for counts in &self.conservation.channels {
            writeln!(
                f,
                "  {:<10}{} received; {} due: {} written, {} merged, {} dropped, {} discarded",
                counts.name(),
                counts.received,
                counts.fanned_out,
                counts.written,
                counts.merged,
                counts.dropped,
                counts.discarded
            )?;
        }
        if !self.notices.is_empty() {
            let notices: Vec<String> =
                self.notices.iter().map(|(code, count)| format!("{code} {count}")).collect();
            writeln!(f, "notices     {}", notices.join(", "))?;
        }
        if self.resumed != [0, 0] {
            writeln!(f, "resumed     {} went on, {} got a snapshot", self.resumed[0], self.resumed[1])?;
        }
        writeln!(f, "books       {} compared at their end with another client's", self.books_compared)
    }

    fn fmt_violations(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "violations  {}", self.violations.total)?;
        for (kind, count) in self.violations.by_kind.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "  {kind:<24}{count:>10}")?;
        }
        for violation in &self.violations.first {
            let symbol = if violation.symbol.is_empty() { "-" } else { &violation.symbol };
            let who =
                violation.client.map_or_else(|| "gateway".to_owned(), |client| format!("client {client}"));
            writeln!(f, "  {who} {symbol} {}:", violation.kind)?;
            writeln!(f, "    expected  {}", violation.expected)?;
            writeln!(f, "    got       {}", violation.got)?;
        }
        for close in &self.closes {
            let code = close.code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
            writeln!(f, "  closed by the server: {code} {:?}, {} times", close.reason, close.count)?;
        }
        Ok(())
    }
}

impl GroupShown {
    /// Profile, channel and symbols in a few words.
    pub(crate) fn what(&self) -> String {
        let depth = self.depth.map_or_else(String::new, |depth| format!(" {depth}"));
        format!("{} on {}{depth} x {}", self.profile, self.channel.name(), self.symbols_per_client)
    }
}

fn shown(latency: &Option<Latency>, of: &str) -> String {
    latency.as_ref().map_or_else(
        || "none recorded".to_owned(),
        |l| {
            format!(
                "p50 {} us, p90 {} us, p99 {} us, p99.9 {} us, max {} us ({} {of})",
                l.p50, l.p90, l.p99, l.p99_9, l.max, l.count
            )
        },
    )
}
