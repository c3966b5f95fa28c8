//! Settings: one tree of structs. A file, then the environment, then flags are laid over the defaults.
//!
//! The doc comment of each field is what `docs/settings.md` shows. The types stop at `app.rs`.

mod auth;
mod delivery;
mod inbound;
mod keys;
mod load;
mod process;
mod tiers;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use fanout::{Limits, TierBounds};
use model::Nanos;
use serde::{Deserialize, Serialize};

use crate::cores;

pub use auth::AuthConfig;
pub use delivery::{ChannelConfig, DeliveryConfig};
pub use inbound::{EchoConfig, InboundConfig};
pub use load::{ConfigError, Overrides, load, print};
pub use process::{DrainConfig, MemoryConfig};
pub use tls::TlsConfig;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Where clients connect.
    pub public: PublicConfig,
    /// Where clients connect over TLS; off without a certificate.
    pub tls: TlsConfig,
    /// Where operators look.
    pub admin: AdminConfig,
    /// Where market data comes from.
    pub feed: FeedConfig,
    /// Threads that own clients.
    pub shards: ShardsConfig,
    /// How the work is spread over threads.
    pub threads: ThreadsConfig,
    /// Who is let in, and as whom.
    pub auth: AuthConfig,
    /// What clients may ask of the delivery.
    pub delivery: DeliveryConfig,
    /// Other bounds for clients that an operator puts into a tier: `[tiers.NAME]` has the keys of `[delivery]`, and what it does not
    /// name is as there.
    pub tiers: BTreeMap<String, DeliveryConfig>,
    /// Bounds of the delivery, per shard.
    pub limits: LimitsConfig,
    /// Bounds of what clients send.
    pub inbound: InboundConfig,
    /// An echo for conformance tests.
    pub echo: EchoConfig,
    /// Memory of the process.
    pub memory: MemoryConfig,
    /// How the gateway ends when it is asked to by SIGTERM.
    pub drain: DrainConfig,
    /// Logs.
    pub log: LogConfig,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PublicConfig {
    /// Address of the public listener: WebSocket, reference data, demo page. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Bytes that the kernel may hold for a client that does not read. Small, so that what a slow client gets next is fresh.
    pub send_buffer_bytes: u32,
    /// Bytes that the kernel holds unsent before it stops to call a socket writable; 0 leaves it to the kernel. Lower is fresher
    /// data for slow clients at the price of more writes.
    pub notsent_lowat_bytes: u32,
    /// Milliseconds of silence after which the kernel asks a peer for a sign of life, and between three such questions. Whole seconds.
    pub keepalive_ms: u64,
    /// Milliseconds that sent bytes may stay unacknowledged by a peer's kernel before the connection counts as dead; at least twice
    /// `limits.stall_ms` in any case.
    pub user_timeout_ms: u64,
    /// Origins of web pages that may connect, such as `https://trade.example`, exactly as browsers send them. Programs send none and
    /// may always connect, and so may the gateway's own page at an IP address or at `localhost`; any other page is refused with 403.
    pub origins: Vec<String>,
}

impl Default for PublicConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            send_buffer_bytes: 60 << 10,
            notsent_lowat_bytes: 0,
            keepalive_ms: 20_000,
            user_timeout_ms: 60_000,
            origins: Vec::new(),
        }
    }
}

/// Where operators look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AdminConfig {
    /// Address of the admin listener: metrics and health. Never the public one.
    pub listen: SocketAddr,
    /// File with the token that requests must carry, at least 16 characters in one line; empty asks for none, which only a loopback
    /// address may. `/livez` and `/readyz` are answered without it.
    pub token_file: String,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)), token_file: String::new() }
    }
}

/// Where market data comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedConfig {
    /// `sim` (the simulator in this process), `tcp://HOST:PORT` (a feed server) or `replay:PATH` (a recording).
    pub source: FeedSource,
    /// Milliseconds without any line after which the feed counts as lost. A feed sends a heartbeat every 250 ms.
    pub silence_ms: u64,
    /// Milliseconds before the first attempt to reconnect; doubles with each failure.
    pub reconnect_min_ms: u64,
    /// Most milliseconds between attempts.
    pub reconnect_max_ms: u64,
    /// The embedded simulator.
    pub sim: SimConfig,
    /// The replay of a recording.
    pub replay: ReplayConfig,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            source: FeedSource::Sim,
            silence_ms: 1_000,
            reconnect_min_ms: 50,
            reconnect_max_ms: 1_000,
            sim: SimConfig::default(),
            replay: ReplayConfig::default(),
        }
    }
}

impl FeedConfig {
    pub(crate) const fn reconnect_min(&self) -> Duration {
        Duration::from_millis(self.reconnect_min_ms)
    }

