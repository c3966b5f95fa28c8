//! The figures as text, for files and pipes: everything once, or a line for each interval.
//!
//! Owns the layout. Never computes: every number comes from [`Figures`].

use std::fmt::Write;

use super::admin::Client;
use super::figures::Figures;

/// What stands above the lines.
pub(super) const HEAD: &str =
    "clients lagging   feed/s written/s merged/s dropped/s     MB/s  p99 ms    CPU %   RSS MB\n";

/// One interval as a line.
pub(super) fn line(figures: &Figures) -> String {
    format!(
        "{:>7} {:>7} {:>8} {:>9} {:>8} {:>9} {:>8.2} {:>7} {:>8.0} {:>8.1}\n",
        figures.connections,
        figures.lagging,
        whole(figures.feed),
        whole(figures.written),
        whole(figures.merged),
        whole(figures.dropped),
        figures.bytes / 1e6,
        figures.p99_us().map_or_else(|| "-".to_owned(), |us| format!("{:.2}", us / 1e3)),
        100.0 * figures.cpu(),
        figures.resident_mb,
    )
}

/// Everything.
pub(super) fn everything(figures: &Figures) -> String {
    let mut text = String::new();
    for (name, value) in rows(figures) {
        let _ = writeln!(text, "{name:<20}{value}");
    }
    text.push('\n');
    if figures.clients.is_empty() {
        text.push_str("no client is connected\n");
        return text;
    }
    let _ = writeln!(text, "{}", client_row(&CLIENT_HEAD.map(str::to_owned)));
    for client in &figures.clients {
        let _ = writeln!(text, "{}", client_row(&client_cells(client)));
    }
    text
}

/// Names of the columns of clients.
pub(super) const CLIENT_HEAD: [&str; 10] =
    ["id", "address", "tier", "mode", "policy", "lag", "entries", "dropped", "written", "connected"];

/// One client in columns.
pub(super) fn client_cells(client: &Client) -> [String; 10] {
    [
        client.id.to_string(),
        client.address.clone().unwrap_or_else(|| "-".to_owned()),
        client.tier.clone(),
        client.mode.clone(),
        client.policy.clone().unwrap_or_else(|| "-".to_owned()),
        span(client.lag_age_s),
        client.lag_entries.to_string(),
        client.dropped.to_string(),
        bytes(client.written_bytes as f64),
        span(client.connected_s),
    ]
}

fn client_row(cells: &[String; 10]) -> String {
    let [id, address, tier, mode, policy, lag, entries, dropped, written, connected] = cells;
    format!(
        "{id:>8} {address:<21} {tier:<9} {mode:<8} {policy:<11} {lag:>8} {entries:>8} {dropped:>8} {written:>9} {connected:>9}"
    )
}

/// Name and value of each figure.
pub(super) fn rows(figures: &Figures) -> Vec<(String, String)> {
    let mut rows = vec![
        ("gateway", format!("version {}, up for {}", figures.version, span(figures.uptime_s))),
        ("state", figures.not_ready.clone().unwrap_or_else(|| "ready".to_owned())),
        (
            "clients",
            format!(
                "{} of {} at most, {} lagging",
                figures.connections, figures.connections_max, figures.lagging
            ),
        ),
        (
            "",
            format!(
                "{} subscriptions; {:.1}/s came, {:.1}/s went",
                figures.subscriptions, figures.opened, figures.ended
            ),
        ),
        (
            "feed",
            format!(
                "{} lines/s, {} of {} instruments stale",
                whole(figures.feed),
                figures.stale,
                figures.instruments
            ),
        ),
        ("published", format!("{}/s", whole(figures.published))),
        (
            "delivered",
            format!(
                "{}/s in {} writes/s, {}/s",
                whole(figures.written),
                whole(figures.writes),
                bytes(figures.bytes)
            ),
        ),
        (
            "",
            format!(
                "{}/s merged, {}/s dropped, {} pending",
                whole(figures.merged),
                whole(figures.dropped),
                figures.pending
            ),
        ),
    ];
    if figures.breaches > 0.0 {
        rows.push(("BREACHES", format!("{}: deliveries did not add up, see the log", figures.breaches)));
    }
    let mut rows: Vec<(String, String)> =
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (stage, quantiles) in &figures.stages {
        let value = quantiles
            .map_or_else(|| "-".to_owned(), |[p50, p99]| format!("p50 {}, p99 {}", micros(p50), micros(p99)));
        rows.push(((*stage).replace("_to_", " to ").replace('_', " "), value));
    }
    let shares = figures.threads.iter().filter(|(_, share)| *share >= 0.005);
    let shares: Vec<String> = shares.map(|(kind, share)| format!("{kind} {:.0} %", 100.0 * share)).collect();
    rows.push(("CPU".to_owned(), format!("{:.0} % of a core: {}", 100.0 * figures.cpu(), shares.join(", "))));
    let busy: Vec<String> =
        figures.loops.iter().map(|(name, ratio)| format!("{name} {:.0} %", 100.0 * ratio)).collect();
    rows.push(("busy".to_owned(), busy.join(", ")));
    rows.push(("memory".to_owned(), format!("{:.1} MB", figures.resident_mb)));
    rows
}

/// A rate without decimals.
pub(super) fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn micros(us: f64) -> String {
    match us {
        us if us < 1_000.0 => format!("{us:.0} us"),
        us if us < 1e6 => format!("{:.2} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

fn bytes(count: f64) -> String {
    match count {
        count if count < 1e3 => format!("{count:.0} B"),
        count if count < 1e6 => format!("{:.1} kB", count / 1e3),
        count if count < 1e9 => format!("{:.1} MB", count / 1e6),
        count => format!("{:.1} GB", count / 1e9),
    }
}

fn span(seconds: f64) -> String {
    match seconds {
        0.0 => "-".to_owned(),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3_600.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_below_their_heads() {
        let figures = Figures { connections: 10_000.0, written: 1_234_567.0, ..Figures::default() };
        let line = line(&figures);
        assert_eq!(line.len(), HEAD.len(), "{HEAD}{line}");
        for (name, value) in [("clients", "10000"), ("written/s", "1234567"), ("p99 ms", "-")] {
            let end = HEAD.find(name).map(|at| at + name.len());
            assert_eq!(
                line.find(&format!(" {value} ")).map(|at| at + 1 + value.len()),
                end,
                "{name}\n{HEAD}{line}"
            );
        }
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0.0, 0.25, 12.0, 120.0, 7_200.0, 864_000.0].map(span),
            ["-", "250 ms", "12.0 s", "2 min", "2.0 h", "10 days"]
        );
        assert_eq!([12.0, 1_500.0, 2_500_000.0].map(micros), ["12 us", "1.50 ms", "2.50 s"]);
        assert_eq!([12.0, 1_500.0, 2_500_000.0].map(bytes), ["12 B", "1.5 kB", "2.5 MB"]);
    }
}
