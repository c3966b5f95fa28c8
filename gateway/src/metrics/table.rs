//! The table: every metric of the gateway with its help, its labels, and where its numbers come from. Buckets are those of the
//! quantity that a histogram counts, in `gateway/core/fanout/src/histogram.rs`.

use auth::Refusal;
use fanout::{ChannelStats, Denied};
use market::StaleReason;
use model::{Channel, Policy};
use wire::close::CloseCode;
use wire::reply::NoticeCode;

use super::family::{Metric, Series, by, by_two, counter, gauge, histogram, one, whole, wholes};
use super::threads::{KINDS, ThreadTimes};
use super::{Counts, seconds};
use crate::busy::LoopStats;
use crate::feed::FeedLoss;
use crate::http::Reason;
use crate::logs::LOSSES;

/// Every metric of the gateway; those of the process come from the library.
pub const METRICS: &[Metric] = &[
    gauge("gateway_build_info", "1, with the version as label", &["version"], |_| {
        wholes([(env!("CARGO_PKG_VERSION"), 1)])
    }),
    gauge("gateway_stopping", "1 while the gateway ends", &[], |c| whole(u64::from(c.stopping))),
    gauge("gateway_connections", "Open WebSocket connections", &[], |c| whole(c.shards.hub.clients)),
    gauge("gateway_connections_max", "Most connections that are taken", &[], |c| whole(c.connections_max)),
    gauge("gateway_tier_connections", "Open WebSocket connections by tier", &["tier"], |c| {
        wholes(c.tiers.iter().cloned().zip(c.shards.hub.tiers.iter().copied()))
    }),
    gauge("gateway_handshakes", "Open HTTP connections that are not upgraded", &[], |c| whole(c.handshakes)),
    counter("gateway_connections_opened_total", "Upgraded connections", &[], |c| whole(c.opened)),
    counter("gateway_connections_refused_total", "Connections and upgrades refused", &["reason"], |c| {
        wholes(Reason::ALL.map(Reason::name).into_iter().zip(c.refusals))
    }),
    counter("gateway_auth_accepted_total", "Credentials that were accepted", &["kind"], |c| {
        wholes(["token", "api_key"].into_iter().zip(c.auth_accepted))
    }),
    counter(
        "gateway_auth_refusals_total",
        "Credentials that were refused, or were missing",
        &["reason"],
        |c| wholes(Refusal::ALL.map(Refusal::name).into_iter().zip(c.auth_refused)),
    ),
    counter(
        "gateway_auth_reloads_total",
        "Times that keys and revocations were read again",
        &["result"],
        |c| wholes(["ok", "failed"].into_iter().zip(c.auth_reloads)),
    ),
    gauge("gateway_auth_entries", "Keys and revocations in force", &["kind"], |c| {
        wholes(["key", "api_key", "revocation"].into_iter().zip(c.auth_sizes))
    }),
    counter(
        "gateway_entitlement_refusals_total",
        "Subscriptions that a grant does not cover, by what is not covered",
        &["what"],
        |c| wholes(Denied::NAMES.into_iter().zip(c.shards.hub.denied)),
    ),
    counter(
        "gateway_subscriptions_revoked_total",
        "Subscriptions that ended because their grant no longer covers them",
        &[],
        |c| whole(c.shards.hub.subscriptions_revoked),
    ),
    counter(
        "gateway_connections_closed_total",
        "Connections closed with a close frame, by its code",
        &["code"],
        |c| wholes(CloseCode::ALL.map(CloseCode::name).into_iter().zip(c.shards.hub.closes)),
    ),
    counter("gateway_connections_broken_total", "Connections that ended without a close frame", &[], |c| {
        whole(c.shards.hub.broken)
    }),
    gauge("gateway_clients_lagging", "Clients that are behind at this moment", &[], |c| {
        whole(c.shards.hub.lagging)
    }),
    gauge("gateway_subscriptions", "Subscriptions", &["channel", "policy"], subscriptions),
    counter("gateway_requests_total", "Messages from clients", &["result"], |c| {
        let (all, refused) = (c.shards.hub.requests, c.shards.hub.requests_refused);
        wholes([("accepted", all.saturating_sub(refused)), ("refused", refused)])
    }),
    counter("gateway_resumes_total", "Subscriptions of clients that came back", &["result"], |c| {
        wholes(["recovered", "snapshot"].into_iter().zip(c.shards.hub.resumed))
    }),
    counter("gateway_limit_refusals_total", "Refusals and closes by the limit reached", &["limit"], |c| {
        wholes(limit_refusals(c))
    }),
    gauge("gateway_memory_budget_bytes", "Most resident memory that the process should use", &[], |c| {
        whole(c.memory_budget)
    }),
    gauge("gateway_memory_tight", "1 while new work is refused because memory is short", &[], |c| {
        whole(u64::from(c.memory_tight))
    }),
    counter(
        "gateway_tls_reloads_total",
        "Times that certificate and key were read again",
        &["result"],
        |c| wholes(["renewed", "refused"].into_iter().zip(c.tls_reloads)),
    ),
    gauge("gateway_files_unusable", "1 while files that were changed cannot be used", &["files"], |c| {
        wholes(["keys", "certificate"].into_iter().zip(c.unusable.map(u64::from)))
    }),
    counter("gateway_log_lines_lost_total", "Log lines that were not written", &["reason"], |c| {
        wholes(LOSSES.into_iter().zip(c.log_lines_lost))
    }),
    counter("gateway_notices_total", "Notices encoded for clients", &["code"], |c| {
        wholes(NoticeCode::ALL.map(NoticeCode::name).into_iter().zip(c.shards.hub.notices))
    }),
    gauge("gateway_feed_connected", "1 while the feed is connected", &[], |c| {
        whole(u64::from(c.engine.feed_connected))
    }),
    counter(
        "gateway_feed_losses_total",
        "Connections to the feed that ended or could not be made",
        &["reason"],
        |c| wholes(FeedLoss::ALL.map(FeedLoss::name).into_iter().zip(c.engine.feed_losses)),
    ),
    gauge("gateway_feed_silence_seconds", "Time since the last line of the feed", &[], |c| {
        one(seconds(c.engine.feed_silence.0))
    }),
    counter("gateway_feed_events_total", "Lines of the feed by type", &["type"], |c| {
        wholes(c.engine.feed_events.iter())
    }),
    counter("gateway_feed_rejects_total", "What the feed said and was not applied", &["reason"], |c| {
        wholes(feed_rejects(c))
    }),
    gauge("gateway_instruments", "Instruments that the feed announced", &[], |c| {
        whole(c.engine.instruments as u64)
    }),
    gauge("gateway_instruments_stale", "Instruments whose data is stale", &[], |c| {
        whole(c.engine.instruments_stale as u64)
    }),
    gauge(
        "gateway_instruments_stale_seconds",
        "Time since all instruments were fresh, 0 while they are",
        &[],
        |c| one(seconds(c.engine.stale_for.0)),
    ),
    counter(
        "gateway_instruments_went_stale_total",
        "Times that a fresh instrument became stale",
        &["reason"],
        |c| {
            // Who was never fresh cannot become stale.
            let reasons = StaleReason::ALL.map(StaleReason::name).into_iter().zip(c.engine.went_stale);
            wholes(reasons.filter(|&(name, _)| name != StaleReason::Never.name()))
        },
    ),
    counter("gateway_updates_published_total", "Entries that the engine encoded", &["channel"], |c| {
        wholes(Channel::ALL.map(Channel::name).into_iter().zip(c.engine.published))
    }),
    counter("gateway_snapshots_total", "Snapshots that the engine encoded", &[], |c| {
        whole(c.engine.snapshots)
    }),
    counter("gateway_deliveries_fanned_out_total", "Entries times their subscribers", &["channel"], |c| {
        per_channel(c, |channel| channel.fanned_out)
    }),
    counter(
        "gateway_deliveries_written_total",
        "Deliveries handed to a socket as a message",
        &["channel"],
        |c| per_channel(c, |channel| channel.written),
    ),
    counter(
        "gateway_deliveries_merged_total",
        "Deliveries folded into a later message to a client that lagged",
        &["channel"],
        |c| per_channel(c, |channel| channel.merged),
    ),
    counter(
        "gateway_deliveries_dropped_total",
        "Deliveries lost to a client that was told",
        &["channel"],
        |c| per_channel(c, |channel| channel.dropped),
    ),
    counter(
        "gateway_deliveries_discarded_total",
        "Deliveries not written when their subscription ended",
        &["channel"],
        |c| per_channel(c, |channel| channel.discarded),
    ),
    gauge("gateway_deliveries_pending", "Deliveries between the cursors and the heads", &["channel"], |c| {
        per_channel(c, |channel| channel.pending)
    }),
    counter("gateway_overruns_total", "Times that a shard could not write as much as came", &[], |c| {
        whole(c.shards.hub.overruns)
    }),
    counter("gateway_conservation_audits_total", "Times that everything was counted anew", &[], |c| {
        whole(c.shards.hub.audits)
    }),
    counter(
        "gateway_conservation_breaches_total",
        "Times that the deliveries did not add up: a mistake of the gateway",
        &[],
        |c| whole(c.shards.hub.conservation_breaches),
    ),
    histogram(
        "gateway_lag_age_seconds",
        "Age of what lagging clients lack, taken twice a second",
        &[],
        |c| one((&c.shards.hub.lag_age).into()),
    ),
    histogram("gateway_lag_entries", "Entries that lagging clients lack, taken twice a second", &[], |c| {
        one((&c.shards.hub.lag_entries).into())
    }),
    histogram("gateway_write_messages", "Deliveries of each write that carried any", &[], |c| {
        one((&c.shards.hub.write_messages).into())
    }),
    counter("gateway_writes_total", "Writes to sockets", &[], |c| whole(c.shards.hub.writes)),
    counter("gateway_writes_blocked_total", "Writes that a socket did not take whole", &[], |c| {
        whole(c.shards.hub.writes_blocked)
    }),
    counter("gateway_written_bytes_total", "Bytes that sockets took", &[], |c| {
        whole(c.shards.hub.bytes_written)
    }),
    counter("gateway_read_bytes_total", "Bytes that clients sent", &[], |c| whole(c.shards.read_bytes)),
    counter("gateway_heartbeats_total", "Heartbeats written", &[], |c| whole(c.shards.hub.heartbeats)),
    counter("gateway_merges_encoded_total", "Merged book updates that had to be encoded", &[], |c| {
        whole(c.shards.hub.merges_encoded)
    }),
    counter(
        "gateway_merges_shared_total",
        "Merged book updates that another client had needed before",
        &[],
        |c| whole(c.shards.hub.merges_shared),
    ),
    gauge("gateway_ring_bytes", "Bytes of the entries that are kept for who lags", &[], |c| {
        whole(c.shards.hub.ring_bytes)
    }),
    gauge("gateway_ring_bytes_max", "Budget of the entries that are kept for who lags", &[], |c| {
        whole(c.shards.hub.ring_bytes_max)
    }),
    gauge("gateway_log_bytes", "Bytes of frames in the logs", &[], |c| whole(c.shards.hub.log_bytes)),
    gauge("gateway_log_bytes_max", "Size of the logs of frames", &[], |c| whole(c.shards.hub.log_bytes_max)),
    counter("gateway_lane_full_total", "Times that a batch did not fit into the lane to a shard", &[], |c| {
        whole(c.engine.lane_full)
    }),
    counter(
        "gateway_streams_lost_total",
        "Streams of which entries were lost on the way to a shard",
        &[],
        |c| whole(c.shards.hub.streams_lost),
    ),
    gauge("gateway_lane_length", "What waits in a lane, of several the fullest", &["lane"], |c| {
        wholes([
            ("feed_to_engine", c.engine.feed_waiting),
            ("engine_to_shard", c.shards.lane_waiting),
            ("shard_to_engine", c.engine.requests_waiting),
        ])
    }),
    gauge("gateway_lane_capacity", "Room of a lane", &["lane"], |_| {
        wholes([
            ("feed_to_engine", crate::feed::BATCHES_MAX as u64),
            ("engine_to_shard", crate::lane::LANE_BATCHES_MAX as u64),
            ("shard_to_engine", crate::engine::REQUESTS_MAX as u64),
        ])
    }),
    gauge("gateway_lane_bytes", "Bytes of frames in the lane to a shard, of several the fullest", &[], |c| {
        whole(c.shards.lane_bytes)
    }),
    gauge("gateway_lane_bytes_max", "Most bytes of frames in the lane to a shard", &[], |_| {
        whole(crate::lane::LANE_BYTES_MAX as u64)
    }),
    histogram(
        "gateway_stage_latency_seconds",
        "Latency by stage; the last two count the oldest update of each write",
        &["stage"],
        |c| {
            by([
                ("feed_to_receive", (&c.engine.feed_to_receive).into()),
                ("receive_to_publish", (&c.engine.receive_to_publish).into()),
                ("publish_to_written", (&c.shards.hub.publish_to_written).into()),
                ("end_to_end", (&c.shards.hub.event_to_written).into()),
            ])
        },
    ),
    gauge("gateway_loop_threads", "Threads that run a loop", &["loop"], |c| {
        wholes([("engine", 1), ("shard", c.shard_count)])
    }),
    counter("gateway_loop_busy_seconds_total", "Time at work, of all threads of a loop", &["loop"], |c| {
        per_loop(c, |turns| seconds(turns.busy))
    }),
    counter("gateway_loop_idle_seconds_total", "Time asleep, of all threads of a loop", &["loop"], |c| {
        per_loop(c, |turns| seconds(turns.idle))
    }),
    gauge(
        "gateway_loop_busy_ratio",
        "Share at work of five seconds, of the busiest thread",
        &["loop"],
        |c| per_loop(c, |turns| turns.busy_permille as f64 / 1_000.0),
    ),
    histogram("gateway_loop_turn_seconds", "Lengths of turns", &["loop"], |c| {
        by([("engine", (&c.engine.turns.turns).into()), ("shard", (&c.shards.turns.turns).into())])
    }),
    counter("gateway_thread_cpu_seconds_total", "Processor time by what a thread does", &["thread"], |c| {
        per_thread(c, |times| times.running)
    }),
    counter("gateway_thread_wait_seconds_total", "Time ready to run and not running", &["thread"], |c| {
        per_thread(c, |times| times.waiting)
    }),
];

