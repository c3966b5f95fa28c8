//! What the whole-gateway tests share: a gateway in this process, feeds for it, and clients that believe nothing.
//!
//! Never uses the gateway's own code to judge it: frames, checksums and books are made here once more.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file includes it and uses a part; a panic is what a test has for an error"
)]

pub mod asleep;
pub mod book;
pub mod client;
pub mod crowd;
pub mod dice;
pub mod gateway;
pub mod http;
pub mod multitude;
pub mod nomad;
pub mod reference;
pub mod running;
pub mod scene;
pub mod script;
pub mod socket;
pub mod stranger;
pub mod tape;
pub mod token;
pub mod truth;
pub mod tunnel;
pub mod view;
pub mod visitor;

use std::time::{Duration, Instant};

/// How long anything may take that is bound to happen: a loaded machine is no failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often something without a notification is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until there is a result.
///
/// # Panics
/// With `what` after [`PATIENCE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain waited for {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}
