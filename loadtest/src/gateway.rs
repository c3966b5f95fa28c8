//! The gateway's own counts, as its admin listener tells them.
//!
//! Owns asking for them and reading their text. Never judges them: [`crate::conserve`] does. What Prometheus' text form looks
//! like is written down here once more, so that a mistake in the gateway is not repeated.

use crate::scan::Channel;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long the gateway may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// The stages of an update that the gateway measures.
pub(crate) const STAGES: [&str; 4] =
    ["feed_to_receive", "receive_to_publish", "publish_to_written", "end_to_end"];

/// What the gateway said at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Scrape {
    /// When it was asked.
    pub(crate) at: Instant,
    /// Values by series: the name, and its labels as they were written.
    series: HashMap<String, f64>,
}

/// Deliveries of one channel: entries times subscribers, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deliveries {
    pub(crate) fanned_out: i64,
    pub(crate) written: i64,
    pub(crate) merged: i64,
    pub(crate) dropped: i64,
    pub(crate) discarded: i64,
    pub(crate) pending: i64,
}

/// Asks `HOST:PORT` for a path and returns the body. Fails with the reason.
pub(crate) fn fetch(address: &str, path: &str) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{address}{path}: {error}");
    let mut addresses = address.to_socket_addrs().map_err(failed)?;
    let resolved = addresses.next().ok_or_else(|| format!("{address} has no address"))?;
    let mut stream = TcpStream::connect_timeout(&resolved, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8(answer).map_err(|_| format!("{address}{path}: not text"))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").ok_or_else(|| format!("{address}{path}: no HTTP answer"))?;
    if head.split(' ').nth(1) != Some("200") {
        return Err(format!("{address}{path}: {}", head.lines().next().unwrap_or_default()));
    }
    Ok(body.to_owned())
}

impl Scrape {
    /// Asks now.
    pub(crate) fn take(address: &str) -> Result<Self, String> {
        let at = Instant::now();
        let text = fetch(address, "/metrics")?;
        let scrape = Self::parse(&text, at);
        match scrape.series.is_empty() {
            true => Err(format!("{address}/metrics has no metrics")),
            false => Ok(scrape),
        }
    }

    fn parse(text: &str, at: Instant) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            Some((key.to_owned(), value.parse().ok()?))
        });
        Self { at, series: series.collect() }
    }

    /// The value of a series without labels, or with them as in the text.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.series.get(series).copied()
    }

    /// The sum over all series of a name.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let is_of =
            |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
        self.series.iter().filter(|(key, _)| is_of(key)).map(|(_, value)| value).sum()
    }

    /// What became of the deliveries of a channel; none when the gateway does not say.
    pub(crate) fn deliveries(&self, channel: Channel) -> Option<Deliveries> {
        let name = channel.name();
        let count = |what: &str| {
            self.value(&format!("gateway_deliveries_{what}{{channel=\"{name}\"}}")).map(|value| value as i64)
        };
        Some(Deliveries {
            fanned_out: count("fanned_out_total")?,
            written: count("written_total")?,
            merged: count("merged_total")?,
            dropped: count("dropped_total")?,
            discarded: count("discarded_total")?,
            pending: count("pending")?,
        })
    }

    /// Upper bounds in seconds and cumulated counts of a stage's latency, in ascending order.
    fn buckets(&self, stage: &str) -> Vec<(f64, f64)> {
        let wanted = format!("stage=\"{stage}\"");
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (key, count) in &self.series {
            let Some(labels) = key.strip_prefix("gateway_stage_latency_seconds_bucket{") else { continue };
            if !labels.contains(&wanted) {
                continue;
            }
            let bound =
                labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap_or(f64::INFINITY) };
            buckets.push((bound, *count));
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    /// A quantile in microseconds of a stage's latency since an earlier moment, within its bucket by its share; none when
    /// nothing was measured.
    pub(crate) fn stage_us(&self, before: &Self, stage: &str, quantile: f64) -> Option<f64> {
        let (now, then) = (self.buckets(stage), before.buckets(stage));
        let count_then = |at: usize| then.get(at).map_or(0.0, |(_, count)| *count);
        let counts: Vec<(f64, f64)> =
            now.iter().enumerate().map(|(at, (bound, count))| (*bound, count - count_then(at))).collect();
        let all = counts.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        let wanted = all * quantile;
        let at = counts.iter().position(|(_, count)| *count >= wanted)?;
        let (low, below) = if at == 0 { (0.0, 0.0) } else { counts[at - 1] };
        let (high, up_to) = counts[at];
        if high.is_infinite() {
            return Some(low * 1e6);
        }
        let part = if up_to > below { (wanted - below) / (up_to - below) } else { 1.0 };
        Some((low + (high - low) * part) * 1e6)
    }
}

#[cfg(test)]
impl Scrape {
    /// A scrape of a text.
    pub(crate) fn of(text: &str) -> Self {
        Self::parse(text, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read() {
        let text = "# HELP a b\n# TYPE a counter\ngateway_writes_total 7\n\
                    gateway_deliveries_written_total{channel=\"book\"} 12\nprocess_x 1.5e3\n\
                    gateway_connections_closed_total{code=\"normal\"} 2\ngateway_connections_closed_total{code=\"x\"} 3\n";
        let scrape = Scrape::of(text);
        assert_eq!(scrape.value("gateway_writes_total"), Some(7.0));
        assert_eq!(scrape.value("process_x"), Some(1_500.0));
        assert_eq!(scrape.sum("gateway_connections_closed_total"), 5.0);
        assert_eq!(scrape.deliveries(Channel::Book), None, "not all of it is there");
    }

    #[test]
    fn quantiles_lie_within_their_buckets() {
        let bucket = |le: &str, count| {
            format!("gateway_stage_latency_seconds_bucket{{stage=\"end_to_end\",le=\"{le}\"}} {count}\n")
        };
        let then = Scrape::of(&(bucket("0.001", 100) + &bucket("0.002", 100) + &bucket("+Inf", 100)));
        let now = Scrape::of(&(bucket("0.001", 150) + &bucket("0.002", 199) + &bucket("+Inf", 200)));
        let us = |quantile| now.stage_us(&then, "end_to_end", quantile);
        assert_eq!(us(0.25), Some(500.0));
        assert_eq!(us(0.5), Some(1_000.0));
        assert!(us(0.9).is_some_and(|us| us > 1_800.0 && us < 1_820.0), "{:?}", us(0.9));
        assert_eq!(us(1.0), Some(2_000.0), "beyond the last bound nothing is known");
        assert_eq!(then.stage_us(&then, "end_to_end", 0.5), None);
    }
}
