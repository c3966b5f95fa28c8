//! Settings of what comes from clients: connections, requests, and the echo for conformance tests.
//!
//! Owns their defaults and what is wrong with them. Who keeps to them is `http` and the shards.

use serde::{Deserialize, Serialize};
use wire::ws::ReadLimits;

/// Bounds of what clients send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InboundConfig {
    /// Most bytes of one message; beyond it the client is closed with 1009.
    pub message_bytes_max: usize,
    /// Most fragments of one message; beyond it the client is closed with 1008.
    pub fragments_max: u32,
    /// Milliseconds for the head of a request, from the start of the connection or its first octet to its last.
    pub handshake_ms: u64,
    /// Milliseconds that a connection may live which is not upgraded, whether it idles between two requests or not.
    pub http_ms: u64,
    /// Connections in all.
    pub connections_max: usize,
}

impl Default for InboundConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 10,
            fragments_max: 64,
            handshake_ms: 10_000,
            http_ms: 60_000,
            connections_max: 20_000,
        }
    }
}

impl InboundConfig {
    pub(super) fn problems(&self) -> Vec<String> {
        let checks = [
            (self.message_bytes_max >= 1_024, "message_bytes_max must be at least 1024"),
            (self.fragments_max >= 1, "fragments_max must be at least 1"),
            (self.handshake_ms >= 100, "handshake_ms must be at least 100"),
            (self.http_ms >= 100, "http_ms must be at least 100"),
            (self.connections_max >= 1, "connections_max must be at least 1"),
        ];
        problems_of("inbound", &checks)
    }
}

/// An echo for conformance tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EchoConfig {
    /// Whether `/echo` sends every message back. For conformance tests of the framing, which need larger messages than clients have;
    /// never for the public.
    pub enabled: bool,
    /// Most bytes of one echoed message.
    pub message_bytes_max: usize,
    /// Most fragments of one echoed message.
    pub fragments_max: u32,
    /// Echoing connections at the same time; each may hold two messages.
    pub connections_max: usize,
}

impl Default for EchoConfig {
    fn default() -> Self {
        Self { enabled: false, message_bytes_max: 16 << 20, fragments_max: 70_000, connections_max: 16 }
    }
}

impl EchoConfig {
    /// Bounds of what is read.
    #[must_use]
    pub const fn read_limits(&self) -> ReadLimits {
        ReadLimits { message_bytes_max: self.message_bytes_max, fragments_max: self.fragments_max }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let checks = [
            (self.message_bytes_max >= 1_024, "message_bytes_max must be at least 1024"),
            (self.fragments_max >= 1, "fragments_max must be at least 1"),
            (self.connections_max >= 1, "connections_max must be at least 1"),
        ];
        problems_of("echo", &checks)
    }
}

fn problems_of(section: &str, checks: &[(bool, &str)]) -> Vec<String> {
    checks.iter().filter(|(holds, _)| !holds).map(|(_, text)| format!("{section}.{text}")).collect()
}
