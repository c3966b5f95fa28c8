//! The feed's lines: read into integers with simd-json, or where they are of the usual form with less, and written for feed-sim
//! (`docs/feed-protocol.md`).
//!
//! The decoder numbers instruments and turns decimal text into ticks and lots; it keeps no book and checks no
//! sequence (that is `market`). What does not fit is refused with a reason, never rounded.

mod book_line;
mod decode;
mod encode;

pub use decode::{FEED_INSTRUMENTS_MAX, FEED_LEVELS_MAX, FEED_LINE_BYTES_MAX, FeedDecoder, FeedReject};
pub use encode::FeedWriter;

use thiserror::Error;

/// What a reader may ask its feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedRequest {
    /// Replayed trades and a snapshot of one symbol, or of all.
    Snapshot(Option<Box<str>>),
}

/// Why a line to the feed is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a feed request: expected {{\"method\":\"snapshot\"}} with or without \"symbol\"")]
pub struct FeedRequestError;

/// Reads one request line, in place.
///
/// # Errors
/// [`FeedRequestError`] for anything that is not a request.
pub fn decode_request(line: &mut [u8]) -> Result<FeedRequest, FeedRequestError> {
    use simd_json::prelude::ValueAsScalar;
    let tape = simd_json::to_tape(line).map_err(|_| FeedRequestError)?;
    let value = tape.as_value();
    if value.get("method").as_ref().and_then(ValueAsScalar::as_str) != Some("snapshot") {
        return Err(FeedRequestError);
    }
    match value.get("symbol") {
        None => Ok(FeedRequest::Snapshot(None)),
        Some(symbol) => {
            symbol.as_str().map(|s| FeedRequest::Snapshot(Some(s.into()))).ok_or(FeedRequestError)
        }
    }
}

/// Appends one request line.
pub fn encode_request(request: &FeedRequest, out: &mut Vec<u8>) {
    let FeedRequest::Snapshot(symbol) = request;
    out.extend_from_slice(b"{\"method\":\"snapshot\"");
    if let Some(symbol) = symbol {
        out.extend_from_slice(b",\"symbol\":");
        crate::text::write_string(symbol, out);
    }
    out.extend_from_slice(b"}\n");
}
