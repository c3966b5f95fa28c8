//! The words of the gateway: what the other crates talk about, and nothing they do.
//!
//! Never encodes, never keeps a book, never looks at a clock. One concept, one word:
//!
//! | concept | in code | not |
//! |---|---|---|
//! | instrument and its text name | [`Instrument`], [`InstrumentId`], `symbol` | coin, pair |
//! | price step, quantity step | tick, lot; a [`Scale`] ties them to text | precision |
//! | price and quantity as integers | [`Price`] in ticks, [`Qty`] in lots | `f64`, decimals inside |
//! | the two sides of a book | [`Side`]: bid, ask | buy/sell for book sides |
//! | one price and its quantity | [`Level`]; quantity 0 removes | row, entry |
//! | message from the feed | [`Event`] | tick |
//! | position in an instrument's stream; its generation | [`Sequence`], [`Epoch`] | id, version, offset |
//! | venue time, our receive time, our publish time | `ts_event`, `ts_recv`, `ts_publish`: [`Nanos`] | timestamp |
//! | what a client subscribes to | [`Channel`], [`StreamKey`] | topic, room |
//! | client that cannot keep up | slow consumer, lagging | lagger |
//! | bring a lagging client up with merged data | conflate | merge, dedupe |
#![forbid(unsafe_code)]

mod digits;
mod event;
mod instrument;
mod policy;
mod price;
mod sequence;
mod stream;
mod time;
mod update;

pub use digits::{POWERS, Pen, eight_as_text, leading_digits, push_digits, write_within};
pub use event::{Event, EventBatch, EventBody, FeedStatus, LevelSpan, Levels, OrdType, Trade};
pub use instrument::{
    Instrument, InstrumentId, InstrumentTable, Listing, PairStatus, SYMBOL_BYTES_MAX, symbol_is_valid,
};
pub use policy::Policy;
pub use price::{Level, NumberError, Price, Qty, SIGNIFICANT_DIGITS_MAX, Scale, Side};
pub use sequence::{Epoch, Sequence};
pub use stream::{Channel, DEPTHS, INTERVALS_MIN, STREAMS_PER_INSTRUMENT, StreamId, StreamKey, Trigger};
pub use time::Nanos;
pub use update::{Candle, Ticker, WindowChange, WindowDelta};
