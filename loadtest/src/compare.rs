//! Two reports beside each other.
//!
//! Owns which figures are compared and which direction is the better one. Reads the JSON that `loadtest run --json FILE` writes;
//! what a report does not have is left out.

use crate::report::{EXIT_BREACHED, EXIT_CLEAN};
use clap::Args;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Settings of `loadtest compare`.
#[derive(Args, Debug, Clone)]
pub(crate) struct CompareArgs {
    /// The report to compare with.
    before: PathBuf,
    /// The report to compare.
    after: PathBuf,
    /// Make the exit code 3 when a figure has become worse by more than so many per cent.
    #[arg(long, value_name = "PERCENT")]
    max_worse: Option<f64>,
}

/// Which direction is the better one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
    /// Neither: it says whether the two runs can be compared at all.
    Neither,
}

/// Name, place in the report, unit, direction.
const FIGURES: [(&str, &str, &str, Better); 24] = [
    ("clients", "/clients/connected", "", Better::Neither),
    ("symbols", "/settings/symbols", "", Better::Neither),
    ("window", "/duration_s", "s", Better::Neither),
    ("feed", "/gateway/feed_per_s", "/s", Better::Neither),
    ("messages", "/messages_per_s", "/s", Better::Higher),
    ("updates", "/updates_per_s", "/s", Better::Higher),
    ("payload", "/mb_per_s", "MB/s", Better::Neither),
    ("latency p50", "/latency_us/p50", "us", Better::Lower),
    ("latency p90", "/latency_us/p90", "us", Better::Lower),
    ("latency p99", "/latency_us/p99", "us", Better::Lower),
    ("latency p99.9", "/latency_us/p99_9", "us", Better::Lower),
    ("latency max", "/latency_us/max", "us", Better::Neither),
    ("connecting p50", "/connect_us/p50", "us", Better::Lower),
    ("connecting p99", "/connect_us/p99", "us", Better::Lower),
    ("answers p99", "/answer_us/p99", "us", Better::Lower),
    ("merged", "/merged", "", Better::Neither),
    ("violations", "/violations/total", "", Better::Lower),
    ("lost", "/clients/lost", "", Better::Lower),
    ("failed", "/clients/failed", "", Better::Lower),
    ("gateway CPU", "/gateway/cpu_percent", "%", Better::Lower),
    ("gateway memory", "/gateway/rss_mb_max", "MB", Better::Lower),
    ("gateway lagging", "/gateway/lagging_max", "", Better::Neither),
    ("generator CPU", "/cpu/busiest_thread_percent", "%", Better::Neither),
    ("messages per CPU s", "/cpu/messages_per_cpu_s", "", Better::Neither),
];

/// Prints the table and returns the exit code.
pub(crate) fn run(args: &CompareArgs) -> Result<u8, String> {
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    let (table, worst) = compare(&before, &after);
    println!("{:<20}{:>16}{:>16}{:>10}", "", name(&args.before), name(&args.after), "change");
    print!("{table}");
    let machine = |report: &Value| report.pointer("/machine/processor").cloned();
    if machine(&before) != machine(&after) {
        println!("warning: these runs are of different machines");
    }
    for (report, path) in [(&before, &args.before), (&after, &args.after)] {
        if report.pointer("/cpu/saturated") == Some(&Value::Bool(true)) {
            println!("warning: in {} the generator may have been the limit", path.display());
        }
    }
    match (args.max_worse, worst) {
        (Some(most), Some((figure, worse))) if worse > most => {
            println!("result: {figure} is worse by {worse:.1} %, more than {most} %");
            Ok(EXIT_BREACHED)
        }
        _ => Ok(EXIT_CLEAN),
    }
}

fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let report: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if report["settings"].is_null() || report["violations"].is_null() {
        return Err(format!("{} is no report of loadtest run", path.display()));
    }
    Ok(report)
}

/// A file's name, short enough for its column.
fn name(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.chars().take(15).collect()
}

/// The rows, and which figure became worse by how many per cent, the most.
fn compare(before: &Value, after: &Value) -> (String, Option<(&'static str, f64)>) {
    let (mut table, mut worst) = (String::new(), None::<(&str, f64)>);
    for (figure, place, unit, better) in FIGURES {
        let (Some(old), Some(new)) = (number(before, place), number(after, place)) else { continue };
        let change = change_percent(old, new);
        let worse = match better {
            Better::Higher => -change,
            Better::Lower => change,
            Better::Neither => 0.0,
        };
        if worse > worst.map_or(0.0, |(_, most)| most) {
            worst = Some((figure, worse));
        }
        let verdict = match better {
            Better::Neither => "",
            _ if worse > 5.0 => "  worse",
            _ if worse < -5.0 => "  better",
            _ => "",
        };
        let change = if change.is_finite() { format!("{change:+.1} %") } else { "new".to_owned() };
        let name = if unit.is_empty() { figure.to_owned() } else { format!("{figure}, {unit}") };
        table += &format!("{name:<20}{:>16}{:>16}{change:>10}{verdict}\n", shown(old), shown(new));
    }
    (table, worst)
}

/// A figure; of a list its length.
fn number(report: &Value, place: &str) -> Option<f64> {
    let value = report.pointer(place)?;
    value.as_array().map(|list| list.len() as f64).or_else(|| value.as_f64())
}

/// What was nothing and is something has changed without bounds.
fn change_percent(old: f64, new: f64) -> f64 {
    match (old == 0.0, new == 0.0) {
        (true, true) => 0.0,
        (true, false) => f64::INFINITY,
        _ => 100.0 * (new - old) / old,
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_worst_change_in_the_wrong_direction_is_found() {
        let report = |p99: u64, rate: f64, violations: u64| json!({"latency_us": {"p99": p99}, "messages_per_s": rate, "violations": {"total": violations}});
        let (table, worst) = compare(&report(100, 1_000.0, 0), &report(150, 2_000.0, 0));
        assert_eq!(worst, Some(("latency p99", 50.0)));
        assert!(table.contains("+50.0 %  worse") && table.contains("+100.0 %  better"), "{table}");
        assert_eq!(compare(&report(100, 1_000.0, 0), &report(50, 700.0, 0)).1, Some(("messages", 30.0)));
        assert_eq!(
            compare(&report(100, 1.0, 0), &report(100, 1.0, 3)).1,
            Some(("violations", f64::INFINITY))
        );
        assert_eq!(compare(&report(100, 1.0, 0), &report(100, 1.0, 0)).1, None);
    }
}
