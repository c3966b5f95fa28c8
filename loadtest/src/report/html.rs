//! The report as one page that needs no network: tables, and plots as inline SVG.
//!
//! Owns the layout of the page. Never computes: every number comes from [`Report`]. Texts from outside are escaped.

use super::plot::{Plot, plots};
use super::{EXIT_BREACHED, EXIT_CLEAN, Latency, Report};
use crate::conserve::Comparison;
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The whole page. Fails when a plot cannot be drawn.
pub(crate) fn page(report: &Report) -> Result<String, String> {
    let plots = plots(report)?;
    let title = escaped(report.settings.title.as_deref().unwrap_or("Load test"));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n"
    );
    push_head(&mut page, &title, report);
    push_tiles(&mut page, report);
    push_thresholds(&mut page, report);
    push_plots(&mut page, &plots);
    push_groups(&mut page, report);
    push_gateway(&mut page, report);
    push_ceiling(&mut page, report);
    push_violations(&mut page, report);
    push_settings(&mut page, report);
    page.push_str("</body></html>\n");
    Ok(page)
}

fn push_head(page: &mut String, title: &str, report: &Report) {
    let (class, verdict) = match report.exit_code {
        EXIT_CLEAN => ("good", "clean"),
        EXIT_BREACHED => ("warn", "clean, but a threshold does not hold"),
        _ => ("bad", "not clean"),
    };
    push(page, format_args!("<h1>{title} <span class=\"verdict {class}\">{verdict}</span></h1>\n"));
    if let Some(about) = &report.settings.about {
        push(page, format_args!("<p>{}</p>\n", escaped(about)));
    }
    push(
        page,
        format_args!(
            "<p class=\"note\">{} clients on {}, window of {:.1} s after a ramp of {:.1} s, finished {} UTC. \
             Every message was verified.</p>\n",
            report.clients.asked,
            escaped(&report.settings.url),
            report.duration_s,
            report.ramp_s,
            date(report.finished_at)
        ),
    );
    for warning in &report.warnings {
        push(page, format_args!("<p class=\"warning\">{}</p>\n", escaped(warning)));
    }
}

fn push_tiles(page: &mut String, report: &Report) {
    let latency = |of: fn(&Latency) -> u64| {
        report.latency_us.as_ref().map_or_else(|| "-".to_owned(), |latency| time(of(latency)))
    };
    let gateway =
        |of: fn(&super::GatewayShown) -> String| report.gateway.as_ref().map_or_else(|| "-".to_owned(), of);
    let tiles = [
        ("messages/s", grouped(report.messages_per_s)),
        ("p50", latency(|latency| latency.p50)),
        ("p99", latency(|latency| latency.p99)),
        ("p99.9", latency(|latency| latency.p99_9)),
        ("violations", grouped(report.violations.total as f64)),
        ("gateway CPU", gateway(|gateway| format!("{:.0} %", gateway.cpu_percent))),
        ("gateway memory", gateway(|gateway| format!("{:.0} MB", gateway.rss_mb_max))),
        ("generator CPU", format!("{:.0} %", report.cpu.busiest_thread_percent)),
    ];
    let share = report.ceiling.as_ref().and_then(|ceiling| ceiling.floors.first());
    let share = share.map(|share| ("of the machine's limit", format!("{:.1} %", share.percent)));
    page.push_str("<div class=\"tiles\">");
    for (name, value) in tiles.into_iter().chain(share) {
        push(page, format_args!("<div><b>{value}</b><span>{name}</span></div>"));
    }
    page.push_str("</div>\n");
}

fn push_thresholds(page: &mut String, report: &Report) {
    if report.thresholds.is_empty() {
        return;
    }
    page.push_str("<h2>Thresholds</h2>\n<ul class=\"thresholds\">");
    for verdict in &report.thresholds {
        let class = if verdict.holds { "good" } else { "bad" };
        push(page, format_args!("<li class=\"{class}\">{}</li>", escaped(&verdict.to_string())));
    }
    page.push_str("</ul>\n");
}