fn per_channel(counts: &Counts, pick: fn(&ChannelStats) -> u64) -> Vec<Series<f64>> {
    let channels = &counts.shards.hub.channels;
    wholes(Channel::ALL.into_iter().map(|channel| (channel.name(), pick(&channels[channel as usize]))))
}

fn per_loop(counts: &Counts, pick: fn(&LoopStats) -> f64) -> Vec<Series<f64>> {
    by([("engine", pick(&counts.engine.turns)), ("shard", pick(&counts.shards.turns))])
}

fn per_thread(counts: &Counts, pick: fn(&ThreadTimes) -> u64) -> Vec<Series<f64>> {
    by(KINDS.into_iter().zip(counts.threads.iter().map(|times| seconds(pick(times)))))
}

/// Each limit by the setting that holds it.
fn limit_refusals(c: &Counts) -> [(&'static str, u64); 26] {
    let refused = |reason: Reason| c.refusals[reason as usize];
    let closed = |code: CloseCode| {
        let index = CloseCode::ALL.iter().position(|&one| one == code);
        index.map_or(0, |index| c.shards.hub.closes[index])
    };
    let hub = &c.shards.hub;
    let [symbols, depth, keys] = hub.request_limits;
    [
        ("connections_max", refused(Reason::Full)),
        ("connections_per_address_max", refused(Reason::AddressFull)),
        ("accepts_per_address_per_s", refused(Reason::AddressRate)),
        ("handshakes_per_address_max", refused(Reason::AddressHandshakes)),
        ("handshakes_max", refused(Reason::Handshakes)),
        ("handshake_ms", refused(Reason::HeadLate)),
        ("http_ms", refused(Reason::HttpLate)),
        ("head", refused(Reason::HeadTooBig)),
        ("accepts_per_s", c.accept_waits),
        ("descriptors", refused(Reason::Descriptors)),
        ("memory", refused(Reason::Memory) + hub.tight_refused),
        ("subscriptions_max", hub.subscriptions_refused),
        ("policies", hub.policies_refused),
        ("requests_per_subject", hub.requests_over_rate),
        ("connections_per_subject", c.auth_refused[Refusal::Connections as usize]),
        ("control_bytes_max", hub.floods),
        ("message_bytes_max", c.shards.messages_too_big),
        ("fragments_max", c.shards.fragments_too_many),
        ("message_ms", c.shards.messages_overdue),
        ("messages_per_s", hub.message_floods),
        ("requests_per_s", hub.requests_limited),
        ("idle_ms", hub.idle_closed),
        ("stall_ms", closed(CloseCode::SlowConsumer)),
        ("symbols_max", symbols),
        ("json_depth_max", depth),
        ("json_keys_max", keys),
    ]
}

/// Channels with the policies that make sense for them.
fn subscriptions(counts: &Counts) -> Vec<Series<f64>> {
    let pairs = Channel::ALL.into_iter().flat_map(|channel| Policy::ALL.map(|policy| (channel, policy)));
    let fitting = pairs.filter(|(channel, policy)| policy.fits(*channel));
    by_two(fitting.map(|(channel, policy)| {
        let subscriptions = counts.shards.hub.channels[channel as usize].subscriptions[policy as usize];
        ([channel.name(), policy.name()], subscriptions)
    }))
}

/// Refused lines and refused events: one reason each, so that a sum counts every piece of bad input once.
fn feed_rejects(counts: &Counts) -> Vec<(&'static str, u64)> {
    let market = &counts.engine.market;
    let mut rejects: Vec<(&'static str, u64)> = counts.engine.feed_refusals.iter().collect();
    rejects.extend([
        ("old_sequence", market.old_sequence),
        ("duplicate_line", market.duplicate_line),
        ("crossed", market.crossed),
        ("levels_limit", market.levels_limit),
        ("stale_delta", market.stale_delta),
        ("sequence_gap", market.sequence_gaps),
        ("transport_gap", market.transport_gaps),
        ("redefined", market.redefined),
        ("old_snapshot", market.old_snapshot),
        ("late_trade", market.late_trade),
        ("repeated_trade", market.repeated_trade),
        ("new_epoch", market.new_epoch),
        ("unknown_instrument", market.unknown_instrument),
    ]);
    rejects
}
