//! The report as people read it.
//!
//! Owns the layout. Never computes: every number comes from [`Report`].

use super::Report;
use std::fmt::{Display, Formatter, Result};

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.fmt_load(f)?;
        self.fmt_latency(f)?;
        self.fmt_violations(f)?;
        for warning in &self.warnings {
            writeln!(f, "warning     {warning}")?;
        }
        writeln!(f, "result      {}", if self.clean { "clean" } else { "NOT CLEAN" })
    }
}

impl Report<'_> {
    fn fmt_load(&self, f: &mut Formatter<'_>) -> Result {
        let (clients, settings) = (&self.clients, &self.settings);
        writeln!(f, "server      {}", settings.url)?;
        writeln!(
            f,
            "clients     {} of {} connected, {} failed, {} lost; {} x {} of {} symbols",
            clients.connected,
            clients.asked,
            clients.failed,
            clients.lost,
            settings.channel.name(),
            settings.symbols_per_client,
            settings.symbols.len()
        )?;
        writeln!(f, "window      {:.2} s, after a ramp of {:.2} s", self.duration_s, self.ramp_s)?;
        writeln!(f, "messages    {} ({:.0}/s)", self.messages, self.messages_per_s)?;
        writeln!(f, "updates     {} ({:.0}/s), {} merged", self.updates, self.updates_per_s, self.merged)?;
        writeln!(f, "payload     {:.2} MB/s", self.mb_per_s)?;
        write!(f, "generator   {:.0} % of a core", self.cpu.process_percent)?;
        if let Some(rate) = self.cpu.messages_per_cpu_s {
            write!(f, ", {rate:.0} messages per CPU second")?;
        }
        writeln!(f)
    }

    fn fmt_latency(&self, f: &mut Formatter<'_>) -> Result {
        let Some(l) = &self.latency_us else { return writeln!(f, "latency     none recorded") };
        writeln!(
            f,
            "latency     p50 {} us, p90 {} us, p99 {} us, p99.9 {} us, max {} us ({} updates)",
            l.p50, l.p90, l.p99, l.p99_9, l.max, l.count
        )
    }

    fn fmt_violations(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "violations  {}", self.violations.total)?;
        for (kind, count) in self.violations.by_kind.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "  {kind:<24}{count:>10}")?;
        }
        for violation in &self.violations.first {
            let symbol = if violation.symbol.is_empty() { "-" } else { &violation.symbol };
            writeln!(f, "  client {} {symbol} {}:", violation.client, violation.kind)?;
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