fn push_plots(page: &mut String, plots: &[Plot]) {
    page.push_str("<div class=\"plots\">\n");
    for plot in plots {
        push(
            page,
            format_args!(
                "<figure><h2>{}</h2>{}<figcaption>{}</figcaption></figure>\n",
                plot.title, plot.svg, plot.note
            ),
        );
    }
    page.push_str("</div>\n");
}

fn push_groups(page: &mut String, report: &Report) {
    page.push_str("<h2>Latency</h2>\n");
    let head = ["", "what", "count", "p50", "p90", "p99", "p99.9", "max"];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for group in &report.groups {
        rows.push(latency_row(
            &format!("{} x {}", group.name, group.clients),
            &group.what(),
            &group.latency_us,
        ));
    }
    rows.push(latency_row("connecting", "from when a client meant to connect", &report.connect_us));
    rows.push(latency_row("answers", "from when a client meant to ask", &report.answer_us));
    push_table(page, &head, &rows);
}

fn latency_row(name: &str, what: &str, latency: &Option<Latency>) -> Vec<String> {
    let mut row = vec![escaped(name), escaped(what)];
    match latency {
        Some(l) => {
            row.push(grouped(l.count as f64));
            row.extend([l.p50, l.p90, l.p99, l.p99_9, l.max].map(time));
        }
        None => row.extend(std::iter::repeat_n("-".to_owned(), 6)),
    }
    row
}

fn push_gateway(page: &mut String, report: &Report) {
    page.push_str("<h2>Gateway</h2>\n");
    if let Some(gateway) = &report.gateway {
        let row = |stage: &crate::run::timeline::StageLatency| {
            vec![escaped(&stage.stage), time(stage.p50_us as u64), time(stage.p99_us as u64)]
        };
        let rows: Vec<_> = gateway.stages.iter().map(row).collect();
        push_table(page, &["stage, as the gateway measures it", "p50", "p99"], &rows);
    }
    let verdict = match report.conservation.comparison {
        Comparison::NotAsked => "There was no admin listener to ask: the counts were not compared.",
        Comparison::Exact => {
            "What clients received is compared with what the gateway counts: both must be equal."
        }
        Comparison::AtLeast => {
            "What clients received must not be more than the gateway counts; connections broke off, or others were there."
        }
    };
    push(page, format_args!("<p>{verdict}</p>\n"));
    let rows: Vec<Vec<String>> = report
        .conservation
        .channels
        .iter()
        .map(|counts| {
            let mut row = vec![counts.name().to_owned(), grouped(counts.received as f64)];
            let told = [
                counts.fanned_out,
                counts.written,
                counts.merged,
                counts.dropped,
                counts.discarded,
                counts.pending,
            ];
            row.extend(told.map(|count| grouped(count as f64)));
            row
        })
        .collect();
    if !rows.is_empty() {
        push_table(
            page,
            &["channel", "received", "due", "written", "merged", "dropped", "discarded", "pending"],
            &rows,
        );
    }
}

fn push_ceiling(page: &mut String, report: &Report) {
    let Some(ceiling) = &report.ceiling else { return };
    page.push_str("<h2>The machine's own limit</h2>\n");
    push(page, format_args!("<p>Measured after the run: {}.</p>\n", escaped(&ceiling.what())));
    let times = |times: Option<f64>| times.map_or_else(|| "-".to_owned(), |times| format!("x {times:.1}"));
    let row = |share: &super::ceiling::Share| {
        let same = share.floor.same_load;
        let us = |of: fn(&crate::bench::SameLoad) -> u64| {
            same.as_ref().map_or_else(|| "-".to_owned(), |s| time(of(s)))
        };
        vec![
            escaped(&share.floor.name),
            grouped(share.floor.updates_per_s),
            format!("{:.1} %", share.percent),
            us(|same| same.p50_us),
            times(share.p50_times),
            us(|same| same.p99_us),
            times(share.p99_times),
            times(share.cpu_times),
        ]
    };
    let rows: Vec<_> = ceiling.floors.iter().map(row).collect();
    let head = [
        "floor",
        "updates/s",
        "this run",
        "p50 at this load",
        "this run",
        "p99",
        "this run",
        "CPU per update, this run",
    ];
    push_table(page, &head, &rows);
    for why in &ceiling.unmeasured {
        push(page, format_args!("<p class=\"warning\">{}</p>\n", escaped(why)));
    }
}

