//! Reference data: assets and pairs.

use std::collections::BTreeMap;

use model::{Instrument, PairStatus};
use rust_decimal::Decimal;

use crate::text::write_int;

/// What is known of an asset: it is derived from the instruments that name it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssetInfo {
    /// Most decimals that any instrument counts this asset in. Never below the decimals of a quantity, because
    /// clients round amounts to it.
    pub decimals: u8,
}

/// All assets of some instruments, by name.
#[must_use]
pub fn assets<'a>(instruments: impl Iterator<Item = &'a Instrument>) -> BTreeMap<&'a str, AssetInfo> {
    let mut assets: BTreeMap<&str, AssetInfo> = BTreeMap::new();
    for one in instruments {
        let sides =
            [(one.base(), one.qty.decimals()), (one.quote(), one.cost_decimals.max(one.price.decimals()))];
        for (name, decimals) in sides {
            let asset = assets.entry(name).or_default();
            asset.decimals = asset.decimals.max(decimals);
        }
    }
    assets
}

/// A snapshot of all instruments, or an update of the changed ones; each with the status that clients are told.
pub fn instruments<'a>(
    kind: &str,
    pairs: impl Iterator<Item = (&'a Instrument, PairStatus)> + Clone,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"channel\":\"instrument\",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"data\":{\"assets\":[");
    let mut comma = "";
    for (name, asset) in assets(pairs.clone().map(|(pair, _)| pair)) {
        out.extend_from_slice(comma.as_bytes());
        write_asset(name, asset, out);
        comma = ",";
    }
    out.extend_from_slice(b"],\"pairs\":[");
    comma = "";
    for (pair, status) in pairs {
        out.extend_from_slice(comma.as_bytes());
        write_pair(pair, status, out);
        comma = ",";
    }
    out.extend_from_slice(b"]}}");
}

fn write_asset(name: &str, asset: AssetInfo, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"status\":\"enabled\",\"precision\":");
    write_int(asset.decimals, out);
    out.extend_from_slice(b",\"precision_display\":");
    write_int(asset.decimals.min(5), out);
    out.extend_from_slice(b",\"borrowable\":false,\"collateral_value\":0.00,\"margin_rate\":0.000000}");
}

fn write_pair(pair: &Instrument, status: PairStatus, out: &mut Vec<u8>) {
    let text = |key: &str, value: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(format!("\"{key}\":\"{value}\",").as_bytes());
    };
    let number = |key: &str, value: Decimal, out: &mut Vec<u8>| {
        out.extend_from_slice(format!("\"{key}\":{value},").as_bytes());
    };
    out.push(b'{');
    text("symbol", &pair.symbol, out);
    text("base", pair.base(), out);
    text("quote", pair.quote(), out);
    text("status", status.name(), out);
    number("qty_precision", pair.qty.decimals().into(), out);
    number("qty_increment", pair.qty.increment(), out);
    number("qty_min", pair.qty.decimal(pair.qty_min.0), out);
    number("price_precision", pair.price.decimals().into(), out);
    number("price_increment", pair.price.increment(), out);
    number("tick_size", pair.price.increment(), out);
    number("cost_precision", pair.cost_decimals.into(), out);
    number("cost_min", pair.cost_min, out);
    out.extend_from_slice(
        b"\"marginable\":false,\"has_index\":false,\"position_limit_long\":0,\"position_limit_short\":0}",
    );
}
