//! What clients may ask of the delivery, by channel.

use fanout::{ChannelBounds, Coverage, TierBounds};
use model::{Channel, DEPTHS, Policy};
use serde::{Deserialize, Serialize};

/// What clients may ask of the delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryConfig {
    /// Most bytes per second of one connection; 0 is no limit. A client may ask for less.
    pub bytes_per_s_max: u64,
    /// Symbols that may be subscribed to: `*`, `BTC/*`, `*/USD` or `BTC/USD`.
    pub symbols: Vec<String>,
    /// Channels that may be subscribed to.
    pub channels: Vec<String>,
    /// Deepest book that may be subscribed to.
    pub depth_max: u16,
    /// Requests per second of one subject, over all of its connections, and as many at once; 0 is no limit.
    pub requests_per_s: u32,
    /// Connections of one subject; 0 is no limit.
    pub connections_per_subject: u32,
    /// Books.
    pub book: ChannelConfig,
    /// Tickers.
    pub ticker: ChannelConfig,
    /// Trades.
    pub trade: ChannelConfig,
    /// Candles.
    pub ohlc: ChannelConfig,
}

/// What clients may ask on one channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelConfig {
    /// Policy of a subscription that names none.
    pub policy: String,
    /// Policies that may be chosen.
    pub policies: Vec<String>,
    /// Shortest interval between updates in milliseconds; 0 is as fast as the client reads.
    pub interval_ms_min: u32,
    /// Longest interval between updates in milliseconds.
    pub interval_ms_max: u32,
    /// Longest lag that the policy `disconnect` may tolerate, in milliseconds; also its default.
    pub max_lag_ms: u32,
    /// Most entries of lag that the policy `disconnect` may tolerate; also its default.
    pub max_lag_entries: u32,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        let tier = TierBounds::default();
        let channel = |channel: Channel| ChannelConfig::from(&tier.channels[channel as usize]);
        Self {
            bytes_per_s_max: tier.bytes_per_s_max,
            symbols: vec!["*".into()],
            channels: Channel::ALL.map(|channel| channel.name().into()).into(),
            depth_max: DEPTHS[DEPTHS.len() - 1],
            requests_per_s: 0,
            connections_per_subject: 0,
            book: channel(Channel::Book),
            ticker: channel(Channel::Ticker),
            trade: channel(Channel::Trade),
            ohlc: channel(Channel::Ohlc),
        }
    }
}

impl From<&ChannelBounds> for ChannelConfig {
    fn from(bounds: &ChannelBounds) -> Self {
        Self {
            policy: bounds.policy.name().into(),
            policies: bounds.policies.iter().map(|policy| policy.name().into()).collect(),
            interval_ms_min: bounds.interval_ms_min,
            interval_ms_max: bounds.interval_ms_max,
            max_lag_ms: bounds.max_lag_ms,
            max_lag_entries: bounds.max_lag_entries,
        }
    }
}

impl DeliveryConfig {
    fn by_channel(&self) -> [(Channel, &ChannelConfig); 4] {
        [
            (Channel::Book, &self.book),
            (Channel::Ticker, &self.ticker),
            (Channel::Trade, &self.trade),
            (Channel::Ohlc, &self.ohlc),
        ]
    }

    pub(super) fn problems(&self, section: &str) -> Vec<String> {
        let problems = |(channel, config): (Channel, &ChannelConfig)| config.problems(section, channel);
        let mut found: Vec<String> = self.by_channel().into_iter().flat_map(problems).collect();
        found.extend(self.coverage().err().map(|problem| format!("{section}: {problem}")));
        found
    }

    /// What may be subscribed to.
    ///
    /// # Errors
    /// The pattern or the channel that is none.
    fn coverage(&self) -> Result<Coverage, String> {
        Coverage::new(Some(&self.symbols), Some(&self.channels), Some(self.depth_max))
    }

    /// As the delivery knows them, under the name of a tier.
    #[must_use]
    pub fn bounds(&self, name: &str) -> TierBounds {
        let mut tier = TierBounds {
            name: name.into(),
            bytes_per_s_max: self.bytes_per_s_max,
            // Whoever has not looked at the problems gets nothing rather than everything.
            coverage: self.coverage().unwrap_or_else(|_| Coverage::nothing()),
            ..TierBounds::default()
        };
        for (channel, config) in self.by_channel() {
            let policy = Policy::from_name(&config.policy).unwrap_or_else(|| Policy::default_of(channel));
            tier.channels[channel as usize] = ChannelBounds {
                policy,
                policies: config.policies.iter().filter_map(|name| Policy::from_name(name)).collect(),
                interval_ms_min: config.interval_ms_min,
                interval_ms_max: config.interval_ms_max,
                max_lag_ms: config.max_lag_ms,
                max_lag_entries: config.max_lag_entries,
            };
        }
        tier
    }
}

impl ChannelConfig {
    fn problems(&self, section: &str, channel: Channel) -> Vec<String> {
        let section = format!("{section}.{}", channel.name());
        let fitting: Vec<&str> =
            Policy::ALL.into_iter().filter(|policy| policy.fits(channel)).map(Policy::name).collect();
        let mut problems = Vec::new();
        for name in self.policies.iter().filter(|name| !fitting.contains(&name.as_str())) {
            problems.push(format!("{section}.policies: {name} is none of {}", fitting.join(", ")));
        }
        if !self.policies.contains(&self.policy) {
            problems.push(format!(
                "{section}.policy must be one of {section}.policies: {}",
                self.policies.join(", ")
            ));
        }
        if self.interval_ms_min > self.interval_ms_max {
            problems.push(format!("{section}.interval_ms_min must be at most {section}.interval_ms_max"));
        }
        if self.max_lag_ms == 0 || self.max_lag_entries == 0 {
            problems.push(format!("{section}.max_lag_ms and max_lag_entries must be above 0"));
        }
        problems
    }
}
