//! Reads the lines of a feed.

use std::hint::black_box;
use std::sync::Arc;

use model::{
    Epoch, Event, EventBatch, EventBody, FeedStatus, Instrument, InstrumentId, InstrumentTable, Level,
    LevelSpan, Nanos, NumberError, OrdType, PairStatus, Price, Qty, Scale, Sequence, Side, Trade,
    symbol_is_valid,
};
use rust_decimal::Decimal;
use simd_json::{Buffers, Node, StaticNode, Tape};
use thiserror::Error;

use super::book_line;

/// Longest line; a longer one is refused by whoever splits lines. Holds a snapshot of some 20,000 levels.
pub const FEED_LINE_BYTES_MAX: usize = 1 << 20;

/// Most instruments of one feed.
pub const FEED_INSTRUMENTS_MAX: usize = 10_000;

/// Most levels of one line, both sides together.
pub const FEED_LEVELS_MAX: usize = 100_000;

/// Deepest nesting that a line has: object, side, level.
const NESTING_MAX: usize = 8;

/// Why a line was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FeedReject {
    /// Not one JSON object.
    #[error("not a JSON object")]
    NotJson,
    /// A `type` that the protocol does not have.
    #[error("unknown type")]
    UnknownType,
    /// A key that this type needs.
    #[error("{0} is missing or of the wrong type")]
    BadKey(&'static str),
    /// A text that is none of the allowed ones.
    #[error("{0} has an unknown value")]
    BadValue(&'static str),
    /// A symbol that no instrument line announced.
    #[error("symbol was never announced")]
    UnknownSymbol,
    /// A price or quantity that does not fit its instrument.
    #[error("{0}: {1}")]
    BadNumber(&'static str, NumberError),
    /// An instrument that was announced before with other increments.
    #[error("instrument was announced before with other increments")]
    Redefined,
    /// More than [`FEED_LEVELS_MAX`] levels or [`FEED_INSTRUMENTS_MAX`] instruments.
    #[error("more than {0} of them")]
    TooMany(usize),
}

impl FeedReject {
    /// All labels of [`Self::reason`].
    pub const REASONS: [&'static str; 7] =
        ["not_json", "unknown_type", "bad_key", "unknown_symbol", "bad_number", "redefined", "too_many"];

    /// The name in metric labels.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::UnknownType => "unknown_type",
            Self::BadKey(_) | Self::BadValue(_) => "bad_key",
            Self::UnknownSymbol => "unknown_symbol",
            Self::BadNumber(..) => "bad_number",
            Self::Redefined => "redefined",
            Self::TooMany(_) => "too_many",
        }
    }
}

/// Decodes lines one by one and numbers the instruments they announce.
///
/// Keeps its parser buffers, so that a line costs no allocation once they have grown.
pub struct FeedDecoder {
    instruments: InstrumentTable,
    buffers: Buffers,
    tape: Tape<'static>,
}

impl std::fmt::Debug for FeedDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedDecoder").field("instruments", &self.instruments.len()).finish_non_exhaustive()
    }
}

impl Default for FeedDecoder {
    fn default() -> Self {
        Self {
            instruments: InstrumentTable::default(),
            buffers: Buffers::with_max_depth(4_096, NESTING_MAX),
            tape: Tape(Vec::new()),
        }
    }
}

impl FeedDecoder {
    /// The instruments announced so far.
    #[must_use]
    pub const fn instruments(&self) -> &InstrumentTable {
        &self.instruments
    }

    /// Reads where the instrument of a book line of the usual form stands, and does nothing with it.
    ///
    /// With thousands of instruments that is in no cache: called for some lines before they are decoded, it has their memory fetched
    /// side by side instead of one after the other.
    pub fn warm(&self, line: &[u8]) {
        if let Some(symbol) = book_line::symbol(line) {
            black_box(self.instruments.listing(symbol));
        }
    }

