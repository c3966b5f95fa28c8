//! The simulator: the real market, publisher and hub, a faulty feed and thousands of odd clients, on virtual time.
//!
//! One seed is one run: the same seed gives the same trace, byte for byte. An oracle keeps every client's book from nothing but
//! the bytes that the client was sent, and checks after every step that nobody has a hole, a wrong checksum or a wrong count.
//! Never opens a socket, never reads a clock.
#![forbid(unsafe_code)]

mod client;
mod granting;
mod oracle;
mod rng;
mod scenario;
mod venue;
mod world;

pub use client::Sent;
pub use rng::CHOICES;
pub use scenario::Scenario;
pub use world::{Act, Report, Violation, World};
