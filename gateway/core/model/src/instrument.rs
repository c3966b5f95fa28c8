//! Instruments and the table that numbers them.

use std::sync::Arc;

use foldhash::fast::FixedState;
use indexmap::IndexMap;
use rust_decimal::Decimal;

use crate::{Price, Qty, Scale};

/// Dense number of an instrument in this process: its index in the [`InstrumentTable`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(pub u32);

impl InstrumentId {
    /// Index into a table of instruments.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Trading state of an instrument, as clients see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PairStatus {
    /// Normal trading.
    #[default]
    Online,
    /// Orders can only be cancelled.
    CancelOnly,
    /// No longer traded.
    Delisted,
    /// Only limit orders.
    LimitOnly,
    /// Halted; also what the gateway says while its data is stale.
    Maintenance,
    /// Only resting orders.
    PostOnly,
    /// Positions can only shrink.
    ReduceOnly,
    /// Being set up.
    WorkInProgress,
}

impl PairStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Online,
        Self::CancelOnly,
        Self::Delisted,
        Self::LimitOnly,
        Self::Maintenance,
        Self::PostOnly,
        Self::ReduceOnly,
        Self::WorkInProgress,
    ];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::CancelOnly => "cancel_only",
            Self::Delisted => "delisted",
            Self::LimitOnly => "limit_only",
            Self::Maintenance => "maintenance",
            Self::PostOnly => "post_only",
            Self::ReduceOnly => "reduce_only",
            Self::WorkInProgress => "work_in_progress",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// What is known of one traded instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// `BASE/QUOTE` in capital letters and digits; see [`symbol_is_valid`].
    pub symbol: Box<str>,
    /// Trading state that the venue announced.
    pub status: PairStatus,
    /// Between prices in ticks and text.
    pub price: Scale,
    /// Between quantities in lots and text.
    pub qty: Scale,
    /// Smallest order, in lots.
    pub qty_min: Qty,
    /// Decimals of price times quantity.
    pub cost_decimals: u8,
    /// Smallest price times quantity of an order.
    pub cost_min: Decimal,
}

impl Instrument {
    /// The asset that is bought and sold.
    #[must_use]
    pub fn base(&self) -> &str {
        self.symbol.split_once('/').map_or(&*self.symbol, |(base, _)| base)
    }

    /// The asset that prices are counted in.
    #[must_use]
    pub fn quote(&self) -> &str {
        self.symbol.split_once('/').map_or("", |(_, quote)| quote)
    }

    /// Appends a price as padded decimal text.
    pub fn write_price(&self, price: Price, out: &mut Vec<u8>) {
        self.price.write(price.0, out);
    }

    /// Appends a quantity as padded decimal text.
    pub fn write_qty(&self, qty: Qty, out: &mut Vec<u8>) {
        self.qty.write(qty.0, out);
    }
}

/// Whether a text has the form of a symbol: `[A-Z0-9]{1,12}/[A-Z0-9]{1,12}`.
#[must_use]
pub fn symbol_is_valid(text: &str) -> bool {
    let part = |s: &str| {
        (1..=12).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
    };
    text.split_once('/').is_some_and(|(base, quote)| part(base) && part(quote))
}

/// All instruments of a feed, numbered in the order in which the feed announced them.
///
/// Instruments are never removed: a number stays valid for the life of the process. The hasher has a
/// fixed seed and the map keeps insertion order, so the table is the same in every run.
#[derive(Clone, Debug, Default)]
pub struct InstrumentTable {
    by_symbol: IndexMap<Box<str>, Arc<Instrument>, FixedState>,
}

impl InstrumentTable {
    /// Adds an instrument or replaces the one of the same symbol, and says its number.
    pub fn insert(&mut self, instrument: Arc<Instrument>) -> InstrumentId {
        let (index, _) = self.by_symbol.insert_full(instrument.symbol.clone(), instrument);
        InstrumentId(u32::try_from(index).expect("instruments are limited to thousands by the feed decoder"))
    }

    /// The number of a symbol.
    #[must_use]
    pub fn id(&self, symbol: &str) -> Option<InstrumentId> {
        self.by_symbol.get_index_of(symbol).map(|index| InstrumentId(index as u32))
    }

    /// The instrument of a number.
    #[must_use]
    pub fn by_id(&self, id: InstrumentId) -> Option<&Arc<Instrument>> {
        self.by_symbol.get_index(id.index()).map(|(_, instrument)| instrument)
    }

    /// How many there are; numbers run from 0 to this.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_symbol.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_symbol.is_empty()
    }

    /// All instruments in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Arc<Instrument>)> {
        self.by_symbol.values().enumerate().map(|(index, one)| (InstrumentId(index as u32), one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_capital_letters_and_digits_around_one_slash() {
        for good in ["BTC/USD", "1INCH/EUR", "A/B"] {
            assert!(symbol_is_valid(good), "{good}");
        }
        for bad in
            ["", "BTCUSD", "btc/usd", "BTC/", "/USD", "BTC/USD/X", "BTC/US D", "BTC/ÜSD", "ABCDEFGHIJKLM/USD"]
        {
            assert!(!symbol_is_valid(bad), "{bad}");
        }
    }
}
