//! The delivery: brings what the engine publishes to clients of very different speed.
//!
//! A subscription is a cursor into the log of its stream, not a queue. The engine posts [`Batch`]es of framed
//! entries; the [`Hub`] of a shard appends the frames to one byte log and gives each subscriber that keeps up a
//! *range* of it. A client whose socket refuses keeps no ranges, only cursors; when it drains, each of its
//! subscriptions is brought from its cursor to the head with merged data.
//!
//! Contract: give one input with its time (`handle_*`), then let the dirty clients be written ([`Hub::sweep`]) and drain
//! [`Hub::poll_output`] until there is none. Sockets and time come in as arguments; nothing here waits, reads a clock or
//! keeps a book.
//!
//! Invariants (asserted here where cheap, and watched by the simulator):
//! 1. no client sees a hole or a repeat in a sequenced stream without being told;
//! 2. entries of one stream reach one client in order, trades are never merged;
//! 3. bytes held for a client never exceed the rest of one frame plus the answers to its own requests;
//! 4. per channel `fanned out = written + merged + dropped + pending + discarded`.
#![forbid(unsafe_code)]

mod batch;
mod bucket;
mod client;
mod grant;
mod histogram;
mod hub;
mod limits;
mod log;
mod merge;
mod older;
#[doc(hidden)]
pub mod planted;
mod stats;
mod stream;
mod terms;

pub use batch::{Batch, ChangeSpan, Entry, EntryData, FrameSpan, Item, Join, Lost, Row};
pub use bucket::{Allowance, Bucket};
pub use client::ClientId;
pub use grant::{Coverage, Denied, Grant, GrantEnd, RequestRate};
pub use histogram::{Histogram, LagAge, LagEntries, Latency, LatencyHistogram, Quantity, WriteMessages};
pub use hub::{ClientReport, Hub, Login, Now, Output, Sink, StreamReport, SubscriptionReport, Written};
pub use limits::Limits;
pub use stats::{ChannelStats, HubStats, Standing};
pub use terms::{ChannelBounds, TierBounds};
