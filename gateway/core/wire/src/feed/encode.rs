//! Writes the lines of one feed connection and numbers them.

use model::{Epoch, FeedStatus, Instrument, Level, Levels, Nanos, Price, Qty, Sequence, Trade};

use crate::text::write_int;

/// Numbers and writes the lines of one connection. Every line ends in a line feed.
#[derive(Clone, Debug)]
pub struct FeedWriter {
    /// Number of the last line written; the first is 1.
    line: u64,
    epoch: Epoch,
}

impl FeedWriter {
    /// A writer before its first line.
    #[must_use]
    pub const fn new(epoch: Epoch) -> Self {
        Self { line: 0, epoch }
    }

    /// The generation that is written into every line.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Begins another generation; line numbers go on.
    pub const fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// Number of the last line written.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Counts a line that is not written: a transport gap, on purpose.
    pub const fn skip_line(&mut self) {
        self.line += 1;
    }

    /// Writes what every line begins with: `{"type":"..","line":n,"epoch":n,"ts":n`.
    pub fn prefix(&mut self, kind: &str, ts: Nanos, out: &mut Vec<u8>) {
        self.line += 1;
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"line\":");
        write_int(self.line, out);
        out.extend_from_slice(b",\"epoch\":");
        write_int(self.epoch.0, out);
        out.extend_from_slice(b",\"ts\":");
        write_int(ts.0, out);
    }

    fn symbol_prefix(&mut self, kind: &str, ts: Nanos, instrument: &Instrument, out: &mut Vec<u8>) {
        self.prefix(kind, ts, out);
        // Symbols are capital letters, digits and a slash: nothing to escape.
        out.extend_from_slice(b",\"symbol\":\"");
        out.extend_from_slice(instrument.symbol.as_bytes());
        out.push(b'"');
    }

    fn event_prefix(
        &mut self,
        kind: &str,
        ts: Nanos,
        instrument: &Instrument,
        seq: Sequence,
        out: &mut Vec<u8>,
    ) {
        self.symbol_prefix(kind, ts, instrument, out);
        out.extend_from_slice(b",\"seq\":");
        write_int(seq.0, out);
    }

    /// Announces an instrument or its new status.
    pub fn instrument(&mut self, ts: Nanos, one: &Instrument, out: &mut Vec<u8>) {
        self.symbol_prefix("instrument", ts, one, out);
        for (key, value) in [
            ("status", format!("\"{}\"", one.status.name())),
            ("price_precision", one.price.decimals().to_string()),
            ("price_increment", format!("\"{}\"", one.price.increment())),
            ("qty_precision", one.qty.decimals().to_string()),
            ("qty_increment", format!("\"{}\"", one.qty.increment())),
            ("qty_min", format!("\"{}\"", one.qty.decimal(one.qty_min.0))),
            ("cost_precision", one.cost_decimals.to_string()),
            ("cost_min", format!("\"{}\"", one.cost_min)),
        ] {
            out.extend_from_slice(format!(",\"{key}\":{value}").as_bytes());
        }
        out.extend_from_slice(b"}\n");
    }

    /// Writes the whole book as it stands after the event `seq`.
    pub fn book_snapshot(
        &mut self,
        ts: Nanos,
        instrument: &Instrument,
        seq: Sequence,
        levels: Levels<'_>,
        out: &mut Vec<u8>,
    ) {
        self.event_prefix("book_snapshot", ts, instrument, seq, out);
        write_levels(instrument, levels, out);
    }

    /// Writes changed levels with their absolute quantities.
    pub fn book_delta(
        &mut self,
        ts: Nanos,
        instrument: &Instrument,
        seq: Sequence,
        levels: Levels<'_>,
        out: &mut Vec<u8>,
    ) {
        self.event_prefix("book_delta", ts, instrument, seq, out);
        write_levels(instrument, levels, out);
    }

    /// Writes a trade; `replay` marks one that is told again.
    pub fn trade(
        &mut self,
        ts: Nanos,
        instrument: &Instrument,
        seq: Sequence,
        trade: &Trade,
        replay: bool,
        out: &mut Vec<u8>,
    ) {
        self.event_prefix("trade", ts, instrument, seq, out);
        out.extend_from_slice(b",\"id\":");
        write_int(trade.id, out);
        out.extend_from_slice(b",\"price\":\"");
        instrument.write_price(trade.price, out);
        out.extend_from_slice(b"\",\"qty\":\"");
        instrument.write_qty(trade.qty, out);
        out.extend_from_slice(b"\",\"side\":\"");
        out.extend_from_slice(trade.taker.taker().as_bytes());
        out.extend_from_slice(b"\",\"ord_type\":\"");
        out.extend_from_slice(trade.ord_type.name().as_bytes());
        out.extend_from_slice(if replay { b"\",\"replay\":true}\n".as_slice() } else { b"\"}\n" });
    }

    /// Writes the venue's state.
    pub fn status(&mut self, ts: Nanos, status: FeedStatus, out: &mut Vec<u8>) {
        self.prefix("status", ts, out);
        out.extend_from_slice(b",\"system\":\"");
        out.extend_from_slice(status.name().as_bytes());
        out.extend_from_slice(b"\"}\n");
    }

    /// Writes a sign of life.
    pub fn heartbeat(&mut self, ts: Nanos, out: &mut Vec<u8>) {
        self.prefix("heartbeat", ts, out);
        out.extend_from_slice(b"}\n");
    }
}

fn write_levels(instrument: &Instrument, levels: Levels<'_>, out: &mut Vec<u8>) {
    write_side(",\"bids\":[", instrument, levels.bids, out);
    write_side("],\"asks\":[", instrument, levels.asks, out);
    out.extend_from_slice(b"]}\n");
}

fn write_side(opening: &str, instrument: &Instrument, levels: &[Level], out: &mut Vec<u8>) {
    out.extend_from_slice(opening.as_bytes());
    for (index, &Level { price, qty }) in levels.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[\"" } else { b",[\"" });
        write_pair(instrument, price, qty, out);
        out.extend_from_slice(b"\"]");
    }
}

fn write_pair(instrument: &Instrument, price: Price, qty: Qty, out: &mut Vec<u8>) {
    instrument.write_price(price, out);
    out.extend_from_slice(b"\",\"");
    instrument.write_qty(qty, out);
}
