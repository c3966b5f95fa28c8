//! The bytes of the gateway: everything that is read from or written to somebody else.
//!
//! | module | direction | what |
//! |---|---|---|
//! | [`feed`] | feed to gateway | one JSON object per line, decoded with simd-json; also written, for feed-sim |
//! | [`request`] | client to gateway | subscribe, unsubscribe, ping |
//! | [`reply`] | gateway to client | acknowledgements, errors, pong, status, heartbeat, notices |
//! | [`update`] | gateway to client | book, ticker, trade, ohlc, instrument: snapshots and updates |
//! | [`ws`] | both | WebSocket frames: strict reading, header writing |
//! | [`close`] | gateway to client | the table of close codes |
//! | [`checksum`] | | CRC-32 of the ten best levels a side |
//! | [`text`] | | times and strings as JSON text |
//!
//! Appends to buffers it is given and owns none; never waits, never reads a clock, keeps no state but that
//! of a half-read frame or a reused parser buffer.
#![forbid(unsafe_code)]

pub mod checksum;
pub mod close;
pub mod feed;
pub mod reply;
pub mod request;
pub mod text;
pub mod update;
pub mod ws;
