//! A book as a careful client keeps it: sorted integers of units, cut to the subscribed depth after each update.

use std::collections::BTreeMap;

use serde_json::Value;

/// Decimals of the prices and quantities of a symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Precision {
    pub price: i32,
    pub qty: i32,
}

/// Price units to quantity units, and no bounds.
pub type Side = BTreeMap<u64, u64>;

/// Both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    pub bids: Side,
    pub asks: Side,
}

impl Book {
    /// Sets the levels of a data element; in each side removals come before the other levels.
    pub fn apply(&mut self, element: &Value, precision: Precision, depth: usize) {
        for (key, is_bid) in [("bids", true), ("asks", false)] {
            let levels = element[key].as_array().unwrap_or_else(|| panic!("no {key}: {element}"));
            let side = if is_bid { &mut self.bids } else { &mut self.asks };
            let mut last_was_removal = true;
            for level in levels {
                let price = units(&level["price"], precision.price);
                let qty = units(&level["qty"], precision.qty);
                assert!(last_was_removal || qty > 0, "removals come first in a side: {element}");
                last_was_removal = qty == 0;
                if qty > 0 {
                    side.insert(price, qty);
                } else {
                    side.remove(&price);
                }
            }
        }
        self.cut(depth);
    }

    /// Forgets what is beyond the best levels.
    pub fn cut(&mut self, depth: usize) {
        while self.bids.len() > depth {
            self.bids.pop_first();
        }
        while self.asks.len() > depth {
            self.asks.pop_last();
        }
    }

    /// The best levels of another book.
    pub fn top(&self, depth: usize) -> Self {
        let mut top = self.clone();
        top.cut(depth);
        top
    }

    /// Best bid and ask with their quantities.
    pub fn best(&self) -> Option<[(u64, u64); 2]> {
        let (bid, ask) = (self.bids.last_key_value()?, self.asks.first_key_value()?);
        Some([bid, ask].map(|(&price, &qty)| (price, qty)))
    }

    /// Ten best asks, then ten best bids, digits of price and quantity.
    pub fn checksum(&self) -> u32 {
        let mut text = String::new();
        for (price, qty) in self.asks.iter().take(10).chain(self.bids.iter().rev().take(10)) {
            text += &format!("{price}{qty}");
        }
        crc32fast::hash(text.as_bytes())
    }
}

/// A JSON number in units of its last decimal: what has at most 15 digits survives a double.
pub fn units(number: &Value, decimals: i32) -> u64 {
    let number = number.as_f64().unwrap_or_else(|| panic!("no number: {number}"));
    (number * 10_f64.powi(decimals)).round() as u64
}

/// A decimal text of fixed padding in units of its last decimal.
pub fn text_units(text: &Value) -> u64 {
    let text = text.as_str().expect("a number as text");
    text.replace('.', "").parse().unwrap_or_else(|_| panic!("no number: {text}"))
}
