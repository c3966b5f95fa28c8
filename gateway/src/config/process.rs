//! Settings of the process as a whole: its memory and its end.
//!
//! Owns their defaults and what is wrong with them.

use serde::{Deserialize, Serialize};
use wire::close::CloseCode;

/// Memory of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryConfig {
    /// Most bytes of resident memory. From 80 % on new clients are refused with 503 and new subscriptions with an error, and the
    /// gateway is not ready. 0 is what its control group or the machine has.
    pub budget_bytes: u64,
}

impl MemoryConfig {
    pub(super) fn problems(&self) -> Vec<String> {
        let holds = self.budget_bytes == 0 || self.budget_bytes >= 1 << 20;
        let problem = "memory.budget_bytes must be 0 or at least 1048576";
        if holds { Vec::new() } else { vec![problem.to_owned()] }
    }
}

/// How the gateway ends when it is asked to by SIGTERM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainConfig {
    /// Milliseconds between the moment when the gateway is not ready any more and the one when it accepts nothing more, for load
    /// balancers to notice.
    pub unready_ms: u64,
    /// Milliseconds over which clients are closed evenly; but at least 100 are closed per second.
    pub window_ms: u64,
    /// Clients are told to come back after up to so many milliseconds, each after another delay; 0 tells nothing.
    pub reconnect_ms: u64,
    /// Whether clients are closed with 1012 (the gateway restarts) instead of 1001 (it goes away).
    pub restart: bool,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { unready_ms: 0, window_ms: 5_000, reconnect_ms: 5_000, restart: false }
    }
}

impl DrainConfig {
    /// What clients are closed with.
    #[must_use]
    pub const fn code(&self) -> CloseCode {
        if self.restart { CloseCode::ServiceRestart } else { CloseCode::GoingAway }
    }
}
