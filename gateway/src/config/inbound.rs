//! Settings of what comes from clients: connections, requests, and the echo for conformance tests.
//!
//! Owns their defaults and what is wrong with them. Who keeps to them is `http` and the shards.

use fanout::{Allowance, Limits};
use model::Nanos;
use serde::{Deserialize, Serialize};
use wire::request::RequestLimits;
use wire::ws::ReadLimits;

use crate::http::{DoorLimits, Network};

/// Bounds of what clients send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InboundConfig {
    /// Most bytes of one message; beyond it the client is closed with 1009.
    pub message_bytes_max: usize,
    /// Most fragments of one message; beyond it the client is closed with 1008.
    pub fragments_max: u32,
    /// Milliseconds from the first octet of a message to its last; beyond it the client is closed with 1008.
    pub message_ms: u64,
    /// Messages of a client per second, pings and pongs too; beyond it the client is closed with 1008. 0 is no limit.
    pub messages_per_s: u32,
    /// Messages of a client at once, after a silence.
    pub messages_burst: u32,
    /// Requests of a client per second; beyond it they are answered with an error, and who goes on for a whole burst is closed with
    /// 1008. 0 is no limit.
    pub requests_per_s: u32,
    /// Requests of a client at once, after a silence.
    pub requests_burst: u32,
    /// Symbols of one request, at most 1000.
    pub symbols_max: usize,
    /// Nested objects and arrays of a request, from 4 to 16.
    pub json_depth_max: usize,
    /// Keys of one object in a request, from 16 to 64.
    pub json_keys_max: usize,
    /// Milliseconds without a subscription and without a message after which a client is closed with 1008; 0 is no limit.
    pub idle_ms: u64,
    /// Milliseconds for the first octet of a connection, and as many from the first octet of the head of a request to its last.
    pub handshake_ms: u64,
    /// Milliseconds that a connection may live which is not upgraded, whether it idles between two requests or not.
    pub http_ms: u64,
    /// Connections that are not upgraded, in all. When there are as many, further ones wait to be accepted, and the oldest has to go
    /// after a second.
    pub handshakes_max: usize,
    /// Connections of one address that are not upgraded; further ones get 429.
    pub handshakes_per_address_max: u32,
    /// Connections accepted per second; beyond it they wait in the kernel's queue. 0 is no limit.
    pub accepts_per_s: u32,
    /// Connections accepted at once, after a silence.
    pub accepts_burst: u32,
    /// Connections that one address may open per second; beyond it they get 429. 0 is no limit.
    pub accepts_per_address_per_s: u32,
    /// Connections that one address may open at once, after a silence.
    pub accepts_per_address_burst: u32,
    /// Clients in all; beyond it the upgrade is refused with 503.
    pub connections_max: usize,
    /// Clients of one address; beyond it the upgrade is refused with 429. Of IPv6, addresses that share their first 64 bits are one.
    pub connections_per_address_max: u32,
    /// Addresses, and networks such as `10.0.0.0/8`, for which no limit per address holds: proxies and load generators.
    pub exempt: Vec<String>,
}

impl Default for InboundConfig {
    fn default() -> Self {
        let request = RequestLimits::default();
        Self {
            message_bytes_max: 64 << 10,
            fragments_max: 64,
            message_ms: 30_000,
            messages_per_s: 20,
            messages_burst: 100,
            requests_per_s: 10,
            requests_burst: 50,
            symbols_max: request.symbols_max,
            json_depth_max: request.depth_max,
            json_keys_max: request.keys_max,
            idle_ms: 300_000,
            handshake_ms: 10_000,
            http_ms: 60_000,
            handshakes_max: 1_000,
            handshakes_per_address_max: 100,
            accepts_per_s: 10_000,
            accepts_burst: 10_000,
            accepts_per_address_per_s: 20,
            accepts_per_address_burst: 200,
            connections_max: 20_000,
            connections_per_address_max: 100,
            exempt: vec!["127.0.0.1".into(), "::1".into()],
        }
    }
}

impl InboundConfig {
    /// The limits of the delivery with those of clients laid over them.
    #[must_use]
    pub fn over(&self, limits: Limits) -> Limits {
        Limits {
            messages: Allowance { per_s: self.messages_per_s, burst: self.messages_burst },
            requests: Allowance { per_s: self.requests_per_s, burst: self.requests_burst },
            idle_max: Nanos::from_millis(self.idle_ms),
            request: RequestLimits {
                symbols_max: self.symbols_max,
                depth_max: self.json_depth_max,
                keys_max: self.json_keys_max,
            },
            ..limits
        }
    }

    /// The limits by address and in all.
    #[must_use]
    pub fn door_limits(&self) -> DoorLimits {
        DoorLimits {
            clients_max: self.connections_max,
            clients_per_address_max: self.connections_per_address_max,
            handshakes_per_address_max: self.handshakes_per_address_max,
            per_address: Allowance {
                per_s: self.accepts_per_address_per_s,
                burst: self.accepts_per_address_burst,
            },
            // What is none was said when the settings were read.
            exempt: self.exempt.iter().filter_map(|network| network.parse().ok()).collect(),
        }
    }

    /// How fast connections are accepted.
    #[must_use]
    pub const fn accepts(&self) -> Allowance {
        Allowance { per_s: self.accepts_per_s, burst: self.accepts_burst }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let widest = RequestLimits::default();
        let checks = [
            (self.message_bytes_max >= 1_024, "message_bytes_max must be at least 1024"),
            (self.fragments_max >= 1, "fragments_max must be at least 1"),
            (self.message_ms >= 100, "message_ms must be at least 100"),
            (self.messages_burst >= 1, "messages_burst must be at least 1"),
            (self.requests_burst >= 1, "requests_burst must be at least 1"),
            ((1..=widest.symbols_max).contains(&self.symbols_max), "symbols_max must be from 1 to 1000"),
            ((4..=widest.depth_max).contains(&self.json_depth_max), "json_depth_max must be from 4 to 16"),
            ((16..=widest.keys_max).contains(&self.json_keys_max), "json_keys_max must be from 16 to 64"),
            (self.handshake_ms >= 100, "handshake_ms must be at least 100"),
            (self.http_ms >= 100, "http_ms must be at least 100"),
            (self.handshakes_max >= 1, "handshakes_max must be at least 1"),
            (self.handshakes_per_address_max >= 1, "handshakes_per_address_max must be at least 1"),
            (self.accepts_burst >= 1, "accepts_burst must be at least 1"),
            (self.accepts_per_address_burst >= 1, "accepts_per_address_burst must be at least 1"),
            (self.connections_max >= 1, "connections_max must be at least 1"),
            (self.connections_per_address_max >= 1, "connections_per_address_max must be at least 1"),
        ];
        let networks = self.exempt.iter().filter_map(|network| network.parse::<Network>().err());
        let networks = networks.map(|problem| format!("inbound.exempt: {problem}"));
        problems_of("inbound", &checks).into_iter().chain(networks).collect()
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
