//! Reference data that clients read before they subscribe, in the venue's REST envelope.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use hyper::{HeaderMap, StatusCode};
use model::{Instrument, InstrumentId, Level, Scale};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use wire::text::write_time_micros;

use super::{Answer, PublicState, answer};
use crate::engine::EngineRequest;

/// Most levels a side that `Depth` answers.
const DEPTH_MAX: usize = 500;

/// Levels a side when the request does not say.
const DEPTH_DEFAULT: usize = 100;

/// Answers `/0/public/<name>`; refusals are status 200 with a filled `error`, as the venue has it.
pub(super) async fn answer_reference(
    name: &str,
    query: &str,
    headers: &HeaderMap,
    state: &PublicState,
) -> Answer {
    let query: BTreeMap<String, String> = parse_query(query);
    let result = match name {
        "Time" => Ok(time(state)),
        "SystemStatus" => Ok(system_status(state)),
        "Assets" => assets(state, query.get("asset")),
        "AssetPairs" => asset_pairs(state, query.get("pair")),
        "Depth" => depth(state, &query, headers).await,
        _ => Err("EGeneral:Unknown method"),
    };
    let body = match result {
        Ok(result) => json!({ "error": [], "result": result }),
        Err(error) => json!({ "error": [error] }),
    };
    answer(StatusCode::OK, "application/json", body.to_string())
}

/// Splits a query and decodes `%XX` and `+`. A value that cannot be decoded stays as it is written: it names nothing, and must
/// not count as not asked for.
fn parse_query(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter_map(|(key, value)| Some((decode(key)?, decode(value).unwrap_or_else(|| value.into()))))
        .collect()
}

/// Decodes `%XX` and `+`.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn time(state: &PublicState) -> Value {
    let wall = state.clock.wall();
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_nanos(wall.0));
    json!({ "unixtime": wall.0 / 1_000_000_000, "rfc1123": date })
}

fn system_status(state: &PublicState) -> Value {
    let mut text = Vec::new();
    write_time_micros(state.clock.wall(), &mut text);
    json!({ "status": state.reference.read().status.name(), "timestamp": String::from_utf8_lossy(&text) })
}

fn assets(state: &PublicState, wanted: Option<&String>) -> Result<Value, &'static str> {
    let reference = state.reference.read();
    let all = wire::update::assets(reference.pairs().map(|(_, one, _)| &**one));
    let wanted: Option<Vec<&str>> = wanted.map(|names| names.split(',').collect());
    let mut found = Map::new();
    for (name, asset) in all {
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&name)) {
            let shown = asset.decimals.min(5);
            let entry = json!({ "aclass": "currency", "altname": name, "decimals": asset.decimals,
                "display_decimals": shown, "status": "enabled" });
            found.insert(name.into(), entry);
        }
    }
    if wanted.is_some_and(|wanted| wanted.len() != found.len()) {
        return Err("EQuery:Unknown asset");
    }
    Ok(found.into())
}

/// All pairs, or those asked for, keyed by the name that was asked.
fn asset_pairs(state: &PublicState, wanted: Option<&String>) -> Result<Value, &'static str> {
    let reference = state.reference.read();
    let mut found = Map::new();
    match wanted {
        None => {
            for (_, one, status) in reference.pairs() {
                found.insert(one.symbol.to_string(), asset_pair(one, status.name()));
            }
        }
        Some(names) => {
            for name in names.split(',') {
                let id = find(&reference.table, name).ok_or("EQuery:Unknown asset pair")?;
                let one = reference.table.by_id(id).ok_or("EQuery:Unknown asset pair")?;
                found.insert(name.into(), asset_pair(one, reference.statuses[id.index()].name()));
            }
        }
    }
    Ok(found.into())
}

/// A pair by its symbol, or by the symbol without its slash.
fn find(table: &model::InstrumentTable, name: &str) -> Option<InstrumentId> {
    table
        .id(name)
        .or_else(|| table.iter().find(|(_, one)| one.symbol.replace('/', "") == name).map(|(id, _)| id))
}

fn asset_pair(one: &Instrument, status: &str) -> Value {
    let decimal = |value: Decimal| value.to_string();
    json!({
        "altname": one.symbol.replace('/', ""),
        "wsname": &*one.symbol,
        "aclass_base": "currency",
        "base": one.base(),
        "aclass_quote": "currency",
        "quote": one.quote(),
        "lot": "unit",
        "cost_decimals": one.cost_decimals,
        "pair_decimals": one.price.decimals(),
        "lot_decimals": one.qty.decimals(),
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.0]],
        "fees_maker": [[0, 0.0]],
        "fee_volume_currency": one.quote(),
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": decimal(one.qty.decimal(one.qty_min.0)),
        "costmin": decimal(one.cost_min),
        "tick_size": decimal(one.price.increment()),
        "status": status,
    })
}

/// The book of a pair, as deep as whoever asks may see it.
async fn depth(
    state: &PublicState,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Result<Value, &'static str> {
    let name = query.get("pair").ok_or("EGeneral:Invalid arguments:pair")?;
    let count = match query.get("count") {
        None => DEPTH_DEFAULT,
        Some(text) => text.parse().map_err(|_| "EGeneral:Invalid arguments:count")?,
    };
    let (id, one) = {
        let reference = state.reference.read();
        let id = find(&reference.table, name).ok_or("EQuery:Unknown asset pair")?;
        (id, reference.table.by_id(id).cloned().ok_or("EQuery:Unknown asset pair")?)
    };
    let most = state.auth.depth_max(headers, &one.symbol).ok_or("EGeneral:Permission denied")?;
    let (reply, levels) = oneshot::channel();
    let request = EngineRequest::Depth(id, count.clamp(1, DEPTH_MAX.min(most.into())), reply);
    state.engine.requests.try_send(request).map_err(|_| "EService:Busy")?;
    let (bids, asks) = levels.await.map_err(|_| "EService:Unavailable")?;
    let seconds = state.clock.wall().0 / 1_000_000_000;
    let side = |levels: &[Level]| -> Value {
        let row =
            |level: &Level| json!([padded(one.price, level.price.0), padded(one.qty, level.qty.0), seconds]);
        levels.iter().map(row).collect()
    };
    Ok(json!({ name: { "asks": side(&asks), "bids": side(&bids) } }))
}

fn padded(scale: Scale, steps: i64) -> String {
    let mut text = Vec::new();
    scale.write(steps, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
