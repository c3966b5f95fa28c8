//! What operators see of clients and streams, and what they order: `/clients`, `/clients/ID`, `/streams`, `/revoke`.
//!
//! Asks every shard; no client or symbol ever becomes a metric label, so this is where single ones are looked at.

use std::net::SocketAddr;
use std::time::Duration;

use fanout::{ClientReport, StreamReport, SubscriptionReport};
use hyper::{Method, StatusCode};
use model::{Channel, DEPTHS, INTERVALS_MIN, Nanos, Policy, StreamKey};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::reference::decode;
use super::{Answer, PublicState, answer, text};
use crate::auth::{Order, Revoked};
use crate::shard::{Operated, Operation, ShardHandle, ShardInput};

/// Rows that a list shows when the request does not say.
const TOP_DEFAULT: usize = 20;

/// Most rows of a list.
const TOP_MAX: usize = 10_000;

/// Longest wait for a shard.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers `/clients...` and `/streams`; `None` for other paths.
pub(super) async fn answer_operator(
    method: &Method,
    path: &str,
    query: &str,
    state: &PublicState,
) -> Option<Answer> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let result = match (method, &parts[..]) {
        (&Method::GET, ["clients"]) => clients(state, query).await,
        (&Method::GET, ["streams"]) => streams(state, query).await,
        (&Method::GET, ["clients", id]) => client(state, id).await,
        (&Method::POST, ["clients", id, "kick"]) => kick(state, id).await,
        (&Method::POST, ["clients", id, "policy"]) => set_policy(state, id, query).await,
        (&Method::POST, ["clients", id, "tier"]) => set_tier(state, id, query).await,
        (&Method::POST, ["revoke"]) => revoke(state, query).await,
        (_, ["clients" | "streams" | "revoke", ..]) => Err((StatusCode::NOT_FOUND, USAGE.into())),
        _ => return None,
    };
    Some(match result {
        Ok(body) => answer(StatusCode::OK, "application/json", format!("{body:#}\n")),
        Err((status, problem)) => text(status, format!("{problem}\n")),
    })
}

const USAGE: &str = "GET /clients?by=age|entries|drops&top=N, GET /clients/ID, POST /clients/ID/kick, \
    POST /clients/ID/policy?channel=book&policy=conflate, \
    POST /clients/ID/tier?name=NAME, GET /streams?top=N, POST /revoke?subject=NAME or ?token=ID";

type Outcome = Result<Value, (StatusCode, String)>;

fn bad(problem: impl Into<String>) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, problem.into())
}

fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

fn top(query: &str) -> Result<usize, (StatusCode, String)> {
    match parameter(query, "top") {
        None => Ok(TOP_DEFAULT),
        Some(number) => {
            number.parse().map(|top: usize| top.min(TOP_MAX)).map_err(|_| bad("top must be a number"))
        }
    }
}

/// Runs an operation on one shard.
async fn operate<T: Send + 'static>(
    shard: &ShardHandle,
    operation: impl FnOnce(&mut Operated<'_>) -> T + Send + 'static,
) -> Result<T, (StatusCode, String)> {
    let (reply, result) = oneshot::channel();
    // A receiver that is gone does not need its answer.
    let run = Operation(Box::new(move |operated| drop(reply.send(operation(operated)))));
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, "a shard did not answer within a second".to_owned());
    shard.send(ShardInput::Operate(run)).map_err(|_| busy())?;
    tokio::time::timeout(PATIENCE, result).await.ok().and_then(Result::ok).ok_or_else(busy)
}

