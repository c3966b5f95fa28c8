//! The gateway: market data from a feed to many WebSocket clients of very different speed.
//!
//! This crate is the shell: threads, sockets, clocks, files, metrics. What is decided is decided in the pure crates below
//! `gateway/core`. ARCHITECTURE.md shows how one update travels.

pub mod app;
pub mod auth;
pub mod busy;
pub mod clock;
pub mod config;
mod cores;
pub mod engine;
pub mod explain;
pub mod feed;
pub mod http;
pub mod lane;
pub mod logs;
pub mod memory;
pub mod metrics;
pub mod reference;
pub mod shard;
pub mod tail;
pub mod tls;
pub mod top;
mod upstream;

/// Version of the gateway, as clients and operators see it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
