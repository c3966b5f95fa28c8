//! HTTP by hand: one request, one answer, and the metrics page as numbers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;

/// All channels that are counted.
pub const CHANNELS: [&str; 5] = ["book", "ticker", "trade", "ohlc", "instrument"];

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Sends a request as it is written and reads the answer until the server ends the connection.
pub fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has seen enough may answer and close before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    parse(&String::from_utf8_lossy(&bytes))
}

/// Reads one answer of stated length, or the head of an upgrade, from a connection that may go on.
pub fn read_one(stream: &mut TcpStream) -> Answer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    let mut octet = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut octet).unwrap_or(0), 1, "no answer");
        bytes.push(octet[0]);
    }
    let mut answer = parse(&String::from_utf8_lossy(&bytes));
    let mut body = vec![0; answer.header("content-length").parse().unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    answer.body = String::from_utf8(body).unwrap();
    answer
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"))
}

fn parse(text: &str) -> Answer {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Answer::default() };
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let headers = rest.lines().filter_map(|line| line.split_once(':'));
    Answer {
        status: status.unwrap_or_else(|| panic!("no status line: {first}")),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect(),
        body: body.to_owned(),
    }
}

/// The samples of a metrics page by name and labels as they are written.
#[derive(Clone, Debug, Default)]
pub struct Samples(pub BTreeMap<String, f64>);

impl Samples {
    /// Reads a page in Prometheus' text form.
    pub fn parse(page: &str) -> Self {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        };
        Self(samples.map(sample).collect())
    }

    /// A sample without labels.
    pub fn one(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no sample {name}")) as u64
    }

    /// A sample with one label.
    pub fn of(&self, name: &str, label: &str, value: &str) -> u64 {
        self.one(&format!("{name}{{{label}=\"{value}\"}}"))
    }

    pub fn reject(&self, reason: &str) -> u64 {
        self.of("gateway_feed_rejects_total", "reason", reason)
    }

    /// All reasons with a count above zero.
    pub fn rejects(&self) -> Vec<(&str, u64)> {
        let prefix = "gateway_feed_rejects_total{";
        let counted = self.0.iter().filter(|(name, value)| name.starts_with(prefix) && **value > 0.0);
        counted.map(|(name, &value)| (&name[prefix.len()..], value as u64)).collect()
    }

    /// Deliveries of one kind in a channel.
    pub fn deliveries(&self, kind: &str, channel: &str) -> u64 {
        self.of(&format!("gateway_deliveries_{kind}"), "channel", channel)
    }

    /// Every delivery is in exactly one place; returns how many there were in each of [`CHANNELS`].
    pub fn check_conserved(&self) -> [u64; 5] {
        CHANNELS.map(|channel| {
            let parts = ["written_total", "merged_total", "dropped_total", "discarded_total", "pending"];
            let parts = parts.map(|kind| self.deliveries(kind, channel));
            let whole = self.deliveries("fanned_out_total", channel);
            assert_eq!(whole, parts.iter().sum::<u64>(), "{channel}: {parts:?}");
            whole
        })
    }
}
