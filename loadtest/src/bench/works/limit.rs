//! The machine's own limit under the load of somebody else's run: the highest load that each floor sustains, and what it makes of
//! that run's own load.
//!
//! Owns nothing that lasts. Clients, symbols, symbols per client and payload are those of the run; its updates arrive at all of its
//! clients, none of which is slow.

use super::{Context, SessionError, top};
use crate::bench::server::Kind;
use crate::bench::work::Work;
use serde::Serialize;
use std::time::Duration;

/// How close the highest load that holds and the lowest that does not come.
const PRECISION: f64 = 0.05;
/// How much longer than a load of the search the run's own load is measured.
const LONGER: u32 = 2;

/// What was asked of the server that was measured before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Load {
    /// Who subscribes to what.
    pub(crate) work: Work,
    /// Bytes of an update.
    pub(crate) payload_bytes: usize,
    /// Updates that reached clients, per second.
    pub(crate) updates_per_s: f64,
}

/// What a floor does with it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Floor {
    /// Name in tables.
    pub(crate) name: String,
    /// Updates to clients per second, at most.
    pub(crate) updates_per_s: f64,
    /// Microseconds of its CPU per update at that load.
    pub(crate) us_per_update: f64,
    /// At the load of the run; none where the floor does not sustain it.
    pub(crate) same_load: Option<SameLoad>,
}

/// A floor under the load of the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SameLoad {
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Microseconds of its CPU per update.
    pub(crate) us_per_update: f64,
}

/// Measures one floor.
pub(crate) fn measure(context: &Context<'_>, kind: &Kind, load: &Load) -> Result<Floor, SessionError> {
    let (top, _) = top::search(context, kind, load.work, PRECISION)?;
    let top = top.ok_or_else(|| SessionError::NotReady("no load is sustained".to_owned()))?;
    Ok(Floor {
        name: kind.name().to_owned(),
        updates_per_s: top.deliveries_per_s(),
        us_per_update: top.us_per_delivery(),
        same_load: same_load(context, kind, load)?,
    })
}

fn same_load(context: &Context<'_>, kind: &Kind, load: &Load) -> Result<Option<SameLoad>, SessionError> {
    let rate = load.updates_per_s / load.work.fan_out();
    let window: Duration = context.scale.window() * LONGER;
    // Less than a few updates say nothing.
    if rate * window.as_secs_f64() < 1.0 {
        return Ok(None);
    }
    let mut session = context.open(kind, load.work, context.setup())?;
    let sample = session.measure(rate, context.scale.warm_up(), window)?;
    Ok(sample.check().is_ok().then(|| SameLoad {
        p50_us: sample.latency.whole.p50,
        p99_us: sample.latency.whole.p99,
        us_per_update: sample.us_per_delivery(),
    }))
}
