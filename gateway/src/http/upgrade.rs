//! The opening handshake: checked in full, answered in the words of fastwebsockets, then the bare socket goes to a shard, which
//! writes the answer with what it has to say first.

use std::net::IpAddr;

use auth::Refusal;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, StatusCode, Version};
use tokio_rustls::server::TlsStream;

use super::door::Place;
use super::promise::Promise;
use super::public::{ECHO, Peer};
use super::refusal::Reason;
use super::socket::Socket;
use super::{Answer, PublicState, echo, origin, text};
use crate::auth::Admission;
use crate::shard::Opening;

/// What an upgraded connection is for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Market data, from a shard.
    Market {
        /// Whether its address opted in to the superset.
        ext: bool,
        place: Place,
        /// As whom it was let in.
        admission: Admission,
    },
    Echo(echo::Place),
}

/// Answers an upgrade request, and promises the connection to whom it is for.
///
/// Nothing that the client sent is repeated in the answer: no subprotocol, no extension, no word of an error.
pub(super) fn answer_upgrade(
    mut request: Request<Incoming>,
    peer: Peer,
    state: &PublicState,
    promise: &Promise,
) -> Answer {
    if let Err((status, problem)) = check(&request, peer.is_tls, &state.config.public.origins) {
        let reason = if status == StatusCode::FORBIDDEN { Reason::Origin } else { Reason::Malformed };
        return refuse(state, reason, status, problem);
    }
    let admission = match admit(&request, state) {
        Ok(admission) => admission,
        Err(refusal) => return refuse_credential(state, refusal),
    };
    let purpose = match purpose(&request, peer.address, admission, state) {
        Ok(purpose) => purpose,
        Err(Reason::AddressFull) => {
            let problem = "too many connections of this address";
            return refuse(state, Reason::AddressFull, StatusCode::TOO_MANY_REQUESTS, problem);
        }
        Err(Reason::Memory) => {
            let problem = "memory is short, try again later";
            return refuse(state, Reason::Memory, StatusCode::SERVICE_UNAVAILABLE, problem);
        }
        Err(reason) => {
            let problem = "too many connections, try again later";
            return refuse(state, reason, StatusCode::SERVICE_UNAVAILABLE, problem);
        }
    };
    match fastwebsockets::upgrade::upgrade(&mut request) {
        // The stream is taken from hyper when it has written the answer, so nobody waits for its own kind of upgrade.
        Ok((response, _)) => {
            promise.give(purpose);
            response.map(|_| Full::new(Bytes::new()))
        }
        Err(_) => refuse(state, Reason::Malformed, StatusCode::BAD_REQUEST, "this is no WebSocket upgrade"),
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

/// As whom a request is let in; the echo is for everybody.
fn admit(request: &Request<Incoming>, state: &PublicState) -> Result<Admission, Refusal> {
    if request.uri().path() == ECHO { Ok(Admission::default()) } else { state.auth.admit(request.headers()) }
}

/// Answers somebody who is not let in, in the words of RFC 6750.
fn refuse_credential(state: &PublicState, refusal: Refusal) -> Answer {
    let status = match refusal {
        Refusal::Connections => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::UNAUTHORIZED,
    };
    let mut answer = refuse(state, Reason::NotAuthenticated, status, refusal.words());
    if status == StatusCode::UNAUTHORIZED {
        let challenge = match refusal {
            Refusal::Missing => "Bearer realm=\"gateway\"".to_owned(),
            _ => {
                format!("Bearer realm=\"gateway\", error=\"invalid_token\", error_description=\"{refusal}\"")
            }
        };
        let challenge = HeaderValue::from_str(&challenge).expect("refusals are plain words");
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// What a request is for, if there is room for that.
fn purpose(
    request: &Request<Incoming>,
    from: IpAddr,
    admission: Admission,
    state: &PublicState,
) -> Result<Purpose, Reason> {
    if request.uri().path() == ECHO {
        let place = echo::Place::take(&state.echoes, state.config.echo.connections_max);
        return place.map(Purpose::Echo).ok_or(Reason::Full);
    }
    if state.memory.is_tight() {
        return Err(Reason::Memory);
    }
    let ext = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "ext=1"));
    state.door.admit(from).map(|place| Purpose::Market { ext, place, admission })
}

/// What a connection was before it was served.
pub(super) enum Carrier {
    Plain(Socket),
    Tls(Box<TlsStream<Socket>>),
}

impl From<Socket> for Carrier {
    fn from(stream: Socket) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsStream<Socket>> for Carrier {
    fn from(stream: TlsStream<Socket>) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Purpose {
    /// Gives the connection to whom it is for.
    pub(super) fn begin(self, carrier: Carrier, opening: Opening, state: &PublicState) {
        match self {
            Self::Echo(place) => {
                let limits = state.config.echo.read_limits();
                tokio::task::spawn_local(async move {
                    match carrier {
                        Carrier::Plain(stream) => echo::serve(stream, opening, limits, place).await,
                        Carrier::Tls(stream) => echo::serve(stream, opening, limits, place).await,
                    }
                });
            }
            Self::Market { ext, place, admission } => {
                let (stream, tls) = match carrier {
                    Carrier::Plain(stream) => (stream, None),
                    Carrier::Tls(stream) => {
                        let (stream, tls) = stream.into_inner();
                        (stream, Some(Box::new(tls)))
                    }
                };
                if let Err(error) = state.hand_over(stream, tls, opening, ext, place, admission) {
                    tracing::debug!(%error, "an upgrade was not finished");
                }
            }
        }
    }
}

/// What RFC 6455 section 4.2.1 asks of a request, and whether its page may ask at all.
fn check(
    request: &Request<Incoming>,
    is_tls: bool,
    origins: &[String],
) -> Result<(), (StatusCode, &'static str)> {
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
    check_origin(headers, is_tls, origins)
}

/// A request without an origin comes from no web page.
fn check_origin(
    headers: &HeaderMap,
    is_tls: bool,
    origins: &[String],
) -> Result<(), (StatusCode, &'static str)> {
    if !headers.contains_key(ORIGIN) {
        return Ok(());
    }
    let text = |name| only(headers, name).and_then(|value| value.to_str().ok());
    let (origin, host) = (text(ORIGIN), text(HOST).unwrap_or_default());
    if origin.is_some_and(|origin| origin::is_allowed(origin, host, is_tls, origins)) {
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
