//! The opening handshake: checked in full, answered by fastwebsockets, then the bare socket goes to a shard.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use fastwebsockets::upgrade::UpgradeFut;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::door::Place;
use super::public::ECHO;
use super::refusal::Reason;
use super::{Answer, PublicState, echo, origin, text};

/// What an upgraded connection is for.
enum Purpose {
    /// Market data, from a shard.
    Market {
        /// Whether its address opted in to the superset.
        ext: bool,
        place: Place,
    },
    Echo(echo::Place),
}

/// Answers an upgrade request, and hands the connection over when its client was told.
///
/// Nothing that the client sent is repeated in the answer: no subprotocol, no extension, no word of an error.
pub(super) fn answer_upgrade(
    mut request: Request<Incoming>,
    from: IpAddr,
    state: Arc<PublicState>,
) -> Answer {
    if let Err((status, problem)) = check(&request, &state.config.public.origins) {
        let reason = if status == StatusCode::FORBIDDEN { Reason::Origin } else { Reason::Malformed };
        return refuse(&state, reason, status, problem);
    }
    let purpose = match purpose(&request, from, &state) {
        Ok(purpose) => purpose,
        Err(Reason::AddressFull) => {
            let problem = "too many connections of this address";
            return refuse(&state, Reason::AddressFull, StatusCode::TOO_MANY_REQUESTS, problem);
        }
        Err(Reason::Memory) => {
            let problem = "memory is short, try again later";
            return refuse(&state, Reason::Memory, StatusCode::SERVICE_UNAVAILABLE, problem);
        }
        Err(reason) => {
            let problem = "too many connections, try again later";
            return refuse(&state, reason, StatusCode::SERVICE_UNAVAILABLE, problem);
        }
    };
    match fastwebsockets::upgrade::upgrade(&mut request) {
        Ok((response, upgraded)) => {
            tokio::task::spawn_local(hand_over(upgraded, purpose, state));
            response.map(|_| Full::new(Bytes::new()))
        }
        Err(_) => refuse(&state, Reason::Malformed, StatusCode::BAD_REQUEST, "this is no WebSocket upgrade"),
    }
}

/// Counts and words a refusal. The connection ends with it: who errs once is not asked for more.
fn refuse(state: &PublicState, reason: Reason, status: StatusCode, problem: &'static str) -> Answer {
    state.refusals.count(reason);
    let mut answer = text(status, format!("{problem}\n"));
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade, close"));
    }
    answer
}

/// What a request is for, if there is room for that.
fn purpose(request: &Request<Incoming>, from: IpAddr, state: &PublicState) -> Result<Purpose, Reason> {
    if request.uri().path() == ECHO {
        let place = echo::Place::take(&state.echoes, state.config.echo.connections_max);
        return place.map(Purpose::Echo).ok_or(Reason::Full);
    }
    if state.memory.is_tight() {
        return Err(Reason::Memory);
    }
    let ext = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "ext=1"));
    state.door.admit(from).map(|place| Purpose::Market { ext, place })
}

async fn hand_over(upgraded: UpgradeFut, purpose: Purpose, state: Arc<PublicState>) {
    let socket = match upgraded.await {
        Ok(socket) => take_socket(socket.into_inner()),
        Err(error) => Err(error.to_string()),
    };
    let result = match (socket, purpose) {
        (Ok((stream, leftover)), Purpose::Market { ext, place }) => {
            state.hand_over(stream, leftover, ext, place).map_err(|error| error.to_string())
        }
        (Ok((stream, leftover)), Purpose::Echo(place)) => {
            echo::serve(stream, leftover, state.config.echo.read_limits(), place).await;
            Ok(())
        }
        (Err(error), _) => Err(error),
    };
    if let Err(error) = result {
        tracing::debug!(error, "an upgrade was not finished");
    }
}

/// Unwraps the plain socket from under hyper, with what the client sent behind its request.
fn take_socket(upgraded: TokioIo<Upgraded>) -> Result<(TcpStream, Vec<u8>), String> {
    let parts = upgraded
        .into_inner()
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| "the connection is no plain socket".to_owned())?;
    Ok((parts.io.into_inner(), parts.read_buf.to_vec()))
}

/// What RFC 6455 section 4.2.1 asks of a request, and whether its page may ask at all.
fn check(request: &Request<Incoming>, origins: &[String]) -> Result<(), (StatusCode, &'static str)> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET upgrades to a WebSocket"));
    }
    if request.version() != Version::HTTP_11 {
        return Err((StatusCode::HTTP_VERSION_NOT_SUPPORTED, "a WebSocket needs HTTP/1.1"));
    }
    if !has_token(headers, UPGRADE, "websocket") {
        return Err((
            StatusCode::UPGRADE_REQUIRED,
            "this address speaks WebSocket: Upgrade: websocket is missing",
        ));
    }
    if !has_token(headers, CONNECTION, "upgrade") {
        return Err((StatusCode::BAD_REQUEST, "Connection: Upgrade is missing"));
    }
    if only(headers, SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13"));
    }
    if !only(headers, SEC_WEBSOCKET_KEY).is_some_and(|key| key_is_valid(key.as_bytes())) {
        return Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be one base64 text of 16 octets"));
    }
    check_origin(headers, origins)
}

/// A request without an origin comes from no web page.
fn check_origin(headers: &HeaderMap, origins: &[String]) -> Result<(), (StatusCode, &'static str)> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let text = |name| only(headers, name).and_then(|value| value.to_str().ok());
    let (origin, host) = (text(ORIGIN), text(HOST).unwrap_or_default());
    if origin.is_some_and(|origin| origin::is_allowed(origin, host, origins)) {
        return Ok(());
    }
    Err((StatusCode::FORBIDDEN, "pages of this origin may not connect: see public.origins"))
}

/// The value of a header that stands there once.
pub(super) fn only(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// 16 octets are 22 base64 characters and two signs of padding.
fn key_is_valid(key: &[u8]) -> bool {
    let Some(body) = key.strip_suffix(b"==") else { return false };
    body.len() == 22 && body.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}
