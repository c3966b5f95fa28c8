//! Instruments and the table that numbers them.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
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
/// fixed seed, so the table is the same in every run.
#[derive(Clone, Debug, Default)]
pub struct InstrumentTable {
    /// By number.
    instruments: Vec<Arc<Instrument>>,
    /// A power of two of places, at most three quarters of them taken.
    slots: Vec<Slot>,
    hasher: FixedState,
}

/// What a line of the feed needs of its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its number.
    pub id: InstrumentId,
    /// Between its prices in ticks and text.
    pub price: Scale,
    /// Between its quantities in lots and text.
    pub qty: Scale,
}

/// A place of the hash table. With thousands of instruments the one that a line is about is in no cache, and each place in memory that
/// it leads to costs as much as reading the line: so there is one, a cache line with all that is needed, or its neighbours.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Slot {
    name: Name,
    listing: Listing,
}

const _: () = assert!(size_of::<Slot>() == 64);

/// Longest valid symbol.
pub const SYMBOL_BYTES_MAX: usize = 25;

/// The text of a symbol and its length, as they are compared: at once, not octet by octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Name([u8; SYMBOL_BYTES_MAX + 1]);

impl Slot {
    /// One that nothing stands in: no symbol is empty.
    const EMPTY: Self = Self {
        name: Name([0; SYMBOL_BYTES_MAX + 1]),
        listing: Listing { id: InstrumentId(0), price: Scale::new(0), qty: Scale::new(0) },
    };

    fn listing(&self) -> Option<Listing> {
        (self.name != Self::EMPTY.name).then_some(self.listing)
    }
}

impl Name {
    /// None of a text that is empty or too long to be a symbol.
    fn of(symbol: &[u8]) -> Option<Self> {
        if symbol.is_empty() || symbol.len() > SYMBOL_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; SYMBOL_BYTES_MAX + 1];
        bytes[..symbol.len()].copy_from_slice(symbol);
        bytes[SYMBOL_BYTES_MAX] = symbol.len() as u8;
        Some(Self(bytes))
    }
}

impl InstrumentTable {
    /// Adds an instrument or replaces the one of the same symbol, and says its number.
    ///
    /// # Panics
    /// When the symbol is empty or longer than a valid one.
    pub fn insert(&mut self, instrument: Arc<Instrument>) -> InstrumentId {
        let name = Name::of(instrument.symbol.as_bytes()).expect("the feed decoder refuses invalid symbols");
        // A quarter of the places stays empty, so that searches are short and end.
        if (self.instruments.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let place = self.place(&name);
        let known = self.slots[place].listing().map(|listing| listing.id);
        let id = known.unwrap_or_else(|| {
            let count = u32::try_from(self.instruments.len());
            InstrumentId(count.expect("instruments are limited to thousands by the feed decoder"))
        });
        let listing = Listing { id, price: instrument.price, qty: instrument.qty };
        self.slots[place] = Slot { name, listing };
        match self.instruments.get_mut(id.index()) {
            Some(known) => *known = instrument,
            None => self.instruments.push(instrument),
        }
        id
    }

    fn grow(&mut self) {
        let places = (2 * self.slots.len()).max(16);
        let slots = std::mem::replace(&mut self.slots, vec![Slot::EMPTY; places]);
        for slot in slots.into_iter().filter(|slot| slot.listing().is_some()) {
            let place = self.place(&slot.name);
            self.slots[place] = slot;
        }
    }

    /// Where a name stands or would stand. There are places, and not all are taken.
    fn place(&self, name: &Name) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = self.hasher.hash_one(name) as usize & mask;
        while self.slots[place].name != *name && self.slots[place].listing().is_some() {
            place = (place + 1) & mask;
        }
        place
    }

    /// What is needed to read a line about a symbol.
    #[must_use]
    pub fn listing(&self, symbol: &[u8]) -> Option<Listing> {
        let name = Name::of(symbol).filter(|_| !self.slots.is_empty())?;
        self.slots[self.place(&name)].listing()
    }

    /// The number of a symbol.
    #[must_use]
    pub fn id(&self, symbol: &str) -> Option<InstrumentId> {
        self.listing(symbol.as_bytes()).map(|listing| listing.id)
    }

    /// The instrument of a number.
    #[must_use]
    pub fn by_id(&self, id: InstrumentId) -> Option<&Arc<Instrument>> {
        self.instruments.get(id.index())
    }

    /// How many there are; numbers run from 0 to this.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instruments.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instruments.is_empty()
    }

    /// All instruments in order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Arc<Instrument>)> {
        self.instruments.iter().enumerate().map(|(index, one)| (InstrumentId(index as u32), one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instrument(symbol: &str, decimals: u8) -> Arc<Instrument> {
        Arc::new(Instrument {
            symbol: symbol.into(),
            status: PairStatus::Online,
            price: Scale::new(decimals),
            qty: Scale::new(8),
            qty_min: Qty(1),
            cost_decimals: 5,
            cost_min: Decimal::ZERO,
        })
    }

    #[test]
    fn symbols_are_found_by_their_whole_text_and_keep_their_numbers() {
        let mut table = InstrumentTable::default();
        assert_eq!(table.id("BTC/USD"), None, "nothing is in it");
        let symbols: Vec<String> = (0..5_000).map(|n| format!("S{n}/USD")).collect();
        for (index, symbol) in symbols.iter().enumerate() {
            assert_eq!(table.insert(instrument(symbol, 2)), InstrumentId(index as u32), "{symbol}");
        }
        assert_eq!(table.insert(instrument("S7/USD", 3)), InstrumentId(7), "it is known");
        assert_eq!(table.len(), symbols.len());
        for (index, symbol) in symbols.iter().enumerate() {
            let id = InstrumentId(index as u32);
            let price = Scale::new(if index == 7 { 3 } else { 2 });
            let listing = Listing { id, price, qty: Scale::new(8) };
            assert_eq!(table.listing(symbol.as_bytes()), Some(listing), "{symbol}");
            let known = table.by_id(id).unwrap();
            assert_eq!((&*known.symbol, known.price), (&**symbol, price));
        }
        let longest = "ABCDEFGHIJKL/ABCDEFGHIJKL";
        let id = table.insert(instrument(longest, 2));
        assert_eq!(table.id(longest), Some(id));
        for unknown in ["", "S5000/USD", "S7/US", "S7/USD\0", "S7/USDT", &format!("{longest}M")] {
            assert_eq!(table.id(unknown), None, "{unknown:?}");
        }
    }

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
