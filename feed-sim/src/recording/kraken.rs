//! Reads Kraken's v1 books as cryptofeed recorded them.
//!
//! A frame is an array: channel number, one or two objects, channel name, pair. The venue's book is a window of 1000
//! levels and each update carries a CRC-32, which becomes a [`crate::VenueCheck`].

use model::Nanos;
use serde_json::Value;

use super::LineReader;
use super::tape::{RawLevel, TapeBuilder, raw_level, split_received};

#[derive(Debug)]
pub(super) struct Reader;

impl LineReader for Reader {
    fn read(&mut self, line: &[u8], tape: &mut TapeBuilder) -> Result<(), String> {
        let Some((at, json)) = split_received(line)? else { return Ok(()) };
        let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        // Objects are statuses and heartbeats.
        let Value::Array(parts) = value else { return Ok(()) };
        let [_, objects @ .., channel, pair] = parts.as_slice() else {
            return Err("a frame of too few parts".into());
        };
        let depth = channel.as_str().and_then(|name| name.strip_prefix("book-"));
        let Some(depth) = depth.and_then(|depth| depth.parse().ok()) else { return Ok(()) };
        tape.set_window(depth);
        let pair = pair.as_str().ok_or("the pair is no text")?;
        let index = tape.symbol(&symbol_of(pair))?;
        read_frame(at, index, objects, tape)
    }
}

fn read_frame(at: Nanos, index: usize, objects: &[Value], tape: &mut TapeBuilder) -> Result<(), String> {
    let mut is_snapshot = false;
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    let mut checksum = None;
    for object in objects {
        is_snapshot |= object.get("as").is_some() || object.get("bs").is_some();
        for (keys, side) in [(["as", "a"], &mut asks), (["bs", "b"], &mut bids)] {
            for levels in keys.iter().filter_map(|key| object.get(key)) {
                read_levels(levels, side)?;
            }
        }
        if let Some(text) = object.get("c").and_then(Value::as_str) {
            checksum = Some(text.parse().map_err(|_| format!("{text:?} is no checksum"))?);
        }
    }
    if is_snapshot {
        tape.snapshot(at, index, &bids, &asks);
    } else if tape.has_book(index) {
        tape.delta(at, index, &bids, &asks);
        if let Some(checksum) = checksum {
            tape.checksum(at, index, checksum);
        }
    }
    Ok(())
}

fn read_levels(value: &Value, side: &mut Vec<RawLevel>) -> Result<(), String> {
    for level in value.as_array().ok_or("levels are no array")? {
        let text = |at: usize| level.get(at).and_then(Value::as_str).ok_or("a level is no pair of texts");
        side.push(raw_level(text(0)?, text(1)?)?);
    }
    Ok(())
}

/// Kraken says XBT for what everybody calls BTC.
fn symbol_of(pair: &str) -> String {
    let parts: Vec<&str> = pair.split('/').map(|part| if part == "XBT" { "BTC" } else { part }).collect();
    parts.join("/")
}
