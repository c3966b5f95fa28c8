#!/usr/bin/env python3
"""The dashboards of the gateway: generate.py writes gateway-*.json beside itself, generate.py --check says whether they are current.

Says what is shown and what it means; the form is in grafana.py. The JSON is what Grafana reads and is kept in the repository: change
this file, run it, and look at the difference. Needs Python 3.9 and nothing else.
"""

import json
import pathlib
import sys

from grafana import choice, dashboard, panel, query, row, steps

HERE = pathlib.Path(__file__).parent
JOB = 'job="gateway"'
STAGES = ["end_to_end", "feed_to_receive", "receive_to_publish", "publish_to_written"]

# Headings of docs/operations.md.
FEED = "When the feed is in trouble"
SLOW = "When clients are slow"
FULL = "When the machine is full"
METRICS = "Metrics"
WHO = "Who is let in"


def pick(metric, *matchers):
    """A metric of the chosen instances."""
    return metric + "{" + ", ".join(['instance=~"$instance"', *matchers]) + "}"


def rate(metric, *matchers, by=None):
    """Its growth per second, added up."""
    grouping = f"sum by ({by}) " if by else "sum"
    return f"{grouping}(rate({pick(metric, *matchers)}[$__rate_interval]))"


def total(metric, *matchers, by=None):
    """Its sum at this moment."""
    return (f"sum by ({by}) " if by else "sum") + f"({pick(metric, *matchers)})"


