//! What the fuzzer feeds: one function per target, from bytes that somebody made up to a verdict by panic.
//!
//! Each decodes its bytes into what a stranger, a feed or a crowd of clients may do, lets the real core do it, and holds what
//! comes out against an oracle that shares no code with it. The targets in `fuzz_targets` only call these, and so does
//! `tests/replay.rs`, without a fuzzer. Nothing here opens a socket, reads a clock or a file.
#![forbid(unsafe_code)]

pub mod client_request;
pub mod feed_line;
pub mod frame_reader;
pub mod hub_operations;
pub mod token;

/// A target: what it is called, and what it does with bytes that somebody made up.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of its program, and of the folders with its inputs.
    pub name: &'static str,
    /// Panics when something is wrong.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 5] = [
    Target { name: "hub_operations", run: hub_operations::run },
    Target { name: "frame_reader", run: frame_reader::run },
    Target { name: "client_request", run: client_request::run },
    Target { name: "feed_line", run: feed_line::run },
    Target { name: "token", run: token::run },
];