    pub(crate) const fn reconnect_max(&self) -> Duration {
        Duration::from_millis(self.reconnect_max_ms)
    }
}

/// Kind and address of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FeedSource {
    /// The simulator in this process.
    Sim,
    /// A feed server, `HOST:PORT`.
    Tcp(String),
    /// A recording.
    Replay(PathBuf),
}

impl TryFrom<String> for FeedSource {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for FeedSource {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("tcp://"), text.strip_prefix("replay:")) {
            ("sim", ..) => Ok(Self::Sim),
            (_, Some(address), _)
                if address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) =>
            {
                Ok(Self::Tcp(address.into()))
            }
            (_, _, Some(path)) if !path.is_empty() => Ok(Self::Replay(path.into())),
            _ => Err(format!("`{text}` is no feed: expected sim, tcp://HOST:PORT or replay:PATH")),
        }
    }
}

impl From<FeedSource> for String {
    fn from(source: FeedSource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for FeedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim => f.write_str("sim"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Replay(path) => write!(f, "replay:{}", path.display()),
        }
    }
}

/// The embedded simulator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SimConfig {
    /// Instruments, from 1 to 10,000.
    pub symbols: u32,
    /// Events per second over all instruments.
    pub rate: f64,
    /// `uniform`, `poisson` or `bursty`.
    pub arrivals: String,
    /// Levels a side that are kept populated.
    pub depth: u32,
    /// Seed; the same seed gives the same market.
    pub seed: u64,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self { symbols: 20, rate: 2_000.0, arrivals: "bursty".into(), depth: 200, seed: 1 }
    }
}

/// The replay of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplayConfig {
    /// Times the recorded speed; 0 is as fast as the gateway takes it.
    pub speed: f64,
    /// Whether to begin again at the end, with a new epoch.
    pub looping: bool,
    /// Whether recorded times are shifted to now.
    pub shift_timestamps: bool,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { speed: 1.0, looping: true, shift_timestamps: true }
    }
}

/// Threads that own clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ShardsConfig {
    /// Threads; 0 is one per core.
    pub count: u32,
}

/// How the work is spread over threads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadsConfig {
    /// `auto`: as `single` when the gateway may run on one core only, else as `spread`. `spread`: feed, engine and each shard have a
    /// thread of their own. `single`: one thread does all of it, with one shard; for few clients that want microseconds.
    pub layout: Layout,
    /// Whether shards ask for work again and again instead of sleeping: a whole core each, for the microseconds that waking up
    /// takes. Meant for the layout `single`.
    pub busy_poll: bool,
    /// Cores that threads are pinned to, such as `0-3,6`: shards in their order, then the engine, then the feed, and from the first core
    /// again when there are fewer. Empty leaves them to the kernel. Threads that serve HTTP are never pinned.
    pub cores: String,
}

/// Who has a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// As the cores are that the process may use.
    #[default]
    Auto,
    /// Feed, engine and each shard.
    Spread,
    /// All of them together.
    Single,
}

/// Bounds of the delivery, per shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LimitsConfig {
    /// Bytes of the log of frames, all taken at the start. A client further behind than this is caught up with merged data.
    pub log_bytes: usize,
    /// Entries that a stream keeps for clients that lag; a book costs about 100 bytes each.
    pub ring_entries: usize,
    /// Bytes of the entries that a stream keeps.
    pub ring_bytes: usize,
    /// Bytes of the entries that all rings of a shard together keep.
    pub ring_bytes_total: usize,
    /// Most bytes joined for one write; what is beyond it goes with the next, after the writes of others.
    pub write_bytes_max: usize,
    /// Most bytes of unread answers to a client's own requests; beyond it the client is closed with 1008.
    pub control_bytes_max: usize,
    /// Subscriptions of one connection.
    pub subscriptions_max: usize,
    /// Milliseconds that a client may refuse all bytes before it is closed with 4008.
    pub stall_ms: u64,
    /// Milliseconds of silence after which a subscribed client gets a heartbeat.
    pub heartbeat_ms: u64,
    /// Milliseconds that a stream without subscribers is kept for who comes back.
    pub linger_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            log_bytes: limits.log_bytes,
            ring_entries: limits.ring_entries,
            ring_bytes: limits.ring_bytes,
            ring_bytes_total: limits.ring_bytes_total,
            write_bytes_max: limits.write_bytes_max,
            control_bytes_max: limits.control_bytes_max,
            subscriptions_max: limits.subscriptions_max,
            stall_ms: limits.stall_max.0 / Nanos::MILLI.0,
            heartbeat_ms: limits.heartbeat.0 / Nanos::MILLI.0,
            linger_ms: limits.linger.0 / Nanos::MILLI.0,
        }
    }
}