    /// Reads one line (without its line feed) in place and appends its event to `out`.
    ///
    /// A refused line whose number could be read still appends a heartbeat with that number, so that a bad
    /// price is a gap of one instrument and not of the whole connection.
    ///
    /// # Errors
    /// Why the line was refused; the levels it brought are taken out of `out` again.
    pub fn decode_line(
        &mut self,
        line: &mut [u8],
        ts_recv: Nanos,
        out: &mut EventBatch,
    ) -> Result<(), FeedReject> {
        let levels_before = out.levels.len();
        if let Some(event) = book_line::read(line, &self.instruments, ts_recv, &mut out.levels) {
            out.events.push(event);
            return Ok(());
        }
        out.levels.truncate(levels_before);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        let result = match simd_json::fill_tape(line, &mut self.buffers, &mut tape) {
            Ok(()) => self.decode_nodes(&tape.0, ts_recv, out),
            Err(_) => Err(FeedReject::NotJson),
        };
        self.tape = tape.reset();
        result
    }

    fn decode_nodes(
        &mut self,
        nodes: &[Node<'_>],
        ts_recv: Nanos,
        out: &mut EventBatch,
    ) -> Result<(), FeedReject> {
        let fields = Fields::read(nodes)?;
        let line = fields.line.ok_or(FeedReject::BadKey("line"))?;
        let epoch = Epoch(fields.epoch.ok_or(FeedReject::BadKey("epoch"))?);
        if epoch == Epoch::default() {
            // A stream that nobody has told anything of stands at epoch 0 and sequence 0: the first snapshot must lie elsewhere.
            return Err(FeedReject::BadValue("epoch"));
        }
        let ts_event = Nanos(fields.ts.ok_or(FeedReject::BadKey("ts"))?);
        let levels_before = out.levels.len();
        let body = self.decode_body(&fields, ts_event, &mut out.levels);
        let refused = body.as_ref().err().copied();
        if refused.is_some() {
            out.levels.truncate(levels_before);
        }
        let body = body.unwrap_or(EventBody::Heartbeat);
        out.events.push(Event { epoch, line, ts_event, ts_recv, body });
        refused.map_or(Ok(()), Err)
    }

    fn decode_body(
        &mut self,
        fields: &Fields<'_, '_>,
        ts_event: Nanos,
        levels: &mut Vec<Level>,
    ) -> Result<EventBody, FeedReject> {
        match fields.kind.ok_or(FeedReject::BadKey("type"))? {
            "book_delta" => {
                let (instrument, seq, levels) = self.decode_book(fields, levels)?;
                Ok(EventBody::BookDelta { instrument, seq, levels })
            }
            "trade" => self.decode_trade(fields, ts_event),
            "book_snapshot" => {
                let (instrument, seq, levels) = self.decode_book(fields, levels)?;
                Ok(EventBody::BookSnapshot { instrument, seq, levels })
            }
            "heartbeat" => Ok(EventBody::Heartbeat),
            "instrument" => self.decode_instrument(fields),
            "status" => {
                let name = fields.system.ok_or(FeedReject::BadKey("system"))?;
                let status = FeedStatus::from_name(name).ok_or(FeedReject::BadValue("system"))?;
                Ok(EventBody::Status(status))
            }
            _ => Err(FeedReject::UnknownType),
        }
    }

    fn known(&self, fields: &Fields<'_, '_>) -> Result<(InstrumentId, &Instrument, Sequence), FeedReject> {
        let symbol = fields.symbol.ok_or(FeedReject::BadKey("symbol"))?;
        let id = self.instruments.id(symbol).ok_or(FeedReject::UnknownSymbol)?;
        let instrument = self.instruments.by_id(id).ok_or(FeedReject::UnknownSymbol)?;
        Ok((id, instrument, Sequence(fields.seq.ok_or(FeedReject::BadKey("seq"))?)))
    }

    fn decode_book(
        &self,
        fields: &Fields<'_, '_>,
        levels: &mut Vec<Level>,
    ) -> Result<(InstrumentId, Sequence, LevelSpan), FeedReject> {
        let (id, instrument, seq) = self.known(fields)?;
        let start = levels.len();
        decode_side(instrument, fields.bids.ok_or(FeedReject::BadKey("bids"))?, "bids", levels)?;
        let bids = levels.len() - start;
        decode_side(instrument, fields.asks.ok_or(FeedReject::BadKey("asks"))?, "asks", levels)?;
        let asks = levels.len() - start - bids;
        if bids + asks > FEED_LEVELS_MAX {
            return Err(FeedReject::TooMany(FEED_LEVELS_MAX));
        }
        Ok((id, seq, LevelSpan { start: start as u32, bids: bids as u32, asks: asks as u32 }))
    }

    fn decode_trade(&self, fields: &Fields<'_, '_>, ts_event: Nanos) -> Result<EventBody, FeedReject> {
        let (instrument, scales, seq) = self.known(fields)?;
        let id = fields.id.ok_or(FeedReject::BadKey("id"))?;
        let price = Price(number(scales.price, fields.price, "price")?);
        let qty = Qty(number(scales.qty, fields.qty, "qty")?);
        if price.0 == 0 || qty == Qty::ZERO {
            return Err(FeedReject::BadValue("price or qty"));
        }
        let taker = match fields.side.ok_or(FeedReject::BadKey("side"))? {
            "buy" => Side::Bid,
            "sell" => Side::Ask,
            _ => return Err(FeedReject::BadValue("side")),
        };
        let ord_type = fields.ord_type.ok_or(FeedReject::BadKey("ord_type"))?;
        let ord_type = OrdType::from_name(ord_type).ok_or(FeedReject::BadValue("ord_type"))?;
        let trade = Trade { id, price, qty, taker, ord_type, ts_event };
        Ok(EventBody::Trade { instrument, seq, trade, replay: fields.replay })
    }

    fn decode_instrument(&mut self, fields: &Fields<'_, '_>) -> Result<EventBody, FeedReject> {
        let instrument = fields.instrument()?;
        let known = self.instruments.id(&instrument.symbol).and_then(|id| self.instruments.by_id(id));
        match known {
            Some(known) if known.price != instrument.price || known.qty != instrument.qty => {
                return Err(FeedReject::Redefined);
            }
            None if self.instruments.len() == FEED_INSTRUMENTS_MAX => {
                return Err(FeedReject::TooMany(FEED_INSTRUMENTS_MAX));
            }
            _ => {}
        }
        let instrument = Arc::new(instrument);
        let id = self.instruments.insert(Arc::clone(&instrument));
        Ok(EventBody::Instrument(id, instrument))
    }
}

fn number(scale: Scale, text: Option<&str>, key: &'static str) -> Result<i64, FeedReject> {
    let text = text.ok_or(FeedReject::BadKey(key))?;
    scale.parse(text.as_bytes()).map_err(|error| FeedReject::BadNumber(key, error))
}

/// Appends the levels of one side; `nodes` begins with the array of `[price, qty]` arrays.
fn decode_side(
    instrument: &Instrument,
    nodes: &[Node<'_>],
    key: &'static str,
    levels: &mut Vec<Level>,
) -> Result<(), FeedReject> {
    let Some((Node::Array { .. }, mut rest)) = nodes.split_first() else {
        return Err(FeedReject::BadKey(key));
    };
    while let [Node::Array { len: 2, count: 2 }, Node::String(price), Node::String(qty), after @ ..] = rest {
        let price = number(instrument.price, Some(price), key)?;
        if price == 0 {
            return Err(FeedReject::BadValue(key));
        }
        let qty = number(instrument.qty, Some(qty), key)?;
        levels.push(Level { price: Price(price), qty: Qty(qty) });
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(FeedReject::BadKey(key)) }
}

/// The keys of a line, each where it was found and of the right type.
#[derive(Default)]
struct Fields<'t, 'i> {
    kind: Option<&'t str>,
    line: Option<u64>,
    epoch: Option<u64>,
    ts: Option<u64>,
    seq: Option<u64>,
    id: Option<u64>,
    symbol: Option<&'t str>,
    /// The nodes of the whole array, its opening node first.
    bids: Option<&'t [Node<'i>]>,
    asks: Option<&'t [Node<'i>]>,
    price: Option<&'t str>,
    qty: Option<&'t str>,
    side: Option<&'t str>,
    ord_type: Option<&'t str>,
    replay: bool,
    system: Option<&'t str>,
    status: Option<&'t str>,
    price_precision: Option<u64>,
    price_increment: Option<&'t str>,
    qty_precision: Option<u64>,
    qty_increment: Option<&'t str>,
    qty_min: Option<&'t str>,
    cost_precision: Option<u64>,
    cost_min: Option<&'t str>,
}

