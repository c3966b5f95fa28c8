//! Recordings of venues: which kind a file is, and when its events are told again.
//!
//! Owns reading (plain or gzip) and the choice of the format by content. The formats are one file each; what
//! exchanges recorded becomes a [`tape::Tape`], our own recordings are replayed line by line (`lines.rs`).

mod binance;
mod coinbase;
mod kraken;
mod lines;
mod pace;
mod replay;
mod tape;
mod text;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use model::{Epoch, Nanos};
use thiserror::Error;

use crate::venue::Venue;

pub use pace::{Speed, SpeedError, Timestamps};
pub(crate) use text::{Decoded, decode};

/// Longest line of a recording; a longer one is refused, so that a wrong file does not fill the memory.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Lines that are looked at to find out the format.
const DETECT_LINES_MAX: usize = 100;

/// Why a source could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file could not be read.
    #[error("cannot read {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// None of the formats.
    #[error("{path} is no recording that feed-sim knows: Kraken v1, Coinbase, Binance, or its own")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// A line that makes no sense.
    #[error("line {line} of {path}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A recording without a book or without events.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A setting that is out of range.
    #[error("{name} is {value}: expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        expected: &'static str,
    },
}

/// Settings of a replay.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayConfig {
    /// The recording, plain or gzip.
    pub path: PathBuf,
    /// How fast; default as recorded.
    pub speed: Speed,
    /// Which times its lines carry; default shifted.
    pub timestamps: Timestamps,
    /// Whether it begins again at the end, with a new epoch; default not.
    pub looping: bool,
    /// Lines per second at equal distances instead of the recorded times; default none.
    pub rate: Option<f64>,
    /// Events leave at the ends of ticks of this length instead of each by itself; default 0, which is none. Larger ticks cost
    /// less and make events wait.
    pub tick: Nanos,
    /// Generation of the first pass; default the recorded one, or 1.
    pub epoch: Option<Epoch>,
}

impl ReplayConfig {
    /// A replay of `path` as it was recorded, once.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            speed: Speed::Times(1.0),
            timestamps: Timestamps::Shifted,
            looping: false,
            rate: None,
            tick: Nanos(0),
            epoch: None,
        }
    }

    /// Reads the recording.
    pub(crate) fn open(&self) -> Result<Box<dyn Venue>, OpenError> {
        if let Speed::Times(times) = self.speed
            && !(times > 0.0 && times.is_finite())
        {
            let value = times.to_string();
            return Err(OpenError::Setting { name: "speed", value, expected: "a number above 0, or max" });
        }
        if let Some(rate) = self.rate
            && !(rate > 0.0 && rate.is_finite())
        {
            let value = rate.to_string();
            return Err(OpenError::Setting { name: "rate", value, expected: "a number above 0" });
        }
        let tape = match detect(&self.path)? {
            Format::Own => {
                return lines::LineVenue::open(self).map(|venue| Box::new(venue) as Box<dyn Venue>);
            }
            Format::Kraken => self.read(kraken::Reader)?,
            Format::Coinbase => self.read(coinbase::Reader)?,
            Format::Binance => self.read(binance::Reader::default())?,
        };
        Ok(Box::new(replay::TapeVenue::new(tape, self)))
    }

    fn read(&self, mut reader: impl LineReader) -> Result<tape::Tape, OpenError> {
        let mut builder = tape::TapeBuilder::default();
        let mut number = 0;
        for_each_line(&self.path, |line| {
            number += 1;
            let failed = |reason| OpenError::Line { path: self.path.clone(), line: number, reason };
            reader.read(line, &mut builder).map(|()| true).map_err(failed)
        })?;
        builder.finish().map_err(|reason| OpenError::Content { path: self.path.clone(), reason })
    }
}

/// Reads the lines of one format onto a tape.
trait LineReader {
    fn read(&mut self, line: &[u8], tape: &mut tape::TapeBuilder) -> Result<(), String>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Own,
    Kraken,
    Coinbase,
    Binance,
}

fn detect(path: &Path) -> Result<Format, OpenError> {
    let mut found = None;
    let mut looked = 0;
    for_each_line(path, |line| {
        looked += 1;
        found = format_of(line);
        Ok(found.is_none() && looked < DETECT_LINES_MAX)
    })?;
    found.ok_or_else(|| OpenError::UnknownFormat { path: path.to_owned() })
}

/// The format that a line can only be of; none when it could be of several.
fn format_of(line: &[u8]) -> Option<Format> {
    let text = String::from_utf8_lossy(&line[..line.len().min(4_096)]);
    if text.starts_with("{\"type\":\"") && text.contains("\"line\":") {
        return Some(Format::Own);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let payload = text[digits..].trim_start_matches([':', ' ']);
    if digits == 0 {
        return None;
    }
    let has = |key: &str| payload.contains(key);
    if has("\"stream\":\"") || has("\"lastUpdateId\":") {
        Some(Format::Binance)
    } else if payload.starts_with('[') || has("\"event\":\"systemStatus\"") || has("\"channelName\":") {
        Some(Format::Kraken)
    } else if has("\"product_id\":") || has("\"type\":\"subscriptions\"") {
        Some(Format::Coinbase)
    } else {
        None
    }
}

/// Opens a file and unpacks it on the way if it is gzip (several members in a row are one stream).
fn open_reader(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut file = File::open(path)?;
    let mut magic = [0; 2];
    let is_gzip = file.read(&mut magic)? == 2 && magic == [0x1F, 0x8B];
    file.seek(SeekFrom::Start(0))?;
    let buffered = BufReader::with_capacity(1 << 16, file);
    if !is_gzip {
        return Ok(Box::new(buffered));
    }
    Ok(Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(buffered))))
}

/// Calls `f` with each line, without its line feed, until it says that this was enough.
fn for_each_line(path: &Path, mut f: impl FnMut(&[u8]) -> Result<bool, OpenError>) -> Result<(), OpenError> {
    let failed = |error| OpenError::Io { path: path.to_owned(), error };
    let mut reader = open_reader(path).map_err(failed)?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read =
            reader.by_ref().take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).map_err(failed)?;
        if read == LINE_BYTES_MAX {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "a line of 64 MiB or more")));
        }
        if read == 0 || !f(line.strip_suffix(b"\n").unwrap_or(&line))? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_a_line() {
        let cases = [
            (
                "{\"type\":\"status\",\"line\":1,\"epoch\":1,\"ts\":1,\"system\":\"online\"}",
                Some(Format::Own),
            ),
            ("1618678134.2: [992,{\"b\":[]},\"book-1000\",\"XMR/USD\"]", Some(Format::Kraken)),
            ("1618678132.8: {\"event\":\"systemStatus\",\"status\":\"online\"}", Some(Format::Kraken)),
            ("1618677817.0: {\"type\":\"snapshot\",\"product_id\":\"BAND-GBP\"}", Some(Format::Coinbase)),
            ("1723161255030314667 {\"stream\":\"btcusdt@trade\",\"data\":{}}", Some(Format::Binance)),
            ("wss://ws.kraken.com <-> 1618678132.3858151", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(format_of(line.as_bytes()), expected, "{line}");
        }
    }
}