def share(part, whole):
    """A part of a whole that may be nothing."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def quantile(q, metric, *matchers, by="le"):
    return f"histogram_quantile({q}, sum by ({by}) (rate({pick(metric + '_bucket', *matchers)}[$__rate_interval])))"


def quantiles(metric, *matchers):
    return [query(quantile(q, metric, *matchers), name) for q, name in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"))]


def graph(title, description, unit, queries, **more):
    return panel("timeseries", title, description, unit, queries, lowest=more.pop("lowest", 0), **more)


def stat(title, description, unit, expr, legend, **more):
    return panel("stat", title, description, unit, [query(expr, legend)], **more)


def heatmap(title, description, metric, unit, *matchers, **more):
    cells = query(f"sum by (le) (rate({pick(metric + '_bucket', *matchers)}[$__rate_interval]))", "{{le}}", format="heatmap")
    options = {"yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit}}
    return panel("heatmap", title, description, unit, [cells], options=options, **more)


BAD_ABOVE_0 = steps("green", (1e-9, "red"))
LAGGING = share(total("gateway_clients_lagging"), total("gateway_connections"))
STALE = share(total("gateway_instruments_stale"), total("gateway_instruments"))
BUSY = f"max by (loop) ({pick('gateway_loop_busy_ratio')})"
UNACCOUNTED = " - ".join(
    [total("gateway_deliveries_fanned_out_total", by="channel")]
    + [total(f"gateway_deliveries_{part}", by="channel") for part in ("written_total", "merged_total", "dropped_total", "discarded_total", "pending")]
)


def overview():
    e2e = 'stage="end_to_end"'
    upset = 'code!~"normal|going_away|service_restart"'
    connected = [{"type": "value", "options": {"0": {"text": "lost", "index": 0}, "1": {"text": "connected", "index": 1}}}]
    return dashboard("gateway-overview", "Gateway: overview", "Traffic, latency and saturation of the market-data gateway at a glance.", [
        row("At a glance"),
        [4,
         (3, stat("Version", "Version of the running gateways. Two at once mean that a roll-out is under way.", "none",
                  f"count by (version) ({pick('gateway_build_info')})", "{{version}}", options={"textMode": "name", "colorMode": "none", "graphMode": "none"})),
         (3, stat("Feed", "Whether every gateway is connected to its feed.", "none", f"min({pick('gateway_feed_connected')})", "feed",
                  thresholds=steps("red", (1, "green")), mappings=connected, section=FEED, options={"graphMode": "none"})),
         (3, stat("Stale instruments", "Share of the instruments whose data may be wrong.", "percentunit", STALE, "stale",
                  thresholds=steps("green", (1e-9, "orange"), (0.5, "red")), section=FEED)),
         (3, stat("Connections", "Open WebSocket connections.", "short", total("gateway_connections"), "connections", section=FULL)),
         (3, stat("Messages written", "Deliveries handed to sockets as messages.", "mps", rate("gateway_deliveries_written_total"), "messages")),
         (3, stat("Lagging clients", "Share of the clients that are behind at this moment.", "percentunit", LAGGING, "lagging",
                  thresholds=steps("green", (0.02, "orange"), (0.1, "red")), section=SLOW)),
         (3, stat("Latency p99", "From the venue's event to the write, oldest update of each write.", "s", quantile(0.99, "gateway_stage_latency_seconds", e2e), "p99",
                  thresholds=steps("green", (0.05, "orange"), (0.25, "red")), section=FULL)),
         (3, stat("Busiest loop", "Share of the last five seconds in which the busiest thread was at work.", "percentunit", f"max({BUSY})", "busy",
                  thresholds=steps("green", (0.7, "orange"), (0.9, "red")), section=FULL))],
        row("Traffic"),
        [8,
         (8, graph("Messages written by channel", "Deliveries handed to sockets, by channel.", "mps", [query(rate("gateway_deliveries_written_total", by="channel"), "{{channel}}")], stack=True)),
         (8, graph("Bytes", "Bytes that sockets took, and bytes that clients sent.", "Bps", [query(rate("gateway_written_bytes_total"), "written"), query(rate("gateway_read_bytes_total"), "read")])),
         (8, graph("What clients feel as errors", "Upgrades and requests refused, connections closed for a reason or broken, deliveries dropped.", "short", [
             query(rate("gateway_connections_refused_total"), "upgrades refused"),
             query(rate("gateway_requests_total", 'result="refused"'), "requests refused"),
             query(rate("gateway_connections_closed_total", upset), "closed for a reason"),
             query(rate("gateway_connections_broken_total"), "broken"),
             query(rate("gateway_deliveries_dropped_total"), "deliveries dropped")], section=SLOW))],
        [8,
         (8, graph("Connections by tier", "Open WebSocket connections, by the tier of their clients.", "short", [query(total("gateway_tier_connections", by="tier"), "{{tier}}")], stack=True)),
         (8, graph("Connections opened and ended", "Upgrades, closes with a close frame by its code, and connections that broke.", "cps", [
             query(rate("gateway_connections_opened_total"), "opened"),
             query(rate("gateway_connections_closed_total", by="code") + " > 0", "closed: {{code}}"),
             query(rate("gateway_connections_broken_total"), "broken")], section=SLOW)),
         (8, graph("Requests", "Messages from clients, by what became of them.", "reqps", [query(rate("gateway_requests_total", by="result"), "{{result}}")]))],
        row("Who is let in"),
        [8,
         (8, graph("Credentials", "Tokens and API keys that were accepted, and what was refused, by the reason.", "ops", [
             query(rate("gateway_auth_accepted_total", by="kind"), "accepted: {{kind}}"),
             query(rate("gateway_auth_refusals_total", by="reason") + " > 0", "refused: {{reason}}")], section=WHO)),
         (8, graph("Not granted", "Subscriptions refused by what the grant does not cover, and those that ended when a grant shrank.", "ops", [
             query(rate("gateway_entitlement_refusals_total", by="what"), "{{what}}"),
             query(rate("gateway_subscriptions_revoked_total"), "revoked")], section=WHO)),
         (4, graph("Keys and revocations", "What is in force at this moment.", "short", [query(total("gateway_auth_entries", by="kind"), "{{kind}}")], section=WHO)),
         (4, graph("Files read again", "Keys, API keys and revocations. A file that cannot be used changes nothing.", "ops", [query(rate("gateway_auth_reloads_total", by="result"), "{{result}}")], section=WHO))],
        row("Latency"),
        [9,
         (12, heatmap("Latency of $stage", "How many updates took how long. The last two stages count the oldest update of each write.", "gateway_stage_latency_seconds", "s", 'stage="$stage"', section=FULL)),
         (12, graph("Quantiles of $stage", "Half, all but one in a hundred, all but one in a thousand.", "s", quantiles("gateway_stage_latency_seconds", 'stage="$stage"'), section=FULL, thresholds=steps("green", (0.05, "red"))))],
        [8,
         (8, graph("p50 by stage", "Median of each stage.", "s", [query(quantile(0.5, "gateway_stage_latency_seconds", by="le, stage"), "{{stage}}")], section=FULL)),
         (8, graph("p99 by stage", "One update in a hundred takes longer.", "s", [query(quantile(0.99, "gateway_stage_latency_seconds", by="le, stage"), "{{stage}}")], section=FULL)),
         (8, graph("Late writes", "Share of the writes whose oldest update waited more than 50 ms in the gateway. The objective is one in a thousand.", "percentunit",
                   [query(f"max({pick('gateway:late_writes:ratio_rate5m')})", "five minutes"), query(f"max({pick('gateway:late_writes:ratio_rate1h')})", "an hour")],
                   section="GatewayLatencyBurnFast", thresholds=steps("green", (0.001, "red"))))],
        row("Saturation"),
        [8,
         (8, graph("Threads at work", "Share of the last five seconds in which the busiest thread of each loop was at work.", "percentunit", [query(BUSY, "{{loop}}")], thresholds=steps("green", (0.9, "red")), max=1, section=FULL)),
         (8, graph("Processor", "Processor time by what a thread does. A core is 1.", "short", [query(rate("gateway_thread_cpu_seconds_total", by="thread"), "{{thread}}")], stack=True, section=FULL)),
         (8, graph("Memory", "Resident memory of the process.", "bytes", [query(pick("process_resident_memory_bytes", JOB), "{{instance}}")], section=FULL))],
    ], [choice("stage", "Stage", STAGES)])


def slow_clients():
    return dashboard("gateway-slow-clients", "Gateway: slow clients", "Who lags, how far, and what becomes of what was not sent in time.", [
        row("Who lags"),
        [8,
         (8, graph("Lagging clients", "Clients that are behind at this moment, and all clients. All lag together while a shard is overrun.", "short", [query(total("gateway_clients_lagging"), "lagging"), query(total("gateway_connections"), "connected"), query("sum(increase(gateway_overruns_total{instance=~\"$instance\"}[$__rate_interval]))", "overruns of shards")], section=SLOW)),
         (8, graph("Share lagging", "Share of the clients that are behind.", "percentunit", [query(LAGGING, "lagging")], thresholds=steps("green", (0.1, "red")), section=SLOW)),
         (8, graph("Writes that sockets refused", "Share of the writes that a socket did not take whole: how a client begins to lag.", "percentunit", [query(share(rate("gateway_writes_blocked_total"), rate("gateway_writes_total")), "blocked")], section=SLOW))],
        row("How far"),
        [9,
         (12, heatmap("Age of what lagging clients lack", "Each lagging client is looked at twice a second: how old is the oldest entry that it has not been sent.", "gateway_lag_age_seconds", "s", section=SLOW)),
         (12, graph("Quantiles of the age", "Over the time that clients spend lagging.", "s", quantiles("gateway_lag_age_seconds"), section=SLOW))],
        [9,
         (12, heatmap("Entries that lagging clients lack", "Each lagging client is looked at twice a second: how many entries it has not been sent.", "gateway_lag_entries", "short", section=SLOW)),
         (12, graph("Pending deliveries", "Deliveries between the places of clients and the newest entries. They cost no memory.", "short", [query(total("gateway_deliveries_pending", by="channel"), "{{channel}}")], stack=True, section=SLOW))],
        row("What becomes of it"),
        [8,
         (8, graph("What became of deliveries", "Every delivery ends in one of these ways, or is pending.", "ops", [query(rate(f"gateway_deliveries_{part}_total"), part) for part in ("written", "merged", "dropped", "discarded")], stack=True, section=SLOW)),
         (8, graph("Share merged or dropped", "Share of the deliveries that were folded into a later message, or lost to a client that was told.", "percentunit", [
             query(share(rate("gateway_deliveries_merged_total", by="channel"), rate("gateway_deliveries_fanned_out_total", by="channel")), "{{channel}} merged"),
             query(share(rate("gateway_deliveries_dropped_total", by="channel"), rate("gateway_deliveries_fanned_out_total", by="channel")), "{{channel}} dropped")],
             thresholds=steps("green", (0.01, "red")), section="GatewayDrops")),
         (8, graph("Merged updates", "Merged book updates that had to be encoded, and those that another client had needed before.", "ops", [query(rate("gateway_merges_encoded_total"), "encoded"), query(rate("gateway_merges_shared_total"), "shared")]))],
        [8,
         (8, graph("Connections closed", "By the code of the close frame; 4008 is slow_consumer, 4009 out_of_reach.", "cps", [query(rate("gateway_connections_closed_total", by="code"), "{{code}}")], section=SLOW)),
         (8, graph("Notices", "What clients of the superset are told.", "ops", [query(rate("gateway_notices_total", by="code"), "{{code}}")], section=SLOW)),
         (8, graph("Limits reached", "Refusals and closes, by the setting that was reached.", "ops", [query(rate("gateway_limit_refusals_total", by="limit"), "{{limit}}")], section=SLOW))],
        row("How clients are served"),
        [8,
         (8, graph("Subscriptions by policy", "What becomes of entries that a client is too slow for.", "short", [query(total("gateway_subscriptions", by="policy"), "{{policy}}")], stack=True)),
         (8, graph("Subscriptions by channel", "What clients take.", "short", [query(total("gateway_subscriptions", by="channel"), "{{channel}}")], stack=True)),
         (8, graph("Clients that came back", "Subscriptions that named their place: brought on from there, or given a snapshot.", "ops", [query(rate("gateway_resumes_total", by="result"), "{{result}}")]))],
        row("Whether it adds up"),
        [8,
         (12, graph("Unaccounted deliveries", "Fanned out less written, merged, dropped, discarded and pending. Anything but zero is a mistake of the gateway.", "short", [query(UNACCOUNTED, "{{channel}}")], thresholds=BAD_ABOVE_0, lowest=None, section="GatewayConservationBreach")),
         (12, graph("Counting anew", "Every ten seconds, at a moment without work, everything is counted anew. None at all for long means that the shards are never without work.", "ops", [
             query(rate("gateway_conservation_audits_total"), "counted"), query(rate("gateway_conservation_breaches_total"), "did not add up")], section="GatewayConservationBreach"))],
    ])


def feed():
    return dashboard("gateway-feed", "Gateway: feed health", "Connection to the feed, what it says, what is not applied, and which data is stale.", [
        row("Connection"),
        [7,
         (6, graph("Connected", "1 while a gateway is connected to its feed.", "bool_on_off", [query(pick("gateway_feed_connected"), "{{instance}}")], max=1, section=FEED)),
         (6, graph("Silence", "Time since the last line of the feed. A feed sends a heartbeat every 250 ms.", "s", [query(pick("gateway_feed_silence_seconds"), "{{instance}}")], thresholds=steps("green", (1, "red")), section=FEED)),
         (6, graph("Connections lost", "Connections that could not be made, ended or fell silent, per minute.", "cpm", [query("60 * " + rate("gateway_feed_losses_total", by="reason"), "{{reason}}")], section=FEED)),
         (6, graph("Latency of the feed", "From the venue's event to the receipt. It means little when the two clocks disagree.", "s", quantiles("gateway_stage_latency_seconds", 'stage="feed_to_receive"'), section=FEED))],
        row("What it says"),
        [8,
         (12, graph("Lines by type", "Lines of the feed that could be read.", "ops", [query(rate("gateway_feed_events_total", by="type"), "{{type}}")], stack=True, section=FEED)),
         (12, graph("Not applied, by reason", "Lines and events that were refused, ignored, or told of a gap. Shown are reasons that occur.", "ops", [query(rate("gateway_feed_rejects_total", by="reason") + " > 0", "{{reason}}")], section=FEED))],
        [8,
         (12, graph("Gaps", "Missing lines of a connection and missing numbers of an instrument.", "ops", [query(rate("gateway_feed_rejects_total", 'reason=~"sequence_gap|transport_gap"', by="reason"), "{{reason}}")], section="GatewayFeedGaps", thresholds=steps("green", (0.05, "red")))),
         (12, graph("Became stale, by reason", "Times that a fresh instrument became stale.", "ops", [query(rate("gateway_instruments_went_stale_total", by="reason"), "{{reason}}")], section=FEED))],
        row("Staleness"),
        [8,
         (8, graph("Instruments", "Instruments that the feed announced, and those whose data may be wrong.", "short", [query(f"max({pick('gateway_instruments')})", "known"), query(f"max({pick('gateway_instruments_stale')})", "stale")], section=FEED)),
         (8, graph("Share stale", "Share of the instruments whose data may be wrong.", "percentunit", [query(STALE, "stale")], max=1, section=FEED, thresholds=steps("green", (0.01, "red")))),
         (8, graph("Time with stale data", "Since when there has been at least one stale instrument.", "s", [query(f"max({pick('gateway_instruments_stale_seconds')})", "stale for")], thresholds=steps("green", (60, "red")), section="GatewayFeedStale"))],
        row("What is made of it"),
        [8,
         (8, graph("Published", "Entries that the engine encoded, once for all subscribers.", "ops", [query(rate("gateway_updates_published_total", by="channel"), "{{channel}}")], stack=True)),
         (8, graph("Snapshots", "Snapshots that the engine encoded, once for all that waited.", "ops", [query(rate("gateway_snapshots_total"), "snapshots")])),
         (8, graph("Receive to publish", "From the receipt of a batch until its updates are on their way to the shards.", "s", quantiles("gateway_stage_latency_seconds", 'stage="receive_to_publish"'), section=FULL))],
    ])


def capacity():
    gauge = {"max": 1, "lowest": 0, "thresholds": steps("green", (0.7, "orange"), (0.9, "red"))}
    used = [
        query(f"max({share(pick('gateway_connections'), pick('gateway_connections_max'))})", "connections"),
        query(f"max({share(pick('process_open_fds', JOB), pick('process_max_fds', JOB))})", "descriptors"),
        query(f"max({BUSY})", "busiest loop"),
        query(f"max({share(pick('gateway_ring_bytes'), pick('gateway_ring_bytes_max'))})", "rings"),
        query(f"max({share(pick('gateway_lane_length'), pick('gateway_lane_capacity'))})", "fullest lane"),
    ]
    cpu_per_message = share(rate("gateway_thread_cpu_seconds_total", 'thread="shard"'), rate("gateway_deliveries_written_total"))
    return dashboard("gateway-capacity", "Gateway: capacity", "How full a gateway is, what an update and a client cost, and where the next limit lies.", [
        row("How full"),
        [8,
         (8, panel("bargauge", "Share of each limit in use", "The highest of all instances. What is full first is the limit of this machine.", "percentunit", used, section=FULL, **gauge)),
         (8, graph("Threads at work", "Share of the last five seconds in which the busiest thread of each loop was at work.", "percentunit", [query(BUSY, "{{loop}}")], thresholds=steps("green", (0.9, "red")), max=1, section="GatewaySaturated")),
         (8, graph("Threads at work, on average", "Share of the time in which the threads of a loop were at work. Far below the busiest: clients are spread unevenly.", "percentunit",
                   [query(share(rate("gateway_loop_busy_seconds_total", by="loop"), f"({rate('gateway_loop_busy_seconds_total', by='loop')} + {rate('gateway_loop_idle_seconds_total', by='loop')})"), "{{loop}}")], max=1, section=FULL))],
        row("Threads"),
        [8,
         (8, graph("Processor by thread", "Processor time by what a thread does. A core is 1.", "short", [query(rate("gateway_thread_cpu_seconds_total", by="thread"), "{{thread}}")], stack=True, section=FULL)),
         (8, graph("Waiting for a processor", "Time in which threads were ready to run and another ran. Much of it: the machine has too few cores, or shares them.", "short", [query(rate("gateway_thread_wait_seconds_total", by="thread"), "{{thread}}")], stack=True, section=FULL)),
         (8, graph("Length of a turn, p99", "One turn of a loop in a hundred takes longer. A client's update waits for a turn at most.", "s", [query(quantile(0.99, "gateway_loop_turn_seconds", by="le, loop"), "{{loop}}")], section=FULL))],
        [8,
         (8, graph("Lanes", "What waits between the threads, of several shards the fullest.", "percentunit", [
             query(f"max by (lane) ({share(pick('gateway_lane_length'), pick('gateway_lane_capacity'))})", "{{lane}}"),
             query(f"max({share(pick('gateway_lane_bytes'), pick('gateway_lane_bytes_max'))})", "engine_to_shard, bytes")], max=1, thresholds=steps("green", (0.9, "red")), section="GatewayLaneFull")),
         (8, graph("Lanes that were full", "Batches that did not fit, and streams of which entries were given up for it.", "ops", [query(rate("gateway_lane_full_total"), "batches"), query(rate("gateway_streams_lost_total"), "streams lost")], section="GatewayLaneFull")),
         (8, graph("Threads of a loop", "How many threads share the work.", "short", [query(f"max by (loop) ({pick('gateway_loop_threads')})", "{{loop}}")], section=FULL))],
        row("What an update costs"),
        [8,
         (8, graph("Deliveries of an encoding", "Deliveries fanned out for each entry that was encoded: how much is shared.", "short", [query(share(rate("gateway_deliveries_fanned_out_total", by="channel"), rate("gateway_updates_published_total", by="channel")), "{{channel}}")])),
         (8, heatmap("Messages of a write", "How many deliveries each write carried. More under load is well: it is how the gateway saves work.", "gateway_write_messages", "short")),
         (8, graph("Shard time of a message", "Processor time of the shards for each message written.", "s", [query(cpu_per_message, "per message")], section=FULL))],
        [8,
         (8, graph("Writes", "Writes to sockets, and those that a socket did not take whole.", "wps", [query(rate("gateway_writes_total"), "writes"), query(rate("gateway_writes_blocked_total"), "blocked")])),
         (8, graph("Bytes of a message", "Bytes written for each message.", "bytes", [query(share(rate("gateway_written_bytes_total"), rate("gateway_deliveries_written_total")), "per message")])),
         (8, graph("Heartbeats", "Messages to clients that have nothing else to be sent.", "ops", [query(rate("gateway_heartbeats_total"), "heartbeats")]))],
        row("What a client costs"),
        [8,
         (6, graph("Memory", "Resident memory of the process.", "bytes", [query(pick("process_resident_memory_bytes", JOB), "{{instance}}"), query(pick("gateway_memory_budget_bytes"), "{{instance}}, budget")], section=FULL)),
         (6, graph("Rings and logs", "Entries kept for who lags, and frames, with the most that they may take.", "bytes", [
             query(total("gateway_ring_bytes"), "rings"), query(total("gateway_ring_bytes_max"), "rings, at most"), query(total("gateway_log_bytes"), "logs"), query(total("gateway_log_bytes_max"), "logs, at most")], section=FULL)),
         (6, graph("Open descriptors", "Each client needs one.", "short", [query(pick("process_open_fds", JOB), "{{instance}}"), query(pick("process_max_fds", JOB), "{{instance}}, at most")], section=FULL)),
         (6, graph("Connections", "Open WebSocket connections, the most that are taken, and HTTP connections not yet upgraded.", "short", [
             query(total("gateway_connections"), "open"), query(total("gateway_connections_max"), "at most"), query(total("gateway_handshakes"), "not upgraded")], section="GatewayConnectionsNearLimit"))],
        [6,
         (6, graph("Ending, short of memory, unusable files", "1 while a gateway ends, refuses new work because memory is short, or cannot use files as they are.", "bool_yes_no", [
             query(pick("gateway_stopping"), "{{instance}} ends"), query(pick("gateway_memory_tight"), "{{instance}} is short of memory"),
             query(f"max by (files) ({pick('gateway_files_unusable')})", "bad {{files}}")], max=1, section="What strangers may do")),
         (6, graph("Log lines lost", "Lines that standard error did not take.", "short", [query(rate("gateway_log_lines_lost_total", by="reason"), "{{reason}}")], section="Signals")),
         (6, graph("Certificates", "Times that certificate and key were read again.", "short", [query(rate("gateway_tls_reloads_total", by="result"), "{{result}}")], section="TLS")),
         (6, graph("Started", "Age of the process.", "s", [query(f"time() - {pick('process_start_time_seconds', JOB)}", "{{instance}}")], section="GatewayRestartLoop"))],
    ])


def main():
    check = sys.argv[1:] == ["--check"]
    outdated = []
    for one in (overview(), slow_clients(), feed(), capacity()):
        path = HERE / f"{one['uid']}.json"
        text = json.dumps(one, indent=1, ensure_ascii=False) + "\n"
        if check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            outdated.append(path.name)
        elif not check:
            path.write_text(text, encoding="utf-8")
    if outdated:
        sys.exit(f"{', '.join(outdated)}: not what generate.py says; run dashboards/generate.py and look at the difference")


if __name__ == "__main__":
    main()
