//! The answer for people: a heading, a line for each message, the numbers.
//!
//! Makes texts and writes nothing. What programs read is made by serde from the same values.

use std::fmt::Write;

use model::{Channel, DEPTHS, INTERVALS_MIN, Nanos, Policy, StreamKey};
use wire::reply::Terms;
use wire::text::write_time_micros;

use super::plan::{Plan, Window};
use super::plot::plot;
use super::received::{Kind, Received};
use super::summary::Summary;
use super::{Answer, Ending, Scene};

/// A span of time with about three digits.
pub(super) fn span_text(span: Nanos) -> String {
    let (ms, s) = (span.0 as f64 / 1e6, span.0 as f64 / 1e9);
    match span.0 {
        0 => "0 ms".to_owned(),
        1..9_950_000 => format!("{ms:.1} ms"),
        9_950_000..999_500_000 => format!("{ms:.0} ms"),
        999_500_000..99_995_000_000 => format!("{s:.2} s"),
        _ => format!("{s:.1} s"),
    }
}

/// A number with commas.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn count(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// `2026-01-31 23:59:59.123`.
fn wall_text(at: Nanos) -> String {
    let mut out = Vec::new();
    write_time_micros(at, &mut out);
    String::from_utf8_lossy(&out[..23]).replace('T', " ")
}

fn offset_text(offset: Nanos) -> String {
    format!("+{}.{:03} s", offset.0 / 1_000_000_000, offset.0 / 1_000_000 % 1_000)
}

/// What is played to whom.
pub(super) fn heading(scene: &Scene, plan: &Plan) -> String {
    let file = plan.tape.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let mut out = String::new();
    let mut row = |label: &str, text: &str| {
        let _ = writeln!(out, "{label:<8} {text}");
    };
    row(
        "tape",
        &format!(
            "{file}: {} in {}, {} from {}",
            count(scene.events, "event"),
            span_text(scene.span),
            count(scene.symbols as u64, "symbol"),
            wall_text(scene.first)
        ),
    );
    let busiest = if scene.is_chosen && scene.symbols > 1 { "the busiest of the tape, " } else { "" };
    let events = count(scene.symbol_events, "event");
    row("stream", &format!("{} ({busiest}{events})", stream_text(scene.stream, &scene.symbol)));
    let opted = if plan.ext { "opted in to the superset" } else { "did not opt in" };
    row("client", &format!("{opted}; {}", terms_text(&scene.terms, scene.bytes_per_s)));
    if !plan.beside.is_empty() {
        let names: Vec<String> = plan.beside.iter().map(ToString::to_string).collect();
        row("beside", &names.join(", "));
    }
    let mut link = plan.rate.to_string();
    for stall in &plan.stalls {
        let to =
            if stall.to == Window::NEVER { "on".into() } else { format!("to {}", offset_text(stall.to)) };
        let _ = write!(link, ", reads nothing from {} {to}", offset_text(stall.from));
    }
    row("link", &format!("{link}; the kernel holds up to {}", count(scene.held_max, "byte")));
    out + "\n"
}

fn stream_text(stream: StreamKey, symbol: &str) -> String {
    let name = stream.channel().name();
    match stream {
        StreamKey::Book(_, depth) => format!("{name} {symbol}, depth {}", DEPTHS[usize::from(depth)]),
        StreamKey::Ticker(_, trigger) => format!("{name} {symbol}, on {}", trigger.name()),
        StreamKey::Ohlc(_, index) => format!("{name} {symbol}, {} min", INTERVALS_MIN[usize::from(index)]),
        _ => format!("{name} {symbol}"),
    }
}

fn terms_text(terms: &Terms, bytes_per_s: u64) -> String {
    let mut out = format!("policy {}", terms.policy.name());
    if terms.policy == Policy::Disconnect {
        let (ms, entries) = (terms.max_lag_ms, grouped(terms.max_lag_entries.into()));
        let _ =
            write!(out, " beyond {} or {entries} entries of lag", span_text(Nanos::from_millis(ms.into())));
    }
    if terms.interval_ms > 0 {
        let _ = write!(
            out,
            ", at most one update in {}",
            span_text(Nanos::from_millis(terms.interval_ms.into()))
        );
    }
    if bytes_per_s > 0 {
        let _ = write!(out, ", at most {} B/s", grouped(bytes_per_s));
    }
    out
}