async fn clients(state: &PublicState, query: &str) -> Outcome {
    let top = top(query)?;
    let rank: fn(&ClientReport) -> u64 = match parameter(query, "by").unwrap_or("age") {
        "age" => |client| client.lag_age.0,
        "entries" => |client| client.lag_entries,
        "drops" => |client| client.dropped,
        other => return Err(bad(format!("by={other}: expected age, entries or drops"))),
    };
    let mut rows: Vec<(usize, ClientReport, Option<SocketAddr>)> = Vec::new();
    for (index, shard) in state.shards.iter().enumerate() {
        let mut mine = operate(shard, move |operated| {
            let mut reports = operated.hub.clients(operated.now);
            reports.sort_by_key(|client| std::cmp::Reverse(rank(client)));
            reports.truncate(top);
            reports.into_iter().map(|one| (index, operated.peer(one.id), one)).collect::<Vec<_>>()
        })
        .await?;
        rows.extend(mine.drain(..).map(|(shard, peer, one)| (shard, one, peer)));
    }
    rows.sort_by_key(|(_, client, _)| std::cmp::Reverse(rank(client)));
    rows.truncate(top);
    Ok(rows.into_iter().map(|(shard, client, peer)| show_client(shard, &client, peer)).collect())
}

fn show_client(shard: usize, client: &ClientReport, peer: Option<SocketAddr>) -> Value {
    json!({
        "id": client.connection_id,
        "shard": shard,
        "address": peer.map(|peer| peer.to_string()),
        "connected_s": seconds(client.connected_for),
        "ext": client.ext,
        "tier": client.tier,
        "subject": client.subject,
        "mode": client.mode,
        "lagging_s": seconds(client.lagging_for),
        "lag_age_s": seconds(client.lag_age),
        "lag_entries": client.lag_entries,
        "policy": client.policy.map(Policy::name),
        "dropped": client.dropped,
        "written_bytes": client.written_bytes,
        "max_bytes_per_s": client.bytes_per_s,
        "held_bytes": client.held_bytes,
        "subscriptions": client.subscriptions,
    })
}

fn seconds(span: Nanos) -> f64 {
    span.0 as f64 / 1e9
}

fn number(id: &str) -> Result<u64, (StatusCode, String)> {
    id.parse().map_err(|_| bad(format!("{id} is no connection id")))
}

fn gone(id: u64) -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, format!("no connection {id}; it may have gone"))
}

async fn client(state: &PublicState, id: &str) -> Outcome {
    let id = number(id)?;
    for (index, shard) in state.shards.iter().enumerate() {
        let found = operate(shard, move |operated| {
            let one = operated.hub.clients(operated.now).into_iter().find(|one| one.connection_id == id)?;
            let peer = operated.peer(one.id);
            Some((one, peer, operated.hub.subscriptions(id)?))
        })
        .await?;
        if let Some((one, peer, subscriptions)) = found {
            let mut shown = show_client(index, &one, peer);
            shown["subscriptions"] = subscriptions.iter().map(show_subscription).collect();
            return Ok(shown);
        }
    }
    Err(gone(id))
}

fn show_subscription(one: &SubscriptionReport) -> Value {
    json!({
        "channel": one.stream.channel().name(),
        "symbol": one.symbol,
        "variant": variant(one.stream),
        "state": one.state,
        "policy": one.terms.policy.name(),
        "interval_ms": one.terms.interval_ms,
        "paused": one.paused,
        "seq": one.seq,
        "lag_entries": one.lag_entries,
    })
}

/// What tells the streams of one channel and symbol apart.
fn variant(stream: StreamKey) -> Value {
    match stream {
        StreamKey::Book(_, depth) => json!({ "depth": DEPTHS[usize::from(depth)] }),
        StreamKey::Ticker(_, trigger) => json!({ "event_trigger": trigger.name() }),
        StreamKey::Ohlc(_, interval) => json!({ "interval": INTERVALS_MIN[usize::from(interval)] }),
        StreamKey::Trade(_) | StreamKey::Instruments => json!({}),
    }
}

async fn kick(state: &PublicState, id: &str) -> Outcome {
    let id = number(id)?;
    for shard in &state.shards {
        if operate(shard, move |operated| operated.hub.kick(id)).await? {
            tracing::info!(connection_id = id, "closed by an operator");
            return Ok(json!({ "kicked": id }));
        }
    }
    Err(gone(id))
}

