//! Clients that never read: what they cost, and what the others see of them.
//!
//! Owns the two settings. Each runs twice in a row, first with none stalled and then with some; the figures are of both.
//! The gateway is told not to close stalled clients meanwhile.

use super::{Context, Scale, Values, column};
use crate::bench::proc::{self, Memory};
use crate::bench::sample::Sample;
use crate::bench::server::Kind;
use crate::bench::session::{SessionError, Setup};
use crate::bench::table::Column;
use crate::bench::work::Work;
use std::time::Duration;

/// Longer than any run, in milliseconds.
const NEVER_CLOSED: [(&str, &str); 1] = [("GATEWAY_LIMITS_STALL_MS", "3600000")];

/// How long a server may take to deliver what readers lack.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);

/// A number of clients, some of which stall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    work: Work,
    stalled: usize,
    /// Updates per second.
    rate: f64,
    span: Duration,
}

pub(super) const COLUMNS: [Column; 15] = [
    column("none_p50_us", "p50 us, none stalled", 1.0, false),
    column("none_p99_us", "p99", 1.0, false),
    column("p50_us", "p50 us, some stalled", 1.0, false),
    column("p99_us", "p99", 1.0, false),
    column("p99_ratio", "p99 ratio", 1.0, false),
    column("resident_kb_per_stalled", "user KiB/stalled", 1024.0, false),
    column("none_growth", "MB grown, none stalled", 1e6, false),
    column("growth", "some stalled", 1e6, false),
    column("kernel_kb_per_stalled", "kernel KiB/stalled", 1024.0, false),
    column("closed", "closed", 1.0, false),
    column("share", "arrived", 1.0, false),
    column("none_us_per_delivery", "us/delivery, none stalled", 1.0, false),
    column("us_per_delivery", "some stalled", 1.0, false),
    column("broken", "lost updates", 1.0, false),
    column("gone", "lost clients", 1.0, false),
];

/// The settings: half of many clients stall for long at one symbol each, so that one core carries it when all read; and a
/// tenth of few clients that take everything stall.
pub(super) fn settings(scale: Scale) -> [Setting; 2] {
    let seconds = if scale.is_full { 7 } else { 1 };
    [
        Setting {
            work: Work { clients: 2_000, symbols: 100, per_client: 1 },
            stalled: 1_000,
            rate: 20_000.0,
            span: scale.stalled_for,
        },
        Setting {
            work: Work { clients: 100, symbols: 100, per_client: 100 },
            stalled: 10,
            rate: 7_000.0,
            span: Duration::from_secs(seconds),
        },
    ]
}

/// One of the two runs.
struct Half {
    sample: Sample,
    before: Memory,
    after: Memory,
    /// Connections at the end of the window.
    open: Option<u64>,
    /// What the server's side of them holds after it.
    connections: Option<proc::Connections>,
}

impl Setting {
    pub(super) fn name(&self) -> String {
        let Self { work, stalled, rate, span } = self;
        format!(
            "{} of {}; {} updates/s, {} s",
            super::grouped(*stalled as u64),
            super::describe(*work),
            super::grouped(*rate as u64),
            span.as_secs()
        )
    }

    pub(super) fn run(&self, context: &Context<'_>, kind: &Kind) -> Result<Values, SessionError> {
        let none = self.half(context, kind, 0)?;
        let some = self.half(context, kind, self.stalled)?;
        Ok(self.values(&none, &some))
    }

    fn half(&self, context: &Context<'_>, kind: &Kind, stalled: usize) -> Result<Half, SessionError> {
        // The load is low enough for every client to check every link.
        let setup = Setup { stalled, witness_every: 1, ..context.setup() };
        let mut session = context.open(&kind.with(&NEVER_CLOSED), self.work, setup)?;
        let before = session.server_memory();
        let sample = session.measure(self.rate, context.scale.warm_up(), self.span)?;
        let after = session.server_memory();
        let port = session.server.target.address.port();
        let open = proc::connections(port).map(|connections| connections.count);
        // When all is delivered that can be, what the kernel still holds is for those that do not read.
        session.settle(SETTLE_LIMIT)?;
        Ok(Half { sample, before, after, open, connections: proc::connections(port) })
    }

    fn values(&self, none: &Half, some: &Half) -> Values {
        let growth = |half: &Half| half.after.resident as f64 - half.before.resident as f64;
        let (quiet, noisy) = (none.sample.latency.whole, some.sample.latency.whole);
        let mut values: Values = [
            ("none_p50_us", quiet.p50 as f64),
            ("none_p99_us", quiet.p99 as f64),
            ("p50_us", noisy.p50 as f64),
            ("p99_us", noisy.p99 as f64),
            ("p99_ratio", noisy.p99 as f64 / quiet.p99 as f64),
            ("none_growth", growth(none)),
            ("growth", growth(some)),
            ("resident_kb_per_stalled", (growth(some) - growth(none)) / self.stalled as f64),
            ("share", some.sample.values()["share"]),
            ("none_us_per_delivery", none.sample.us_per_delivery()),
            ("us_per_delivery", some.sample.us_per_delivery()),
            ("gone", (none.sample.counts.gone + some.sample.counts.gone) as f64),
            ("linked", (none.sample.counts.linked + some.sample.counts.linked) as f64),
            ("broken", (none.sample.counts.broken + some.sample.counts.broken) as f64),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if let Some(open) = some.open {
            let missing = (self.work.clients as u64).saturating_sub(open);
            values.insert("closed".to_owned(), missing as f64);
        }
        if let Some(connections) = some.connections {
            let queued = connections.queued_bytes as f64 / connections.queued.max(1) as f64;
            values.insert("kernel_kb_per_stalled".to_owned(), queued);
        }
        values
    }
}