impl<'t, 'i> Fields<'t, 'i> {
    fn read(nodes: &'t [Node<'i>]) -> Result<Self, FeedReject> {
        let Some((Node::Object { .. }, mut rest)) = nodes.split_first() else {
            return Err(FeedReject::NotJson);
        };
        let mut fields = Self::default();
        while let [Node::String(key), value, ..] = rest {
            let len = match value {
                Node::Array { count, .. } | Node::Object { count, .. } => count + 1,
                Node::String(_) | Node::Static(_) => 1,
            };
            fields.put(key, &rest[1..=len]);
            rest = &rest[1 + len..];
        }
        Ok(fields)
    }

    /// Keeps a value under its key; unknown keys are ignored, so that a feed may say more than we read.
    fn put(&mut self, key: &str, value: &'t [Node<'i>]) {
        match key {
            "type" => self.kind = text(value),
            "line" => self.line = integer(value),
            "epoch" => self.epoch = integer(value),
            "ts" => self.ts = integer(value),
            "symbol" => self.symbol = text(value),
            "seq" => self.seq = integer(value),
            "bids" => self.bids = Some(value),
            "asks" => self.asks = Some(value),
            "id" => self.id = integer(value),
            "price" => self.price = text(value),
            "qty" => self.qty = text(value),
            "side" => self.side = text(value),
            "ord_type" => self.ord_type = text(value),
            "replay" => self.replay = matches!(value, [Node::Static(StaticNode::Bool(true))]),
            "system" => self.system = text(value),
            "status" => self.status = text(value),
            "price_precision" => self.price_precision = integer(value),
            "price_increment" => self.price_increment = text(value),
            "qty_precision" => self.qty_precision = integer(value),
            "qty_increment" => self.qty_increment = text(value),
            "qty_min" => self.qty_min = text(value),
            "cost_precision" => self.cost_precision = integer(value),
            "cost_min" => self.cost_min = text(value),
            _ => {}
        }
    }

    fn instrument(&self) -> Result<Instrument, FeedReject> {
        let symbol = self.symbol.ok_or(FeedReject::BadKey("symbol"))?;
        if !symbol_is_valid(symbol) {
            return Err(FeedReject::BadValue("symbol"));
        }
        let status = self.status.ok_or(FeedReject::BadKey("status"))?;
        let price = scale(self.price_precision, self.price_increment, "price_precision", "price_increment")?;
        let qty = scale(self.qty_precision, self.qty_increment, "qty_precision", "qty_increment")?;
        Ok(Instrument {
            symbol: symbol.into(),
            status: PairStatus::from_name(status).ok_or(FeedReject::BadValue("status"))?,
            price,
            qty,
            qty_min: Qty(number(qty, self.qty_min, "qty_min")?),
            cost_decimals: decimals(self.cost_precision, "cost_precision")?,
            cost_min: decimal(self.cost_min, "cost_min")?,
        })
    }
}

