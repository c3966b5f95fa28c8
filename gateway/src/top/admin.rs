//! Asking the admin listener: `/metrics`, `/readyz`, `/clients`.
//!
//! Owns the requests and the reading of their answers. Never compares: `figures.rs` does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use model::Nanos;
use serde::Deserialize;
use thiserror::Error;

use crate::clock::Clock;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum AdminError {
    /// The connection.
    #[error("no gateway answers at {address}: {error}")]
    Connection {
        /// Where it should be.
        address: String,
        /// What happened instead.
        error: io::Error,
    },
    /// The answer.
    #[error("{address}{path} answers: {said}")]
    Answer {
        /// Where.
        address: String,
        /// What was asked.
        path: String,
        /// Its first line.
        said: String,
    },
}

/// An admin listener.
pub(super) struct Admin {
    address: String,
    clients: String,
}

/// What it said at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// When, on the clock of whoever looks.
    pub(super) at: Nanos,
    /// Wall time of the same moment.
    pub(super) wall: Nanos,
    /// Values by series: name and labels as they were written.
    pub(super) series: BTreeMap<String, f64>,
    /// Why it is not ready; none when it is.
    pub(super) not_ready: Option<String>,
    /// The clients that lag most.
    pub(super) clients: Vec<Client>,
}

/// A client as the gateway lists it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Client {
    pub(super) id: u64,
    pub(super) address: Option<String>,
    pub(super) tier: String,
    pub(super) mode: String,
    pub(super) policy: Option<String>,
    pub(super) connected_s: f64,
    pub(super) lag_age_s: f64,
    pub(super) lag_entries: u64,
    pub(super) dropped: u64,
    pub(super) written_bytes: u64,
    pub(super) subscriptions: u64,
}

impl Admin {
    pub(super) fn new(address: &str, by: &str, top: usize) -> Self {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { address, clients: format!("/clients?by={by}&top={top}") }
    }

    /// Asks for everything.
    pub(super) fn look(&self, clock: &Clock) -> Result<Look, AdminError> {
        let (status, text) = self.ask("/metrics")?;
        if status != 200 {
            return Err(self.unusable("/metrics", &text));
        }
        let (at, wall) = (clock.mono(), clock.wall());
        let (ready, reason) = self.ask("/readyz")?;
        let (status, clients) = self.ask(&self.clients)?;
        let (200, Ok(clients)) = (status, serde_json::from_str(&clients)) else {
            return Err(self.unusable(&self.clients, &clients));
        };
        Ok(Look {
            at,
            wall,
            series: parse(&text),
            not_ready: (ready != 200).then(|| reason.trim().to_owned()),
            clients,
        })
    }

    fn unusable(&self, path: &str, text: &str) -> AdminError {
        let said = text.lines().next().unwrap_or_default().to_owned();
        AdminError::Answer { address: self.address.clone(), path: path.to_owned(), said }
    }

    /// Status and body of a path.
    fn ask(&self, path: &str) -> Result<(u16, String), AdminError> {
        let answer = self
            .exchange(path)
            .map_err(|error| AdminError::Connection { address: self.address.clone(), error })?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| self.unusable(path, &answer))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok((status.ok_or_else(|| self.unusable(path, head))?, body.to_owned()))
    }

    fn exchange(&self, path: &str) -> io::Result<String> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let address = self.address.to_socket_addrs()?.next().ok_or_else(unknown)?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    }
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            line.rsplit_once(' ').and_then(|(key, value)| Some((key.to_owned(), value.parse().ok()?)))
        })
        .collect()
}

impl Look {
    /// The value of a series; 0 when there is none.
    pub(super) fn value(&self, series: &str) -> f64 {
        self.series.get(series).copied().unwrap_or(0.0)
    }

    /// The series of a name with their labels, without braces.
    pub(super) fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let from = self.series.range(name.to_owned()..);
        let all = from.take_while(move |(key, _)| key.starts_with(name));
        all.filter_map(move |(key, value)| {
            let labels = match &key[name.len()..] {
                "" => "",
                rest => rest.strip_prefix('{')?.strip_suffix('}')?,
            };
            Some((labels, *value))
        })
    }

    /// The sum over all series of a name.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|(_, value)| value).sum()
    }
}

/// The value of a label.
pub(super) fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let pairs = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.trim_end_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_found_by_name_and_label() {
        let text =
            "# HELP x y\na_total{code=\"x\"} 2\na_total{code=\"y\",le=\"+Inf\"} 3\na_totally 9\nb 1.5\n";
        let look = Look { series: parse(text), ..Look::default() };
        assert_eq!((look.sum("a_total"), look.value("b"), look.value("c")), (5.0, 1.5, 0.0));
        let labels: Vec<_> = look.of("a_total").map(|(labels, _)| label(labels, "code")).collect();
        assert_eq!(labels, [Some("x"), Some("y")]);
        assert_eq!(label("code=\"y\",le=\"+Inf\"", "le"), Some("+Inf"));
    }
}
