//! Groups: which part of the clients behaves how, and asks for what.
//!
//! Owns the settings of one group, the request that follows from them, and the spreading of clients over groups. Never connects.

use super::profile::{Profile, parse_profile};
use crate::scan::Channel;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

/// Percentages may differ from 100 in all by this, because thirds are written with few digits.
const PERCENT_SLACK: f64 = 0.5;

/// Depths of the book channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Depth {
    /// 10 levels.
    #[value(name = "10")]
    D10 = 10,
    /// 25 levels.
    #[value(name = "25")]
    D25 = 25,
    /// 100 levels.
    #[value(name = "100")]
    D100 = 100,
    /// 500 levels.
    #[value(name = "500")]
    D500 = 500,
    /// 1000 levels.
    #[value(name = "1000")]
    D1000 = 1000,
}

/// What becomes of entries that a client is too slow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Policy {
    /// One merged update.
    Conflate,
    /// The newest value.
    Latest,
    /// Every entry that is still there; the rest is told as a gap.
    DropOldest,
    /// Nothing; the range is told as a gap.
    DropNewest,
    /// Every entry, or the end.
    Disconnect,
}

/// Clients that behave alike.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// Its name in reports.
    pub(crate) name: String,
    /// Its part of the clients, from 0 to 1.
    pub(crate) share: f64,
    /// How its clients behave.
    pub(crate) profile: Profile,
    /// Channel of every subscription.
    pub(crate) channel: Channel,
    /// Depth of book subscriptions.
    pub(crate) depth: Depth,
    /// Symbols of one client.
    pub(crate) symbols_per_client: usize,
    /// The policy asked for; the server's choice without it.
    pub(crate) policy: Option<Policy>,
    /// Whether its clients opt in to the superset when they connect.
    pub(crate) opted_in: bool,
}

/// The profiles of a command line with their percentages.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mix(pub(crate) Vec<(Profile, f64)>);

impl Depth {
    /// The depth of a number, when there is one.
    pub(crate) fn from_levels(levels: u32) -> Option<Self> {
        Self::value_variants().iter().copied().find(|depth| *depth as u32 == levels)
    }
}

impl Policy {
    const fn name(self) -> &'static str {
        match self {
            Self::Conflate => "conflate",
            Self::Latest => "latest",
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::Disconnect => "disconnect",
        }
    }
}

impl Group {
    /// The depth as a number.
    pub(crate) const fn depth_levels(&self) -> usize {
        self.depth as usize
    }

    /// Parameters of a subscription to symbols; `resume` names places to go on from.
    pub(crate) fn params(&self, symbols: &[&str], resume: Option<Value>) -> Value {
        let mut params =
            serde_json::json!({"channel": self.channel.name(), "symbol": symbols, "snapshot": true});
        match self.channel {
            Channel::Book => params["depth"] = self.depth_levels().into(),
            Channel::Ohlc => params["interval"] = 1.into(),
            Channel::Ticker | Channel::Trade => {}
        }
        if let Some(policy) = self.policy {
            params["policy"] = policy.name().into();
        }
        if let Profile::Limited { interval_ms, bytes_per_s } = self.profile {
            if interval_ms > 0 {
                params["interval_ms"] = interval_ms.into();
            }
            if bytes_per_s > 0 {
                params["max_bytes_per_s"] = bytes_per_s.into();
            }
        }
        if let Some(resume) = resume {
            params["resume"] = resume;
        }
        params
    }
}

/// Reads `fast=80,slow:64kB/s=20`.
pub(crate) fn parse_mix(text: &str) -> Result<Mix, String> {
    let mut parts = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (profile, percent) = part
            .rsplit_once('=')
            .ok_or_else(|| format!("`{part}`: give a profile and a percentage, like slow=10"))?;
        let percent = percent.trim_end_matches('%').parse::<f64>().ok().filter(|p| *p > 0.0 && *p <= 100.0);
        let percent = percent.ok_or_else(|| format!("`{part}`: a percentage is above 0, up to 100"))?;
        parts.push((parse_profile(profile)?, percent));
    }
    Ok(Mix(parts))
}

/// Turns percentages into parts of 1; they must be 100 in all.
pub(crate) fn shares(percents: &[f64]) -> Result<Vec<f64>, String> {
    let sum: f64 = percents.iter().sum();
    if (sum - 100.0).abs() > PERCENT_SLACK {
        return Err(format!("the percentages of the groups are {sum} in all, not 100"));
    }
    Ok(percents.iter().map(|percent| percent / sum).collect())
}

/// The group of each client: evenly mixed, so that every thread and every moment of the ramp has all of them.
pub(crate) fn spread(clients: u32, groups: &[Group]) -> Vec<u16> {
    let mut given = vec![0_u32; groups.len()];
    let mut spread = Vec::with_capacity(clients as usize);
    for client in 0..clients {
        let due = |group: usize| f64::from(client + 1) * groups[group].share - f64::from(given[group]);
        let next = (0..groups.len()).max_by(|a, b| due(*a).total_cmp(&due(*b)).then(b.cmp(a))).unwrap_or(0);
        given[next] += 1;
        spread.push(next as u16);
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_by_share_at_any_moment() {
        let group = |share| Group {
            name: String::new(),
            share,
            profile: Profile::Fast,
            channel: Channel::Book,
            depth: Depth::D10,
            symbols_per_client: 1,
            policy: None,
            opted_in: false,
        };
        let spread = spread(1_000, &[group(0.9), group(0.07), group(0.03)]);
        for end in [100, 400, 1_000] {
            let count = |of| spread[..end].iter().filter(|group| **group == of).count() as f64;
            for (group, share) in [0.9, 0.07, 0.03].into_iter().enumerate() {
                assert!((count(group as u16) - share * end as f64).abs() <= 1.0, "{end} {group}");
            }
        }
    }

    #[test]
    fn a_mix_is_read_and_must_be_whole() {
        let mix = parse_mix("fast=80, slow:2kB/s=15%,limited:50ms=5").unwrap();
        let percents: Vec<f64> = mix.0.iter().map(|(_, percent)| *percent).collect();
        assert_eq!(shares(&percents), Ok(vec![0.8, 0.15, 0.05]));
        assert_eq!(mix.0[1].0, Profile::Slow { bytes_per_s: 2_000 });
        assert!(shares(&[50.0, 40.0]).unwrap_err().contains("90 in all"));
        assert!(parse_mix("fast").is_err() && parse_mix("fast=0").is_err() && parse_mix("lazy=1").is_err());
    }
}