impl LimitsConfig {
    /// As the delivery knows them.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            log_bytes: self.log_bytes,
            ring_entries: self.ring_entries,
            ring_bytes: self.ring_bytes,
            ring_bytes_total: self.ring_bytes_total,
            write_bytes_max: self.write_bytes_max,
            control_bytes_max: self.control_bytes_max,
            subscriptions_max: self.subscriptions_max,
            stall_max: Nanos::from_millis(self.stall_ms),
            heartbeat: Nanos::from_millis(self.heartbeat_ms),
            linger: Nanos::from_millis(self.linger_ms),
            ..Limits::default()
        }
    }
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogConfig {
    /// `json` or `text`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,gateway::feed=debug`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Config {
    /// The tiers of clients as the delivery knows them; the first is that of everybody who is put into no other.
    #[must_use]
    pub fn tier_bounds(&self) -> Vec<TierBounds> {
        let named = self.tiers.iter().map(|(name, tier)| tier.bounds(name));
        std::iter::once(self.delivery.bounds(tiers::DEFAULT)).chain(named).collect()
    }

    /// Bounds of the delivery and of what clients send, as shards know them.
    #[must_use]
    pub fn shard_limits(&self) -> Limits {
        let limits = self.inbound.over(self.limits.limits());
        Limits { reconnect_max: Nanos::from_millis(self.drain.reconnect_ms), ..limits }
    }

    fn tier_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.tiers.len() > tiers::TIERS_MAX {
            problems.push(format!("tiers: at most {} can be named", tiers::TIERS_MAX));
        }
        for (name, tier) in &self.tiers {
            if name == tiers::DEFAULT {
                problems.push(format!("tiers.{name}: that is the name of [delivery], choose another"));
            }
            if name == auth::REFUSED {
                problems.push(format!("tiers.{name}: that means no tier in auth.anonymous, choose another"));
            }
            problems.extend(tier.problems(&format!("tiers.{name}")));
        }
        problems
    }

    /// What is wrong with the values together; empty when they fit. Each names its setting and the remedy.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> =
            self.limits.limits().problems().into_iter().map(|problem| format!("limits.{problem}")).collect();
        problems.extend(self.delivery.problems("delivery"));
        problems.extend(self.tier_problems());
        let is_tier = |name: &str| name == tiers::DEFAULT || self.tiers.contains_key(name);
        problems.extend(self.auth.problems(is_tier));
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        let same = self.public.listen == self.admin.listen && self.public.listen.port() != 0;
        require(!same, "admin.listen must not be public.listen: metrics are not for clients");
        let is_guarded = self.admin.listen.ip().is_loopback() || !self.admin.token_file.is_empty();
        require(
            is_guarded,
            "admin.listen is reachable from elsewhere: set admin.token_file, or listen on 127.0.0.1",
        );
        require(self.public.keepalive_ms >= 1_000, "public.keepalive_ms must be at least 1000");
        require(self.public.user_timeout_ms >= 1_000, "public.user_timeout_ms must be at least 1000");
        require(self.public.send_buffer_bytes >= 4_096, "public.send_buffer_bytes must be at least 4096");
        require(
            self.feed.silence_ms >= 300,
            "feed.silence_ms must be at least 300: heartbeats come every 250 ms",
        );
        require(self.feed.reconnect_min_ms >= 1, "feed.reconnect_min_ms must be at least 1");
        let ordered = self.feed.reconnect_max_ms >= self.feed.reconnect_min_ms;
        require(ordered, "feed.reconnect_max_ms must be at least feed.reconnect_min_ms");
        require((1..=10_000).contains(&self.feed.sim.symbols), "feed.sim.symbols must be from 1 to 10000");
        let rate = self.feed.sim.rate;
        require(rate.is_finite() && rate > 0.0, "feed.sim.rate must be above 0");
        let arrivals = ["uniform", "poisson", "bursty"].contains(&self.feed.sim.arrivals.as_str());
        require(arrivals, "feed.sim.arrivals must be uniform, poisson or bursty");
        require((10..=5_000).contains(&self.feed.sim.depth), "feed.sim.depth must be from 10 to 5000");
        let speed = self.feed.replay.speed;
        require(speed.is_finite() && speed >= 0.0, "feed.replay.speed must be 0 or more");
        let one = self.threads.layout != Layout::Single || self.shards.count <= 1;
        require(one, "shards.count must be 0 or 1 with threads.layout single");
        require(self.shards.count <= 64, "shards.count must be at most 64");
        problems.extend(self.public.origins.iter().filter_map(|origin| {
            crate::http::origin::problem(origin).map(|problem| format!("public.origins: {origin}: {problem}"))
        }));
        problems.extend(cores::parse(&self.threads.cores).err());
        problems.extend(self.inbound.problems());
        problems.extend(self.echo.problems());
        problems.extend(self.memory.problems());
        problems.extend(self.tls.problems());
        problems
    }
}
