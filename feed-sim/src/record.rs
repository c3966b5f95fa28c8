//! Writes what a feed sends into a file: the lines of one connection, as they were received.
//!
//! Owns the connection and the file. Never looks into a line. `recording/lines.rs` plays such files again.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use model::Nanos;

use crate::clock::now;

/// How often a connection that says nothing is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// When a recording ends; it always ends when the feed does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this many lines.
    Lines(u64),
    /// After this long.
    Span(Nanos),
    /// Only with the feed.
    End,
}

/// What was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Whole lines.
    pub lines: u64,
    /// Their bytes, before packing.
    pub bytes: u64,
}

enum Output {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Output {
    /// A file; packed when its name ends in `.gz`.
    fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(1 << 18, File::create(path)?);
        let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
        Ok(if is_gzip { Self::Gzip(GzEncoder::new(file, Compression::default())) } else { Self::Plain(file) })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.write_all(line),
            Self::Gzip(file) => file.write_all(line),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(mut file) => file.flush(),
            Self::Gzip(file) => file.finish()?.flush(),
        }
    }
}

/// Records a feed into a file, packed when its name ends in `.gz`. A line that is cut off at the end is left out.
///
/// # Errors
/// When the feed cannot be reached or the file not be written.
pub fn record(from: impl ToSocketAddrs, path: &Path, until: Until) -> io::Result<Recorded> {
    let stream = TcpStream::connect(from)?;
    stream.set_read_timeout(Some(LOOK_EVERY))?;
    let end = match until {
        Until::Span(span) => Some(now() + span),
        Until::Lines(_) | Until::End => None,
    };
    let mut output = Output::create(path)?;
    let mut reader = BufReader::with_capacity(1 << 18, stream);
    let mut recorded = Recorded::default();
    let mut line = Vec::new();
    while until != Until::Lines(recorded.lines) && end.is_none_or(|end| now() < end) {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) if line.last() == Some(&b'\n') => {
                output.write(&line)?;
                recorded.lines += 1;
                recorded.bytes += line.len() as u64;
                line.clear();
            }
            Ok(_) => break,
            // What was read of the line stays in `line`.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    output.finish()?;
    Ok(recorded)
}