async fn set_policy(state: &PublicState, id: &str, query: &str) -> Outcome {
    let id = number(id)?;
    let wanted = parameter(query, "channel").unwrap_or("");
    let channel = Channel::ALL.into_iter().find(|channel| channel.name() == wanted);
    let channel = channel.ok_or_else(|| bad("channel must be book, ticker, trade or ohlc"))?;
    let policy = parameter(query, "policy").and_then(Policy::from_name);
    let policy = policy
        .ok_or_else(|| bad("policy must be conflate, latest, drop_oldest, drop_newest or disconnect"))?;
    for shard in &state.shards {
        let changed =
            operate(shard, move |operated| operated.hub.order_policy(id, channel, policy, operated.now))
                .await?;
        match changed {
            Err(allowed) => return Err(bad(allowed)),
            Ok(Some(changed)) => {
                tracing::info!(
                    connection_id = id,
                    policy = policy.name(),
                    changed,
                    "policy set by an operator"
                );
                return Ok(json!({ "id": id, "policy": policy.name(), "subscriptions": changed }));
            }
            Ok(None) => {}
        }
    }
    Err(gone(id))
}

async fn set_tier(state: &PublicState, id: &str, query: &str) -> Outcome {
    let id = number(id)?;
    let name = parameter(query, "name").unwrap_or("").to_owned();
    for shard in &state.shards {
        let wanted = name.clone();
        let found =
            operate(shard, move |operated| operated.hub.order_tier(id, &wanted, operated.now)).await?;
        match found {
            Err(names) => return Err(bad(format!("name must be one of {names}"))),
            Ok(true) => {
                tracing::info!(connection_id = id, tier = name, "tier set by an operator");
                return Ok(json!({ "id": id, "tier": name }));
            }
            Ok(false) => {}
        }
    }
    Err(gone(id))
}

/// Revokes a subject, or a token by its id, until the gateway ends; the list in a file outlives it.
async fn revoke(state: &PublicState, query: &str) -> Outcome {
    let named = |key: &str| parameter(query, key).and_then(decode).filter(|name| !name.is_empty());
    let who = match (named("subject"), named("token")) {
        (Some(name), None) => Revoked::Subject(name.into()),
        (None, Some(id)) => Revoked::Token(id.into()),
        _ => return Err(bad("name either subject=NAME or token=ID")),
    };
    let busy = || (StatusCode::SERVICE_UNAVAILABLE, "nobody was revoked in time, try again".to_owned());
    let (reply, done) = oneshot::channel();
    if !state.auth.order(Order::Revoke(who.clone(), reply)) {
        return Err(busy());
    }
    let done = tokio::time::timeout(PATIENCE, done).await.ok().and_then(Result::ok).ok_or_else(busy)?;
    let revocations = done.map_err(|error| (StatusCode::INSUFFICIENT_STORAGE, error.to_string()))?;
    let (kind, name) = match &who {
        Revoked::Subject(name) => ("subject", name),
        Revoked::Token(id) => ("token", id),
    };
    tracing::info!(kind, name, "revoked by an operator");
    Ok(json!({ kind: name, "revocations": revocations }))
}

async fn streams(state: &PublicState, query: &str) -> Outcome {
    let top = top(query)?;
    let mut rows: Vec<(usize, StreamReport)> = Vec::new();
    for (index, shard) in state.shards.iter().enumerate() {
        let mine = operate(shard, |operated| operated.hub.streams().collect::<Vec<_>>()).await?;
        rows.extend(mine.into_iter().map(|one| (index, one)));
    }
    rows.sort_by_key(|(_, stream)| std::cmp::Reverse(stream.subscribers));
    rows.truncate(top);
    let show = |(shard, one): (usize, StreamReport)| {
        json!({
            "shard": shard,
            "channel": one.stream.channel().name(),
            "symbol": one.symbol,
            "variant": variant(one.stream),
            "subscribers": one.subscribers,
            "published": one.published,
            "ring_entries": one.ring_entries,
            "seq": one.seq,
        })
    };
    Ok(rows.into_iter().map(show).collect())
}
