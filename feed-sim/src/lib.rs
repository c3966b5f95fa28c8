//! A simulated venue and recorded ones played again: the feed of the market-data gateway, and its outside witness.
//!
//! Owns what a venue would own: books, sequences, trades, and everything that can go wrong on the way.
//! Never uses the gateway's books or fan-out: it keeps naive books of its own, so that two readings can disagree.
//!
//! | noun | file |
//! |---|---|
//! | what venues tell, and to whom | `venue.rs`: [`Venue`], [`Event`], [`Sink`], [`VenueCheck`] |
//! | a venue with generated orders | `simulator.rs`, `orders.rs`, `flow.rs`, `instruments.rs`, `book.rs` |
//! | a venue played from a file | `recording/` |
//! | what goes wrong on purpose | `fault.rs`, `feed.rs` |
//! | events as lines | `encode.rs` |
//! | who reads: in this process, over TCP, into a file | `local.rs`, `serve.rs` with `reader.rs` and `queue.rs`, `record.rs` |
//!
//! Data flows one way: venue, faults, lines, stamp of the connection, reader.
#![forbid(unsafe_code)]

mod bench;
mod book;
mod clock;
mod encode;
mod fault;
mod feed;
mod flow;
mod instruments;
mod local;
mod market;
mod orders;
mod queue;
mod reader;
mod record;
mod recording;
mod serve;
mod simulator;
mod venue;

pub use bench::{BenchConfig, BenchReport, Measured, bench};
pub use book::{Book, Ladder};
pub use clock::{SpanError, now, parse_span};
pub use encode::{BATCH_BYTES_MAX, Lines, Stamper};
pub use fault::{Fault, FaultError, FaultPlan};
pub use feed::HEARTBEAT_EVERY;
pub use flow::{Arrivals, ArrivalsError};
pub use instruments::instrument;
pub use local::Local;
pub use reader::READER_BYTES_MAX;
pub use record::{Recorded, Until, record};
pub use recording::{OpenError, ReplayConfig, Speed, SpeedError, Timestamps};
pub use serve::{Server, ServerConfig, ServerHandle};
pub use simulator::{DEPTH_MAX, DEPTH_MIN, SYMBOLS_MAX, Simulator, SimulatorConfig};
pub use venue::{Event, NEVER, RecordedLine, Sink, SourceConfig, Venue, VenueCheck, tell_opening};
