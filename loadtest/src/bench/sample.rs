//! What one window of time has shown, and whether the server kept up with it.
//!
//! Owns the figures that are worked out of counts. Never measures. Made by [`super::session`], shown by [`super::table`].

use super::crowd::{Counts, Meter, PARTS};
use super::proc::{Memory, Thread};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Share of what is due that must arrive, and of the rate asked for that must be published.
const SHARE_MIN: f64 = 0.985;
/// Median latency of the last part above which a backlog is building up.
const LAST_P50_US_MAX: u64 = 20_000;
/// What the gateway's threads that own clients are called.
const SHARD: &str = "shard-";

/// Latency of one part of a window, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantiles {
    /// Median.
    pub(crate) p50: u64,
    /// Of a hundred, one is slower.
    pub(crate) p99: u64,
    /// Of a thousand, one is slower.
    pub(crate) p999: u64,
}

/// Latency of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Latency {
    /// Of the whole window.
    pub(crate) whole: Quantiles,
    /// Of each part.
    pub(crate) parts: [Quantiles; PARTS],
}

/// A window.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Updates per second that were asked for.
    pub(crate) rate: f64,
    /// Its length.
    pub(crate) span: Duration,
    /// Updates that were published.
    pub(crate) published: u64,
    /// Deliveries that those should have caused.
    pub(crate) due: f64,
    /// What the crowd counted.
    pub(crate) counts: Counts,
    /// What the crowd waited.
    pub(crate) latency: Latency,
    /// CPU time of the server by the name of its threads.
    pub(crate) cpu: BTreeMap<String, Duration>,
    /// Time that the crowd had something to do.
    pub(crate) busy: Duration,
    /// CPU time of the publisher.
    pub(crate) source_cpu: Duration,
    /// How late an update was written, at most, where that is known.
    pub(crate) late: Option<Duration>,
    /// Memory of the server at the end.
    pub(crate) memory: Memory,
}

/// Why a load is not sustained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortfall {
    /// Connections were lost.
    Lost,
    /// The publisher did not keep its rate, most likely because the server did not read.
    Published,
    /// Too little arrived.
    Arrived,
    /// Updates waited longer and longer.
    Backlog,
}

impl Latency {
    /// Of what a meter has recorded.
    pub(crate) fn of(meter: &Meter) -> Self {
        let mut whole = meter.latency(0).clone();
        for part in 1..PARTS {
            whole.add(meter.latency(part)).expect("all parts have the same bounds");
        }
        Self {
            whole: Quantiles::of(&whole),
            parts: std::array::from_fn(|at| Quantiles::of(meter.latency(at))),
        }
    }
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }
}

impl Sample {
    /// CPU time between two readings, by the name of the thread. A thread that is new has had all of its time since.
    pub(crate) fn cpu_between(
        before: &BTreeMap<Thread, Duration>,
        after: &BTreeMap<Thread, Duration>,
    ) -> BTreeMap<String, Duration> {
        let mut times = BTreeMap::new();
        for (thread, time) in after {
            let spent = time.saturating_sub(before.get(thread).copied().unwrap_or_default());
            *times.entry(thread.name.clone()).or_default() += spent;
        }
        times
    }

    /// Whether the server kept up, and what shows that it did not.
    pub(crate) fn check(&self) -> Result<(), Shortfall> {
        let asked = self.rate * self.span.as_secs_f64();
        if self.counts.gone > 0 {
            Err(Shortfall::Lost)
        } else if (self.published as f64) < SHARE_MIN * asked {
            Err(Shortfall::Published)
        } else if (self.counts.updates as f64) < SHARE_MIN * self.due {
            Err(Shortfall::Arrived)
        } else if self.latency.parts[PARTS - 1].p50 > LAST_P50_US_MAX {
            Err(Shortfall::Backlog)
        } else {
            Ok(())
        }
    }

    /// Deliveries per second.
    pub(crate) fn deliveries_per_s(&self) -> f64 {
        self.counts.updates as f64 / self.span.as_secs_f64()
    }

    /// Share of a core that the server used.
    pub(crate) fn server_share(&self) -> f64 {
        self.cpu.values().sum::<Duration>().as_secs_f64() / self.span.as_secs_f64()
    }

    /// Share of its core that crowd and publisher used, in percent.
    pub(crate) fn generator_percent(&self) -> f64 {
        100.0 * (self.busy + self.source_cpu).as_secs_f64() / self.span.as_secs_f64()
    }

    fn per_delivery(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.counts.updates as f64
    }

    /// Server CPU per delivery, all threads, in microseconds.
    pub(crate) fn us_per_delivery(&self) -> f64 {
        self.per_delivery(self.cpu.values().sum())
    }

