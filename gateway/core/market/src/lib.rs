//! The state of the gateway: what is known of each instrument after the last event of the feed.
//!
//! Owns books, 24 h figures, recent trades, candles, and the knowledge whether an instrument's data is
//! stale or fresh. Never reads a clock, waits, encodes, or knows who subscribes.
//! Events come from a feed source in an [`model::EventBatch`]; the engine drains [`Output`]s, asks for
//! the values it needs and hands them to the wire.
//!
//! The contract, in the order in which the engine uses it:
//!
//! 1. give one input ([`Market::apply`] or a `handle_` function), with its time;
//! 2. drain [`Market::poll_output`] until there is none; [`Market::apply`] asserts that this was done,
//!    because [`Market::window_delta`] speaks of the last book event only;
//! 3. whatever the feed does wrong is a state (stale) and a number in [`MarketStats`], never a panic.
//!
//! What holds of the outputs of one instrument: within an epoch the sequences of `Book` strictly
//! increase, and so do those of `Trade`; `Stale` and `Fresh` alternate, `Fresh` first.
#![forbid(unsafe_code)]

mod book;
mod candle;
mod gap;
mod instrument;
mod ladder;
mod market;
mod output;
mod rounding;
mod stats;
mod tape;
mod ticker;
mod window;

pub use book::Book;
pub use gap::StaleReason;
pub use market::{ASKS_PER_TURN_MAX, INSTRUMENTS_MAX, Market, MarketLimits};
pub use output::Output;
pub use stats::MarketStats;
pub use tape::SeqTrade;
