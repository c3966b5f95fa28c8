//! Scenarios: the settings of a run as a TOML file.
//!
//! Owns the shape of the file and its reading. Never decides what wins: [`super::Plan`] does. The texts of profiles, storms,
//! times and thresholds have the grammar of the command line.

use super::group::{Depth, Group, Policy, shares};
use super::profile::parse_profile;
use super::storm::{Storm, parse_storm};
use super::{Symbols, Target, parse_duration, parse_target};
use crate::scan::Channel;
use crate::threshold::{Threshold, parse_threshold};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// A scenario file.
#[derive(Deserialize, Debug, Clone, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it is called in reports.
    pub(crate) title: Option<String>,
    /// What it shows.
    pub(crate) about: Option<String>,
    url: Option<String>,
    /// As `--admin`.
    pub(crate) admin: Option<String>,
    /// As `--clients`.
    pub(crate) clients: Option<u32>,
    symbols: Option<SymbolsField>,
    duration: Option<String>,
    /// As `--ramp`.
    pub(crate) ramp: Option<u32>,
    /// As `--threads`.
    pub(crate) threads: Option<usize>,
    /// As `--sources`.
    pub(crate) sources: Option<u32>,
    silence: Option<String>,
    #[serde(default)]
    storms: Vec<String>,
    #[serde(default)]
    require: Vec<String>,
    /// A gateway of its own.
    pub(crate) gateway: Option<OwnGateway>,
    #[serde(default)]
    group: Vec<GroupTable>,
}

/// The gateway that is started for the run.
#[derive(Deserialize, Debug, Clone, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnGateway {
    /// Whether one is started; without it the rest is not used.
    #[serde(default = "yes")]
    pub(crate) start: bool,
    /// Symbols of its feed.
    #[serde(default = "feed_symbols")]
    pub(crate) feed_symbols: usize,
    /// Lines per second of its feed.
    #[serde(default = "feed_rate")]
    pub(crate) feed_rate: f64,
    /// The same while clients connect; as in the window without it.
    pub(crate) ramp_rate: Option<f64>,
    /// `uniform`, `poisson` or `bursty`.
    #[serde(default = "arrivals")]
    pub(crate) arrivals: String,
    /// Settings of the gateway as variables, such as GATEWAY_SHARDS_COUNT.
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
}

impl Default for OwnGateway {
    fn default() -> Self {
        Self {
            start: true,
            feed_symbols: feed_symbols(),
            feed_rate: feed_rate(),
            ramp_rate: None,
            arrivals: arrivals(),
            environment: BTreeMap::new(),
        }
    }
}

const fn yes() -> bool {
    true
}

const fn feed_symbols() -> usize {
    20
}

const fn feed_rate() -> f64 {
    2_000.0
}

fn arrivals() -> String {
    "bursty".to_owned()
}

#[derive(Deserialize, Debug, Clone)]
#[serde(untagged)]
enum SymbolsField {
    First(usize),
    Named(Vec<String>),
}

#[derive(Deserialize, Debug, Clone)]
#[serde(deny_unknown_fields)]
struct GroupTable {
    name: Option<String>,
    percent: f64,
    #[serde(default = "fast")]
    profile: String,
    channel: Option<Channel>,
    depth: Option<u32>,
    symbols_per_client: Option<usize>,
    policy: Option<Policy>,
    ext: Option<bool>,
}

fn fast() -> String {
    "fast".to_owned()
}

impl Scenario {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    pub(super) fn url(&self) -> Result<Option<Target>, String> {
        self.url.as_deref().map(parse_target).transpose()
    }

    pub(super) fn symbols(&self) -> Option<Symbols> {
        self.symbols.as_ref().map(|symbols| match symbols {
            SymbolsField::First(count) => Symbols::First(*count),
            SymbolsField::Named(names) => Symbols::Named(names.clone()),
        })
    }

    pub(super) fn duration(&self) -> Result<Option<Duration>, String> {
        self.duration.as_deref().map(parse_duration).transpose()
    }

    pub(super) fn silence(&self) -> Result<Option<Duration>, String> {
        self.silence.as_deref().map(parse_duration).transpose()
    }

    pub(super) fn storms(&self) -> Result<Vec<Storm>, String> {
        self.storms.iter().map(|text| parse_storm(text)).collect()
    }

    pub(super) fn thresholds(&self) -> Result<Vec<Threshold>, String> {
        self.require.iter().map(|text| parse_threshold(text)).collect()
    }

    /// The groups, where a group leaves out what `default` has; none when the file has none.
    pub(super) fn groups(&self, default: &Group) -> Result<Option<Vec<Group>>, String> {
        if self.group.is_empty() {
            return Ok(None);
        }
        let percents: Vec<f64> = self.group.iter().map(|table| table.percent).collect();
        let shares = shares(&percents)?;
        let groups = self.group.iter().zip(shares).map(|(table, share)| table.group(share, default));
        groups.collect::<Result<Vec<_>, _>>().map(Some)
    }
}

impl GroupTable {
    fn group(&self, share: f64, default: &Group) -> Result<Group, String> {
        let profile = parse_profile(&self.profile)?;
        let depth = match self.depth {
            None => default.depth,
            Some(levels) => Depth::from_levels(levels)
                .ok_or_else(|| format!("depth {levels} is none of 10, 25, 100, 500, 1000"))?,
        };
        let name = self.name.clone().unwrap_or_else(|| profile.name().to_owned());
        let policy = self.policy.or(default.policy);
        let needs = profile.needs_superset() || policy.is_some();
        if self.ext == Some(false) && needs {
            return Err(format!("group {name}: it uses the superset, so ext cannot be false"));
        }
        let opts_in = default.opted_in || needs || !profile.is_prompt();
        Ok(Group {
            name,
            share,
            profile,
            channel: self.channel.unwrap_or(default.channel),
            depth,
            symbols_per_client: self.symbols_per_client.unwrap_or(default.symbols_per_client),
            policy,
            opted_in: self.ext.unwrap_or(opts_in),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, reason) in [
            ("clinets = 3", "unknown field"),
            ("[[group]]\npercent = 100\nprofil = \"fast\"", "unknown field"),
        ] {
            let error = toml::from_str::<Scenario>(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