    /// The figures of every window, by name, for tables and raw results.
    pub(crate) fn values(&self) -> BTreeMap<String, f64> {
        let counts = &self.counts;
        let shard: Duration = self.named(SHARD);
        let whole = self.latency.whole;
        let mut values: BTreeMap<String, f64> = [
            ("rate", self.rate),
            ("deliveries_per_s", self.deliveries_per_s()),
            ("share", counts.updates as f64 / self.due),
            ("us_per_delivery", self.us_per_delivery()),
            ("updates_per_read", counts.updates as f64 / counts.reads as f64),
            ("bytes_per_update", counts.bytes as f64 / counts.updates as f64),
            ("p50_us", whole.p50 as f64),
            ("p99_us", whole.p99 as f64),
            ("p999_us", whole.p999 as f64),
            ("server_percent", 100.0 * self.server_share()),
            ("generator_percent", self.generator_percent()),
            ("publisher_percent", 100.0 * self.source_cpu.as_secs_f64() / self.span.as_secs_f64()),
            ("linked", counts.linked as f64),
            ("broken", counts.broken as f64),
            ("gone", counts.gone as f64),
            ("resident_mb", self.memory.resident as f64 / 1e6),
            ("anonymous_mb", self.memory.anonymous as f64 / 1e6),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        // What writes to clients, where that can be told apart from what else a server does.
        let writing = if shard > Duration::ZERO { shard } else { self.cpu.values().sum() };
        values.insert("writing_us_per_delivery".to_owned(), self.per_delivery(writing));
        if shard > Duration::ZERO {
            values.insert("engine_us_per_update".to_owned(), {
                let others = self.cpu.values().sum::<Duration>() - shard;
                others.as_secs_f64() * 1e6 / self.published as f64
            });
        }
        if let Some(late) = self.late {
            values.insert("late_us".to_owned(), late.as_micros() as f64);
        }
        values
    }

    fn named(&self, prefix: &str) -> Duration {
        self.cpu.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(_, time)| *time).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        let parts = [Quantiles { p50: 1_000, p99: 2_000, p999: 3_000 }; PARTS];
        Sample {
            rate: 1_000.0,
            span: Duration::from_secs(2),
            published: 2_000,
            due: 40_000.0,
            counts: Counts { updates: 40_000, reads: 8_000, bytes: 6_960_000, ..Counts::default() },
            latency: Latency { whole: parts[0], parts },
            cpu: [("shard-0", 60), ("engine", 20)]
                .map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms)))
                .into(),
            busy: Duration::from_millis(400),
            source_cpu: Duration::from_millis(100),
            late: None,
            memory: Memory::default(),
        }
    }

    #[test]
    fn figures_follow_from_the_counts() {
        let values = sample().values();
        for (name, value) in [
            ("deliveries_per_s", 20_000.0),
            ("us_per_delivery", 2.0),
            ("writing_us_per_delivery", 1.5),
            ("engine_us_per_update", 10.0),
            ("updates_per_read", 5.0),
            ("bytes_per_update", 174.0),
            ("server_percent", 4.0),
            ("generator_percent", 25.0),
        ] {
            assert!((values[name] - value).abs() < 1e-9, "{name}: {}", values[name]);
        }
    }

    #[test]
    fn a_load_is_sustained_unless_something_falls_short() {
        let check = |change: fn(&mut Sample)| {
            let mut sample = sample();
            change(&mut sample);
            sample.check()
        };
        assert_eq!(check(|_| {}), Ok(()));
        assert_eq!(check(|s| s.counts.updates = 39_401), Ok(()));
        assert_eq!(check(|s| s.counts.updates = 39_399), Err(Shortfall::Arrived));
        assert_eq!(check(|s| s.published = 1_969), Err(Shortfall::Published));
        assert_eq!(check(|s| s.counts.gone = 1), Err(Shortfall::Lost));
        assert_eq!(check(|s| s.latency.parts[PARTS - 1].p50 = 20_001), Err(Shortfall::Backlog));
        assert_eq!(check(|s| s.latency.parts[0].p50 = 90_000), Ok(()));
    }

    #[test]
    fn threads_of_one_name_are_added_and_new_ones_count_whole() {
        let own = crate::bench::proc::cpu(&[std::process::id()]);
        let after = own.clone();
        assert!(Sample::cpu_between(&own, &after).values().all(Duration::is_zero));
        assert_eq!(
            Sample::cpu_between(&BTreeMap::new(), &after).values().sum::<Duration>(),
            after.values().sum::<Duration>()
        );
    }
}
