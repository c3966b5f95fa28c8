//! Connections themselves: what holding one costs, and what making one costs.
//!
//! Owns the two works `idle` and `storm`. In the first nothing is published, so that all CPU time is of the handshakes.

use super::{Context, IN_FLIGHT, Values, column};
use crate::bench::proc;
use crate::bench::server::Kind;
use crate::bench::session::{SessionError, Setup};
use crate::bench::table::Column;
use crate::bench::work::Work;
use std::time::Duration;

/// Clients of `idle`: all that the limit of open files of most machines allows, and fewer for a quick look.
const CLIENTS_FULL: usize = 10_000;
const CLIENTS_SMALL: usize = 2_000;
/// Symbols of `idle`, one per client.
const SYMBOLS: usize = 100;
/// Until a server has handled the last request, and until its memory is what it stays.
const HANDLED: Duration = Duration::from_millis(300);
const AT_REST: Duration = Duration::from_secs(1);
/// A heartbeat to each client every second would count as the cost of handshakes.
const QUIET: [(&str, &str); 2] =
    [("GATEWAY_LIMITS_HEARTBEAT_MS", "60000"), ("GATEWAY_LIMITS_STALL_MS", "60000")];
/// Clients that see the storm, and what they get.
const BYSTANDERS: Work = Work { clients: 100, symbols: 100, per_client: 10 };
const BYSTANDERS_RATE: f64 = 1_000.0;

pub(super) const IDLE: [Column; 6] = [
    column("clients", "clients", 1.0, false),
    column("user_bytes", "user bytes/client", 1.0, true),
    column("resident_bytes", "resident bytes/client", 1.0, false),
    column("kernel_bytes", "socket bytes/client", 1.0, false),
    column("us_per_handshake", "CPU us/handshake", 1.0, true),
    column("handshakes_per_s", "handshakes/s", 1.0, true),
];

pub(super) const STORM: [Column; 7] = [
    column("connects_per_s", "connects/s", 1.0, true),
    column("us_per_connect", "CPU us/connect", 1.0, true),
    column("failed", "failed", 1.0, false),
    column("calm_p50_us", "others' p50 us before", 1.0, false),
    column("calm_p99_us", "p99", 1.0, false),
    column("p50_us", "p50 us meanwhile", 1.0, false),
    column("p99_us", "p99", 1.0, false),
];

/// Memory of connections that nothing is sent to, and CPU of making them.
pub(super) fn idle(context: &Context<'_>, kind: &Kind) -> Result<Values, SessionError> {
    let clients = if context.scale.is_full { CLIENTS_FULL } else { CLIENTS_SMALL };
    let work = Work { clients, symbols: SYMBOLS, per_client: 1 };
    let mut session = context.start(&kind.with(&QUIET), work, context.setup())?;
    // The first ones make the server prepare for each symbol, which is no cost of a connection.
    session.join(SYMBOLS)?;
    session.run(AT_REST)?;
    let (memory, cpu, sockets) = (session.server_memory(), session.server_cpu(), proc::socket_memory());
    let span = session.join(clients)?;
    session.run(HANDLED)?;
    let cpu = session.server_cpu().saturating_sub(cpu);
    session.run(AT_REST)?;
    let (memory_after, sockets_after) = (session.server_memory(), proc::socket_memory());
    // Only now, because publishing would leave its traces in the memory.
    session.try_subscriptions()?;
    let clients = (clients - SYMBOLS) as f64;
    let per_client = |before: u64, after: u64| (after as f64 - before as f64) / clients;
    let mut values: Values = [
        ("clients", clients),
        ("user_bytes", per_client(memory.anonymous, memory_after.anonymous)),
        ("resident_bytes", per_client(memory.resident, memory_after.resident)),
        ("us_per_handshake", cpu.as_secs_f64() * 1e6 / clients),
        ("handshakes_per_s", clients / span.as_secs_f64()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if let (Some(before), Some(after)) = (sockets, sockets_after) {
        values.insert("kernel_bytes".to_owned(), per_client(before, after));
    }
    Ok(values)
}

/// Connections that leave as soon as they are upgraded, as fast as they can be made.
pub(super) fn storm(context: &Context<'_>, kind: &Kind) -> Result<Values, SessionError> {
    let setup = Setup { witness_every: 1, ..context.setup() };
    let mut session = context.open(kind, BYSTANDERS, setup)?;
    let calm = session.measure(BYSTANDERS_RATE, context.scale.warm_up(), context.scale.window())?;
    let span = context.scale.window() * 2;
    let cpu = session.server_cpu();
    session.crowd.meter.reset(1);
    let connects = session.crowd.storm(IN_FLIGHT, span)? as f64;
    let cpu = session.server_cpu().saturating_sub(cpu);
    let latency = crate::bench::sample::Latency::of(&session.crowd.meter).whole;
    // What the bystanders cost is not the storm's.
    let own = cpu.as_secs_f64() - calm.server_share() * span.as_secs_f64();
    Ok([
        ("connects_per_s", connects / span.as_secs_f64()),
        ("us_per_connect", own * 1e6 / connects),
        ("failed", session.crowd.meter.counts.gone as f64),
        ("broken", session.crowd.meter.counts.broken as f64),
        ("calm_p50_us", calm.latency.whole.p50 as f64),
        ("calm_p99_us", calm.latency.whole.p99 as f64),
        ("p50_us", latency.p50 as f64),
        ("p99_us", latency.p99 as f64),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect())
}
