//! A script of feed lines made from bytes: well formed, and wrong in what they say.
//!
//! Sequences go on, repeat or skip; epochs change; prices, quantities and times lie at their bounds as often as in the middle.
//! What is played goes to the [`Feed`] line by line.

use arbitrary::{Result, Unstructured};
use model::{
    Epoch, FeedStatus, Instrument, Level, Levels, Nanos, OrdType, PairStatus, Price, Qty, Scale, Sequence,
    Side, Trade,
};
use rust_decimal::Decimal;
use wire::feed::FeedWriter;

use super::Feed;

/// Most units of a number: 15 digits.
const UNITS_MAX: i64 = 999_999_999_999_999;

/// Middle of the small prices.
const MIDDLE: i64 = 1_000;

/// Decimals and increment.
struct Steps(u8, &'static str);

/// Of prices and of quantities: usual ones, the finest, the coarsest.
const STEPS: [[Steps; 2]; 3] = [
    [Steps(1, "0.1"), Steps(8, "0.00000001")],
    [Steps(0, "1"), Steps(15, "0.000000000000001")],
    [Steps(2, "0.25"), Steps(0, "999999999")],
];

/// Plays a script to its end.
pub(super) fn play(bytes: &[u8], feed: &mut Feed) {
    let mut u = Unstructured::new(bytes);
    let mut script = Script::new();
    script.announce_all(feed);
    // What is cut off at the end is left out.
    while !u.is_empty() && script.step(&mut u, feed).is_ok() {}
}

/// The feed's side.
struct Script {
    writer: FeedWriter,
    instruments: Vec<Instrument>,
    /// By the index of the instrument.
    seqs: Vec<u64>,
    ts: u64,
}

impl Script {
    fn new() -> Self {
        let instruments: Vec<_> = (0..STEPS.len()).map(instrument).collect();
        Self {
            writer: FeedWriter::new(Epoch(1)),
            seqs: vec![0; instruments.len()],
            instruments,
            ts: 1_700_000_000_000_000_000,
        }
    }

    fn announce_all(&mut self, feed: &mut Feed) {
        for one in &self.instruments {
            let mut out = Vec::new();
            self.writer.instrument(Nanos(self.ts), one, &mut out);
            feed.take_line(&out);
        }
    }

    fn step(&mut self, u: &mut Unstructured<'_>, feed: &mut Feed) -> Result<()> {
        let mut out = Vec::new();
        match u.int_in_range(0..=15)? {
            0..=4 => self.book(u, false, &mut out)?,
            5..=7 => self.book(u, true, &mut out)?,
            8..=10 => self.trade(u, &mut out)?,
            11 => self.announce(u, &mut out)?,
            12 => {
                let status = *u.choose(&FeedStatus::ALL)?;
                self.writer.status(Nanos(self.ts), status, &mut out);
            }
            13 => self.writer.skip_line(),
            14 => self.next_epoch(u)?,
            _ => self.trouble(u, feed)?,
        }
        if out.pop().is_some() {
            feed.take_line(&out);
        }
        Ok(())
    }

    fn pick(&mut self, u: &mut Unstructured<'_>) -> Result<(Instrument, Sequence)> {
        let index = u.choose_index(self.instruments.len())?;
        let next = self.seqs[index].saturating_add(1);
        let seq = match u.int_in_range(0..=15)? {
            0 => next.saturating_sub(1),
            1 => next.saturating_add(1),
            2 => u64::from(u.arbitrary::<u16>()?),
            3 => u.arbitrary()?,
            _ => next,
        };
        self.seqs[index] = seq;
        Ok((self.instruments[index].clone(), Sequence(seq)))
    }

    fn time(&mut self, u: &mut Unstructured<'_>) -> Result<Nanos> {
        self.ts = match u.int_in_range(0..=15)? {
            0 => u.arbitrary()?,
            1 => self.ts.saturating_sub(u64::from(u.arbitrary::<u16>()?) * 1_000_000_000),
            2 => self.ts.saturating_add(u64::from(u.arbitrary::<u16>()?) * 10_000_000_000),
            _ => self.ts.saturating_add(1_000_000),
        };
        Ok(Nanos(self.ts))
    }

    fn book(&mut self, u: &mut Unstructured<'_>, is_snapshot: bool, out: &mut Vec<u8>) -> Result<()> {
        let (one, seq) = self.pick(u)?;
        let ts = self.time(u)?;
        let (bids, asks) = (side(u, &one, Side::Bid)?, side(u, &one, Side::Ask)?);
        let levels = Levels { bids: &bids, asks: &asks };
        if is_snapshot {
            self.writer.book_snapshot(ts, &one, seq, levels, out);
        } else {
            self.writer.book_delta(ts, &one, seq, levels, out);
        }
        Ok(())
    }

    fn trade(&mut self, u: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
        let (one, seq) = self.pick(u)?;
        let ts_event = self.time(u)?;
        let trade = Trade {
            id: if u.ratio(1, 8)? { u.arbitrary()? } else { seq.0 },
            price: Price(price(u, &one, Side::Ask)?),
            qty: Qty(quantity(u, one.qty)?.max(1)),
            taker: if u.ratio(1, 2)? { Side::Bid } else { Side::Ask },
            ord_type: OrdType::Limit,
            ts_event,
        };
        let replay = u.ratio(1, 4)?;
        self.writer.trade(ts_event, &one, seq, &trade, replay, out);
        Ok(())
    }

    /// Announces an instrument, with another state or, against the rules, with other increments.
    fn announce(&mut self, u: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
        let index = u.choose_index(self.instruments.len())?;
        let mut one = self.instruments[index].clone();
        one.status = *u.choose(&PairStatus::ALL)?;
        if u.ratio(1, 8)? {
            one.price = Scale::new(u.int_in_range(0..=15)?);
        }
        self.writer.instrument(Nanos(self.ts), &one, out);
        Ok(())
    }

    fn next_epoch(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let epoch = if u.ratio(1, 4)? { u.arbitrary()? } else { self.writer.epoch().0.wrapping_add(1) };
        self.writer.set_epoch(Epoch(epoch));
        self.seqs.fill(0);
        Ok(())
    }

    fn trouble(&mut self, u: &mut Unstructured<'_>, feed: &mut Feed) -> Result<()> {
        match u.int_in_range(0..=2)? {
            0 => {
                self.writer = FeedWriter::new(self.writer.epoch());
                feed.connect();
            }
            1 => feed.disconnect(),
            _ => feed.wait(Nanos::from_millis(u64::from(u.arbitrary::<u8>()?) * 10)),
        }
        Ok(())
    }
}

fn instrument(index: usize) -> Instrument {
    let [price, qty] = STEPS[index].each_ref().map(|Steps(decimals, increment)| {
        let increment: Decimal = increment.parse().expect("a constant of ours");
        Scale::from_increment(*decimals, increment).expect("a constant of ours")
    });
    Instrument {
        symbol: format!("S{index}/USD").into(),
        status: PairStatus::Online,
        price,
        qty,
        qty_min: Qty(1),
        cost_decimals: 5,
        cost_min: Decimal::ONE,
    }
}

/// Up to a dozen levels of a side, mostly on its side of the middle.
fn side(u: &mut Unstructured<'_>, one: &Instrument, side: Side) -> Result<Vec<Level>> {
    let mut levels = Vec::new();
    for _ in 0..u.int_in_range(0..=12)? {
        let price = Price(price(u, one, side)?);
        let qty = if u.ratio(1, 3)? { 0 } else { quantity(u, one.qty)? };
        levels.push(Level { price, qty: Qty(qty) });
    }
    Ok(levels)
}

/// A price in ticks, at least 1.
fn price(u: &mut Unstructured<'_>, one: &Instrument, side: Side) -> Result<i64> {
    let distance = i64::from(u.int_in_range(0..=63_u8)?);
    let max = UNITS_MAX / i64::from(one.price.step());
    let price = match (distance, side) {
        (0, _) => max,
        (1, _) => MIDDLE,
        (_, Side::Bid) => MIDDLE - distance,
        (_, Side::Ask) => MIDDLE + distance,
    };
    Ok(price.min(max))
}

/// A quantity in lots: small, or as large as it may be.
fn quantity(u: &mut Unstructured<'_>, scale: Scale) -> Result<i64> {
    let small = i64::from(u.arbitrary::<u8>()?);
    let max = UNITS_MAX / i64::from(scale.step());
    Ok(if small == 255 { max } else { small.min(max) })
}
