//! Overload and recovery: half of the top, twice the top, half again.
//!
//! Owns the course of it. A server whose cost per message rises with the load stays down; one that drops or merges what
//! it cannot deliver, and says so, is back at once.

use super::{Context, Values, column, top};
use crate::bench::sample::Sample;
use crate::bench::server::Kind;
use crate::bench::session::SessionError;
use crate::bench::table::Column;
use crate::bench::work::Work;
use std::time::Duration;

/// How exact the top has to be known.
const PRECISION: f64 = 0.15;
/// Length of the window before, of each of the two at twice the top, and of each of the two after.
const BEFORE: Duration = Duration::from_secs(1);
const OVER: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_millis(1_500);

pub(super) const COLUMNS: [Column; 13] = [
    column("top_deliveries_per_s", "top, M/s", 1e6, false),
    column("before_p50_us", "p50 ms before", 1e3, false),
    column("over_1_p50_us", "1st s over", 1e3, false),
    column("over_2_p50_us", "2nd s over", 1e3, false),
    column("after_1_p50_us", "1st 1.5 s after", 1e3, false),
    column("after_2_p50_us", "2nd 1.5 s after", 1e3, false),
    column("recovery", "after/before", 1.0, false),
    column("before_us_per_delivery", "us/delivery before", 1.0, false),
    column("over_us_per_delivery", "over", 1.0, false),
    column("share", "arrived in all", 1.0, false),
    column("growth_mb", "MB grown", 1.0, false),
    column("over_generator_percent", "generator % over", 1.0, false),
    column("gone", "lost clients", 1.0, false),
];

/// Figures of the whole course.
pub(super) fn run(context: &Context<'_>, kind: &Kind, work: Work) -> Result<Values, SessionError> {
    let known = context.tops.borrow().get(&(kind.name().to_owned(), work.symbols)).copied();
    let top = match known {
        Some(top) => top,
        None => top::search(context, kind, work, PRECISION)?.0.map_or(0.0, |sample| sample.rate),
    };
    if top == 0.0 {
        return Err(SessionError::NotReady("no load is sustained".to_owned()));
    }
    let mut session = context.open(kind, work, context.setup())?;
    session.set_rate(top / 2.0)?;
    session.run(context.scale.warm_up())?;
    let mut samples = Vec::new();
    for (rate, window) in [(0.5, BEFORE), (2.0, OVER), (2.0, OVER), (0.5, AFTER), (0.5, AFTER)] {
        session.set_rate(top * rate)?;
        samples.push(session.measure_window(top * rate, window)?);
    }
    Ok(values(top * session.fan_out(), &samples))
}

fn values(top: f64, samples: &[Sample]) -> Values {
    let [before, over_1, over_2, after_1, after_2] = samples else { return Values::new() };
    let p50 = |sample: &Sample| sample.latency.whole.p50 as f64;
    let resident = |sample: &Sample| sample.memory.resident as f64;
    let most = samples.iter().map(resident).fold(0.0, f64::max);
    let sum = |value: fn(&Sample) -> f64| samples.iter().map(value).sum::<f64>();
    let over_cpu: Duration = over_1.cpu.values().chain(over_2.cpu.values()).sum();
    let over_updates = (over_1.counts.updates + over_2.counts.updates) as f64;
    [
        ("top_deliveries_per_s", top),
        ("before_p50_us", p50(before)),
        ("over_1_p50_us", p50(over_1)),
        ("over_2_p50_us", p50(over_2)),
        ("after_1_p50_us", p50(after_1)),
        ("after_2_p50_us", p50(after_2)),
        ("recovery", p50(after_1).max(p50(after_2)) / p50(before)),
        ("before_us_per_delivery", before.us_per_delivery()),
        ("over_us_per_delivery", over_cpu.as_secs_f64() * 1e6 / over_updates),
        ("share", sum(|sample| sample.counts.updates as f64) / sum(|sample| sample.due)),
        ("growth_mb", (most - resident(before)) / 1e6),
        ("over_generator_percent", over_1.generator_percent().max(over_2.generator_percent())),
        ("gone", sum(|sample| sample.counts.gone as f64)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
