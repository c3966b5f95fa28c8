//! The server's list of symbols.
//!
//! Owns one short connection that reads the first snapshot of the instrument channel. Never verifies anything.
//! Used by [`crate::run`] when symbols are given as a number.

use crate::client::link::{Dial, Incoming, Link, LinkError};
use crate::frame;
use crate::plan::Target;
use mio::{Events, Interest, Poll, Token};
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long the list may take.
const LISTING_LIMIT: Duration = Duration::from_secs(10);
const REQUEST: &str =
    r#"{"method":"subscribe","params":{"channel":"instrument","snapshot":true},"req_id":1}"#;
const CLOSE_NORMAL: [u8; 2] = 1000_u16.to_be_bytes();

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListingError {
    /// No connection, or not any more.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The server says goodbye first.
    #[error("the server closes the connection before listing its instruments")]
    Closed,
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

/// Every symbol, in the server's order.
pub(crate) fn symbols(target: &Target, address: SocketAddr) -> Result<Vec<String>, ListingError> {
    let limit = Instant::now() + LISTING_LIMIT;
    let failed = |error: std::io::Error| ListingError::Link(error.into());
    let dial = Dial { address, source: None, receive_bytes: None };
    let mut link = Link::dial(&dial, 0).map_err(failed)?;
    let mut poll = Poll::new().map_err(failed)?;
    let all = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut link.stream, Token(0), all).map_err(failed)?;
    let mut events = Events::with_capacity(8);
    let (mut is_dialed, mut is_open, mut buffer) = (false, false, Vec::new());
    loop {
        let left = limit.checked_duration_since(Instant::now()).ok_or(ListingError::TooSlow)?;
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result.map_err(failed)?,
        }
        if !is_dialed {
            is_dialed = link.finish_dial(target, &target.path)?;
        }
        if is_dialed && !is_open {
            is_open = link.read_answer(&mut buffer)?;
            if is_open {
                link.send(frame::TEXT, REQUEST.as_bytes()).map_err(failed)?;
            }
        }
        if is_open && let Some(symbols) = read(&mut link, &mut buffer)? {
            // The list is here; whether the goodbye arrives does not matter.
            let _ = link.send(frame::CLOSE, &CLOSE_NORMAL);
            return Ok(symbols);
        }
    }
}

/// Reads until the socket is empty or the list is there.
fn read(link: &mut Link, buffer: &mut Vec<u8>) -> Result<Option<Vec<String>>, ListingError> {
    loop {
        let mut found = Ok(None);
        let came = link.read(buffer, usize::MAX, |incoming| {
            match incoming {
                Incoming::Text(text) => found = parse(text),
                Incoming::Close(_) => found = Err(ListingError::Closed),
                Incoming::Binary(_) | Incoming::Ping(_) => {}
            }
            matches!(found, Ok(None))
        })?;
        match found? {
            Some(symbols) => return Ok(Some(symbols)),
            None if came.is_none() => return Ok(None),
            None => {}
        }
    }
}

/// The symbols of an instrument snapshot; `None` for any other message.
fn parse(text: &[u8]) -> Result<Option<Vec<String>>, ListingError> {
    let listing: Listing = serde_json::from_slice(text).map_err(|e| ListingError::Refused(e.to_string()))?;
    if listing.success == Some(false) {
        return Err(ListingError::Refused(listing.error.unwrap_or_default()));
    }
    let (Some("instrument"), Some(data)) = (listing.channel.as_deref(), listing.data) else {
        return Ok(None);
    };
    let pairs = data["pairs"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(Some(pairs.iter().filter_map(|p| p["symbol"].as_str()).map(str::to_owned).collect()))
}