/// The names of the columns of [`line`].
pub(super) fn columns() -> String {
    row(["time", "offset", "age", "bytes", "seq", "after"], "message")
}

fn row([time, offset, age, bytes, seq, after]: [&str; 6], message: &str) -> String {
    format!("{time:<12} {offset:>12} {age:>8} {bytes:>9} {seq:>10} {after:>10}  {message}\n")
}

/// One message.
pub(super) fn line(received: &Received, channel: Channel, first: Nanos) -> String {
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let time = wall_text(first + received.offset).split_off(11);
    let age = received.age.map_or_else(|| "-".to_owned(), span_text);
    let (seq, after) = match received.kind {
        Kind::Gap | Kind::Merged | Kind::Resynced => (received.to_seq, received.from_seq),
        _ => (received.seq, received.prev),
    };
    let cells = [
        &*time,
        &offset_text(received.offset),
        &age,
        &grouped(received.bytes as u64),
        &number(seq),
        &number(after),
    ];
    row(cells, &message_text(received, channel))
}

fn message_text(received: &Received, channel: Channel) -> String {
    let text = received.text.as_deref().unwrap_or_default();
    let entries = received.count.unwrap_or_default();
    let elements = received.elements.unwrap_or_default() as u64;
    match received.kind {
        Kind::Status => format!("status {text}"),
        Kind::Subscribed => "subscribed".to_owned(),
        Kind::Snapshot => format!("snapshot of {}", count(elements, noun_of(channel))),
        Kind::Update => {
            let trade = received.trade_id.map(|id| format!(", trade {id}")).unwrap_or_default();
            let merged = received.merged.map(|n| format!(", merged {}", grouped(n))).unwrap_or_default();
            let epoch = received.epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
            format!("update{trade}{merged}{epoch}")
        }
        Kind::Heartbeat => "heartbeat".to_owned(),
        Kind::Lagging => "notice lagging: too slow, served by the policy".to_owned(),
        Kind::Merged => format!("notice merged: the next update stands for {}", grouped(entries)),
        Kind::Gap => format!("notice gap: {} lost", count(entries, "entry").replace("entrys", "entries")),
        Kind::Resynced => format!("notice resynced: {} skipped, a snapshot follows", grouped(entries)),
        Kind::Stale => "notice stale: the data may be wrong".to_owned(),
        Kind::Fresh => "notice fresh: the data is right again".to_owned(),
        Kind::Notice => format!("notice {text}"),
        Kind::Close => format!("close {}: {text}", received.code.unwrap_or_default()),
        Kind::End => "the connection ends without a close frame".to_owned(),
    }
}

/// What there are several of in a snapshot.
const fn noun_of(channel: Channel) -> &'static str {
    match channel {
        Channel::Book => "level",
        Channel::Trade => "trade",
        Channel::Ohlc => "candle",
        Channel::Ticker | Channel::Instrument => "row",
    }
}

