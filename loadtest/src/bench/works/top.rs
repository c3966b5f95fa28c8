//! The highest load that a server sustains, by bisection.
//!
//! Owns nothing that lasts. A server that was driven beyond its top is given time to come back; one that does not is
//! replaced.

use super::{Context, Values};
use crate::bench::sample::Sample;
use crate::bench::search::Search;
use crate::bench::server::Kind;
use crate::bench::session::SessionError;
use crate::bench::work::Work;
use std::time::Duration;

/// Deliveries per second of the first try, where nothing is known.
const FIRST_DELIVERIES: f64 = 200_000.0;
/// Share of a top known before at which the next search begins.
const FIRST_SHARE: f64 = 0.85;
/// How often a load must fail to have failed.
const TRIES_PER_LOAD: u32 = 2;
/// How long a server may take to deliver what is left of a load that was too high.
const SETTLE_LIMIT: Duration = Duration::from_secs(3);

/// Figures at the top.
pub(super) fn run(context: &Context<'_>, kind: &Kind, work: Work) -> Result<Values, SessionError> {
    let (top, tries) = search(context, kind, work, context.scale.precision())?;
    let top = top.ok_or_else(|| SessionError::NotReady("no load is sustained".to_owned()))?;
    let mut values = top.values();
    values.insert("tries".to_owned(), tries.into());
    Ok(values)
}

/// The window at the highest load that held, and how many loads were tried.
pub(super) fn search(
    context: &Context<'_>,
    kind: &Kind,
    work: Work,
    precision: f64,
) -> Result<(Option<Sample>, u32), SessionError> {
    let key = (kind.name().to_owned(), work.symbols);
    let known = context.tops.borrow().get(&key).map(|top| FIRST_SHARE * top);
    let mut search = Search::new(known.unwrap_or_else(|| FIRST_DELIVERIES / work.fan_out()), precision);
    let mut session = context.open(kind, work, context.setup())?;
    let mut top: Option<Sample> = None;
    let mut tries = 0;
    while let Some(rate) = search.next() {
        tries += 1;
        // A load that does not hold is tried again: a moment of other work on the machine must not bound the search.
        let mut held = None;
        for _ in 0..TRIES_PER_LOAD {
            let sample = session.measure(rate, context.scale.warm_up(), context.scale.try_window())?;
            if sample.check().is_ok() {
                held = Some(sample);
                break;
            }
            if sample.counts.gone > 0 || !session.settle(SETTLE_LIMIT)? {
                drop(session);
                session = context.open(kind, work, context.setup())?;
            }
        }
        search.tell(rate, held.is_some());
        if search.top() == Some(rate) {
            top = held;
        }
    }
    if let Some(top) = &top {
        context.tops.borrow_mut().insert(key, top.rate);
    }
    Ok((top, tries))
}
