//! Tiers as they are written: each says only how it differs from `[delivery]`.

use toml::{Table, Value};

use super::keys;

/// Name of the tier that `[delivery]` describes.
pub(super) const DEFAULT: &str = "default";

/// Most tiers beside the default: their number travels with each client.
pub(super) const TIERS_MAX: usize = 15;

/// Takes the tiers out of what was written.
pub(super) fn take(written: &mut Table) -> Table {
    match written.remove("tiers") {
        Some(Value::Table(tiers)) => tiers,
        Some(other) => Table::from_iter([("tiers".to_owned(), other)]),
        None => Table::new(),
    }
}

/// What is wrong with the keys of tiers.
pub(super) fn problems(tiers: &Table, defaults: &Table) -> Vec<String> {
    let Some(Value::Table(delivery)) = defaults.get("delivery") else { return Vec::new() };
    let problems = |(name, tier): (&String, &Value)| match tier {
        Value::Table(tier) => {
            let found = keys::problems(tier, delivery);
            found.into_iter().map(|problem| format!("tiers.{name}.{problem}")).collect()
        }
        other => {
            vec![format!("tiers.{name}: expected a table such as [tiers.{name}], found {}", other.type_str())]
        }
    };
    tiers.iter().flat_map(problems).collect()
}

/// Lays each tier over `[delivery]` as it is now.
pub(super) fn finish(tiers: Table, merged: &mut Table) {
    let delivery = merged.get("delivery").and_then(Value::as_table).cloned().unwrap_or_default();
    let whole = tiers.into_iter().filter_map(|(name, tier)| {
        let Value::Table(tier) = tier else { return None };
        let mut whole = delivery.clone();
        super::load::lay_over(&mut whole, tier);
        Some((name, Value::Table(whole)))
    });
    let whole: Table = whole.collect();
    merged.insert("tiers".to_owned(), Value::Table(whole));
}