/// The numbers.
pub(super) fn summary(answer: &Answer, plan: &Plan) -> String {
    let one = &answer.summary;
    let mut out = String::from("summary\n");
    let mut row = |label: &str, value: &str, text: &str| {
        let line = format!("  {label:<11} {value:>9}  {text}");
        out.push_str(line.trim_end());
        out.push('\n');
    };
    row("entries", &grouped(one.entries), "of the stream, from the subscription to the end");
    let merges =
        if one.merges > 0 { format!(", {} of them merged", grouped(one.merges)) } else { String::new() };
    row("received", &grouped(one.updates), &format!("as an update each{merges}"));
    row("merged", &grouped(one.merged), "away, into the update of a later entry");
    let told = if one.gaps > 0 { format!("told by {}", count(one.gaps, "notice")) } else { String::new() };
    row("lost", &grouped(one.dropped), &told);
    if one.dropped_silently > 0 {
        row("", &grouped(one.dropped_silently), "more, seen only by prev and trade_id");
    }
    if one.covered > 0 {
        row("covered", &grouped(one.covered), "by a snapshot");
    }
    if one.unsent > 0 {
        row("unsent", &grouped(one.unsent), "when everything ended");
    }
    let others = one.messages - one.updates - one.snapshots;
    let kinds = [count(one.updates, "update"), count(one.snapshots, "snapshot"), count(others, "other")];
    row(
        "messages",
        &grouped(one.messages),
        &format!("in {}: {}", count(one.bytes, "byte"), kinds.join(", ")),
    );
    if one.beside_messages > 0 {
        let bytes = count(one.beside_bytes, "byte");
        row(
            "beside",
            &grouped(one.beside_messages),
            &format!("messages in {bytes} of the other subscriptions"),
        );
    }
    numbers_of_time(one, &mut row);
    let (value, text) = end_text(one);
    row("end", value, &text);
    if let Some(equal) = one.equal {
        let value = if equal { "equal" } else { "not equal" };
        let lost = if !equal && one.gaps > 0 { "; what it lacks was told as lost" } else { "" };
        row(one.noun, value, &format!("to the engine's, at seq {}{lost}{}", one.seq, checksums_text(one)));
    }
    let plot = plot(&answer.ages, answer.window, &plan.stalls);
    if plot.is_empty() { out } else { format!("{out}\n{plot}") }
}

fn numbers_of_time(one: &Summary, row: &mut impl FnMut(&str, &str, &str)) {
    if let Some(age) = one.age {
        let [mean, p90, p99, max] = [age.mean, age.p90, age.p99, age.max].map(span_text);
        row(
            "data age",
            &span_text(age.p50),
            &format!("median; mean {mean}, p90 {p90}, p99 {p99}, max {max}"),
        );
    }
    if one.last_data.is_some() {
        let from = offset_text(one.silence_from);
        row("silence", &span_text(one.silence), &format!("at most without data, from {from}"));
    }
    let spells = count(one.lagging_spells, "spell");
    let behind = grouped(one.lag_entries_max);
    row("lagging", &span_text(one.lagging), &format!("in {spells}; at most {behind} entries behind"));
}

fn end_text(one: &Summary) -> (&'static str, String) {
    match &one.end {
        Ending::Live => {
            let last = one.last_data.map(offset_text);
            let last =
                last.map_or_else(|| "no data came".to_owned(), |at| format!("the last data came at {at}"));
            ("live", format!("and has everything; {last}"))
        }
        Ending::Behind => {
            ("behind", "an hour after the tape the client still had not received everything".to_owned())
        }
        Ending::Closed { code, offset, told } => {
            let at = offset_text(*offset);
            let told = if *told { "the client was told" } else { "the client did not read the close frame" };
            ("closed", format!("with {code} at {at}; {told}"))
        }
    }
}

fn checksums_text(one: &Summary) -> String {
    match (one.checksums_right, one.checksums_wrong) {
        (0, 0) => String::new(),
        (right, 0) => format!("; its checksum was right after each of {}", count(right, "message")),
        (right, wrong) => {
            format!("; its checksum was wrong after {} of {}", wrong, count(right + wrong, "message"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_numbers_read_well() {
        for (ns, text) in [
            (0, "0 ms"),
            (300_000, "0.3 ms"),
            (9_960_000, "10 ms"),
            (12_345_678, "12 ms"),
            (999_400_000, "999 ms"),
            (999_600_000, "1.00 s"),
            (1_500_000_000, "1.50 s"),
            (754_321_000_000, "754.3 s"),
        ] {
            assert_eq!(span_text(Nanos(ns)), text);
        }
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(wall_text(Nanos(1_618_678_134_209_999_000)), "2021-04-17 16:48:54.209");
        assert_eq!(offset_text(Nanos(12_345_678_901)), "+12.345 s");
    }
}
