//! The server's list of symbols.
//!
//! Owns one short connection that reads the first snapshot of the instrument channel. Never verifies anything.
//! Used by [`crate::run`] when symbols are given as a number.

use crate::plan::Target;
use crate::socket::{ConnectError, connect};
use fastwebsockets::{Frame, OpCode, WebSocketError};
use serde::Deserialize;
use std::time::Duration;
use tokio::time::timeout;

/// How long the list may take.
const LISTING_LIMIT: Duration = Duration::from_secs(10);
const REQUEST: &str =
    r#"{"method":"subscribe","params":{"channel":"instrument","snapshot":true},"req_id":1}"#;
const CLOSE_NORMAL: u16 = 1000;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListingError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The connection ended first.
    #[error("the server ended the connection before listing its instruments: {0}")]
    Lost(#[from] WebSocketError),
    /// The server refused to list.
    #[error("the server does not list its instruments: {0}")]
    Refused(String),
    /// Nothing came.
    #[error("no instrument snapshot within {} s", LISTING_LIMIT.as_secs())]
    TooSlow,
}

#[derive(Deserialize)]
struct Listing {
    channel: Option<String>,
    success: Option<bool>,
    error: Option<String>,
    data: Option<serde_json::Value>,
}

/// Every symbol, in the server's order. May be cancelled; the connection is then dropped.
pub(crate) async fn symbols(target: &Target) -> Result<Vec<String>, ListingError> {
    timeout(LISTING_LIMIT, read_symbols(target)).await.unwrap_or(Err(ListingError::TooSlow))
}

async fn read_symbols(target: &Target) -> Result<Vec<String>, ListingError> {
    let mut socket = connect(target, None).await?;
    socket.write_frame(Frame::text(REQUEST.as_bytes().to_vec().into())).await?;
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Err(WebSocketError::ConnectionClosed.into()),
            OpCode::Text => {}
            _ => continue,
        }
        if let Some(symbols) = parse(&frame.payload)? {
            // The list is here; whether the goodbye arrives does not matter.
            let _ = socket.write_frame(Frame::close(CLOSE_NORMAL, b"")).await;
            return Ok(symbols);
        }
    }
}

/// The symbols of an instrument snapshot; `None` for any other message.
fn parse(frame: &[u8]) -> Result<Option<Vec<String>>, ListingError> {
    let listing: Listing = serde_json::from_slice(frame).map_err(|e| ListingError::Refused(e.to_string()))?;
    if listing.success == Some(false) {
        return Err(ListingError::Refused(listing.error.unwrap_or_default()));
    }
    let (Some("instrument"), Some(data)) = (listing.channel.as_deref(), listing.data) else {
        return Ok(None);
    };
    let pairs = data["pairs"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(Some(pairs.iter().filter_map(|p| p["symbol"].as_str()).map(str::to_owned).collect()))
}