const fn text<'t>(value: &'t [Node<'_>]) -> Option<&'t str> {
    match value {
        [Node::String(text)] => Some(text),
        _ => None,
    }
}

fn integer(value: &[Node<'_>]) -> Option<u64> {
    match value {
        [Node::Static(StaticNode::U64(n))] => Some(*n),
        [Node::Static(StaticNode::I64(n))] => u64::try_from(*n).ok(),
        _ => None,
    }
}

fn decimals(value: Option<u64>, key: &'static str) -> Result<u8, FeedReject> {
    let decimals = value.and_then(|n| u8::try_from(n).ok()).ok_or(FeedReject::BadKey(key))?;
    if u32::from(decimals) <= model::SIGNIFICANT_DIGITS_MAX {
        Ok(decimals)
    } else {
        Err(FeedReject::BadValue(key))
    }
}

/// A decimal that stands outside the hot path and may be written with an exponent, such as `1e-08`.
fn decimal(text: Option<&str>, key: &'static str) -> Result<Decimal, FeedReject> {
    let text = text.ok_or(FeedReject::BadKey(key))?;
    let parsed = text.parse().or_else(|_| Decimal::from_scientific(text));
    parsed.map_err(|_| FeedReject::BadValue(key))
}

fn scale(
    precision: Option<u64>,
    increment: Option<&str>,
    precision_key: &'static str,
    increment_key: &'static str,
) -> Result<Scale, FeedReject> {
    let increment = decimal(increment, increment_key)?;
    Scale::from_increment(decimals(precision, precision_key)?, increment)
        .map_err(|error| FeedReject::BadNumber(increment_key, error))
}
