//! Thresholds: what the result of a run must satisfy.
//!
//! Owns their grammar and the judgement. Never measures: values come by name from [`crate::report`]. The exit code follows in
//! `main`.

use serde::Serialize;
use std::fmt::{Display, Formatter};

/// What `--help` says of thresholds.
pub(crate) const THRESHOLDS_HELP: &str = "\
Thresholds compare a figure with a number by <, <=, >, >= or =, such as `p99 < 20ms`:
  p50, p90, p99, p99.9, max     latency from the feed's event to the receipt, of prompt clients
  connect.p99                   from when a client meant to connect until it was; also p50, max
  subscribe.p99                 from when it meant to ask until it was answered; also p50, max
  messages_per_s                also updates_per_s, mb_per_s
  violations, lost, failed      counts of the run
  gateway.cpu, gateway.rss      per cent of a core; MB at most; with an admin listener
  gateway.end_to_end.p99        also p50, and the stages feed_to_receive, receive_to_publish and
                                publish_to_written
  generator.cpu                 per cent of a core, of the busiest thread
Times have a unit: us, ms or s. A figure that was not measured breaks its threshold.";

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

const OPERATORS: [(&str, Operator); 5] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("<", Operator::Below),
    (">", Operator::Above),
    ("=", Operator::Equal),
];

/// A condition on one figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    /// The name of the figure.
    pub(crate) figure: String,
    operator: Operator,
    /// In the figure's own unit: of times, microseconds.
    bound: f64,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// The threshold as it was given.
    threshold: String,
    /// The figure, when it was measured.
    got: Option<f64>,
    /// Whether it holds.
    pub(crate) holds: bool,
    #[serde(skip)]
    is_time: bool,
}

impl Threshold {
    /// Compares with what was measured.
    pub(crate) fn judge(&self, got: Option<f64>) -> Verdict {
        let holds = got.is_some_and(|got| match self.operator {
            Operator::Below => got < self.bound,
            Operator::AtMost => got <= self.bound,
            Operator::Above => got > self.bound,
            Operator::AtLeast => got >= self.bound,
            Operator::Equal => got == self.bound,
        });
        Verdict { threshold: self.text.clone(), got, holds, is_time: is_time(&self.figure) }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.holds { "holds" } else { "BROKEN" };
        match self.got {
            None => write!(f, "{}: {verdict}, not measured", self.threshold),
            Some(us) if self.is_time => write!(f, "{}: {verdict}, {} us", self.threshold, us.round()),
            Some(got) => write!(f, "{}: {verdict}, {}", self.threshold, (got * 100.0).round() / 100.0),
        }
    }
}

/// Whether a figure is a time.
fn is_time(figure: &str) -> bool {
    let last = figure.rsplit_once('.').map_or(figure, |(_, last)| last);
    figure == "p99.9" || matches!(last, "p50" | "p90" | "p99" | "max")
}

/// Reads `p99 < 20ms`.
pub(crate) fn parse_threshold(text: &str) -> Result<Threshold, String> {
    let wrong = |why: &str| format!("`{text}` is no threshold: {why}");
    let found = OPERATORS.iter().filter_map(|(sign, operator)| Some((text.find(sign)?, *sign, *operator)));
    // The first sign, and of those at one place the longest, which stand first.
    let (at, sign, operator) = found
        .min_by_key(|(at, sign, _)| (*at, 2 - sign.len()))
        .ok_or_else(|| wrong("give <, <=, >, >= or ="))?;
    let (figure, bound) = (text[..at].trim(), text[at + sign.len()..].trim());
    if !FIGURES.contains(&figure) && !is_stage(figure) {
        return Err(wrong(&format!("there is no figure `{figure}`; see --help")));
    }
    let unit_at = bound.find(|c: char| c.is_ascii_alphabetic() && c != 'e').unwrap_or(bound.len());
    let (number, unit) = bound.split_at(unit_at);
    let number: f64 = number.trim().parse().map_err(|_| wrong("behind the sign stands a number"))?;
    let factor = match (is_time(figure), unit.trim()) {
        (true, "us") | (false, "") => 1.0,
        (true, "ms") => 1e3,
        (true, "s") => 1e6,
        (true, _) => return Err(wrong("a time has a unit: us, ms or s")),
        (false, _) => return Err(wrong("this figure has no unit")),
    };
    Ok(Threshold {
        text: text.trim().to_owned(),
        figure: figure.to_owned(),
        operator,
        bound: number * factor,
    })
}

const FIGURES: [&str; 20] = [
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "connect.p50",
    "connect.p99",
    "connect.max",
    "subscribe.p50",
    "subscribe.p99",
    "subscribe.max",
    "messages_per_s",
    "updates_per_s",
    "mb_per_s",
    "violations",
    "lost",
    "failed",
    "gateway.cpu",
    "gateway.rss",
    "generator.cpu",
];

fn is_stage(figure: &str) -> bool {
    let Some((stage, quantile)) = figure.strip_prefix("gateway.").and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    let stages = ["feed_to_receive", "receive_to_publish", "publish_to_written", "end_to_end"];
    stages.contains(&stage) && matches!(quantile, "p50" | "p99")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, got: f64, holds: bool) {
        assert_eq!(parse_threshold(text).unwrap().judge(Some(got)).holds, holds, "{text} {got}");
    }

    #[test]
    fn thresholds_are_read_and_judged() {
        check("p99 < 20ms", 19_999.0, true);
        check("p99 < 20ms", 20_000.0, false);
        check("p99.9<=1.5s", 1_500_000.0, true);
        check("connect.p99 < 300us", 299.0, true);
        check("violations = 0", 1.0, false);
        check("updates_per_s >= 1e6", 1_000_000.0, true);
        check("gateway.publish_to_written.p99 > 1ms", 500.0, false);
        assert!(!parse_threshold("p99 < 20ms").unwrap().judge(None).holds, "not measured");
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        let refused = |text: &str, reason: &str| {
            let error = parse_threshold(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        refused("p99 20ms", "give <");
        refused("p98 < 20ms", "no figure `p98`");
        refused("p99 < 20", "a unit: us, ms or s");
        refused("lost < 1ms", "no unit");
        refused("lost < many", "a number");
        refused("gateway.nowhere.p99 < 1ms", "no figure");
    }
}