fn push_violations(page: &mut String, report: &Report) {
    push(page, format_args!("<h2>Violations: {}</h2>\n", report.violations.total));
    let counted = report.violations.by_kind.iter().filter(|(_, count)| **count > 0);
    let rows: Vec<Vec<String>> =
        counted.map(|(kind, count)| vec![(*kind).to_owned(), grouped(*count as f64)]).collect();
    if !rows.is_empty() {
        push_table(page, &["kind", "count"], &rows);
    }
    let rows: Vec<Vec<String>> = report
        .violations
        .first
        .iter()
        .map(|violation| {
            let who = violation.client.map_or_else(|| "gateway".to_owned(), |client| client.to_string());
            let texts = [violation.kind, &violation.symbol, &violation.expected, &violation.got].map(escaped);
            std::iter::once(who).chain(texts).collect()
        })
        .collect();
    if !rows.is_empty() {
        push_table(page, &["client", "kind", "symbol", "expected", "got"], &rows);
    }
    let rows: Vec<Vec<String>> = report
        .closes
        .iter()
        .map(|close| {
            let code = close.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
            vec![code, escaped(&close.reason), grouped(close.count as f64)]
        })
        .collect();
    if !rows.is_empty() {
        push_table(page, &["closed by the server with", "reason", "times"], &rows);
    }
}

fn push_settings(page: &mut String, report: &Report) {
    let settings = &report.settings;
    let mut rows = vec![
        vec!["symbols".to_owned(), settings.symbols.len().to_string()],
        vec!["ramp".to_owned(), format!("{} connections/s", settings.ramp)],
        vec!["threads of the generator".to_owned(), settings.threads.to_string()],
        vec!["source addresses".to_owned(), settings.sources.to_string()],
        vec!["messages".to_owned(), grouped(report.messages as f64)],
        vec!["updates, merged".to_owned(), format!("{}, {}", grouped(report.updates as f64), report.merged)],
        vec!["payload".to_owned(), format!("{:.1} MB/s", report.mb_per_s)],
        vec!["connections failed, lost, closed as slow".to_owned(), {
            let clients = &report.clients;
            format!("{}, {}, {}", clients.failed, clients.lost, clients.closed_slow)
        }],
        vec!["reconnects".to_owned(), report.clients.reconnects.to_string()],
        vec!["books compared with another client's".to_owned(), report.books_compared.to_string()],
        vec!["machine of the generator".to_owned(), escaped(&report.machine.line())],
        vec!["version".to_owned(), report.version.to_owned()],
    ];
    for storm in &settings.storms {
        rows.push(vec!["storm".to_owned(), escaped(storm)]);
    }
    if let Some(rate) = settings.feed_rate {
        rows.push(vec!["feed".to_owned(), format!("{rate} lines/s")]);
    }
    page.push_str("<h2>Run</h2>\n");
    push_table(page, &[], &rows);
}

/// Cells are HTML already; without a head there is none.
fn push_table(page: &mut String, head: &[&str], rows: &[Vec<String>]) {
    page.push_str("<div class=\"wide\"><table>");
    if !head.is_empty() {
        page.push_str("<thead><tr>");
        head.iter().for_each(|name| push(page, format_args!("<th>{name}</th>")));
        page.push_str("</tr></thead>");
    }
    page.push_str("<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        row.iter().for_each(|cell| push(page, format_args!("<td>{cell}</td>")));
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("a text takes what is written");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Microseconds in the unit that fits.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// A whole number with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// `2026-02-03 04:05:06` of seconds since 1970.
fn date(seconds: i64) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = crate::time::civil(days);
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped_and_numbers_read_well() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
        assert_eq!([0.0, 999.0, 1_000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([7, 1_500, 2_000_000].map(time), ["7 us", "1.50 ms", "2.00 s"]);
        assert_eq!(date(1_770_091_506), "2026-02-03 04:05:06");
    }
}
