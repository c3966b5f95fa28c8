//! The opening handshake: checked in full, answered by fastwebsockets, then the bare socket goes to a shard.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use auth::Refusal;
use bytes::Bytes;
use fastwebsockets::upgrade::UpgradeFut;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
    WWW_AUTHENTICATE,
};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Answer, PublicState, text};
use crate::auth::Admission;

/// Answers an upgrade request, and hands the connection over when its client was told.
pub(super) fn answer_upgrade(mut request: Request<Incoming>, state: Arc<PublicState>) -> Answer {
    if let Err((status, problem)) = check(&request) {
        state.refused_malformed.fetch_add(1, Ordering::Relaxed);
        let mut answer = text(status, format!("{problem}\n"));
        if status == StatusCode::UPGRADE_REQUIRED {
            answer.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            answer.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        }
        return answer;
    }
    if state.connections() >= state.config.inbound.connections_max {
        state.refused_full.fetch_add(1, Ordering::Relaxed);
        return text(StatusCode::SERVICE_UNAVAILABLE, "too many connections, try again later\n");
    }
    let admission = match state.auth.admit(request.headers()) {
        Ok(admission) => admission,
        Err(refusal) => {
            state.refused_auth.fetch_add(1, Ordering::Relaxed);
            return refuse(refusal);
        }
    };
    let ext = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "ext=1"));
    match fastwebsockets::upgrade::upgrade(&mut request) {
        Ok((response, upgraded)) => {
            tokio::task::spawn_local(hand_over(upgraded, ext, admission, state));
            response.map(|_| Full::new(Bytes::new()))
        }
        Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
}

/// Answers somebody who is not let in, in the words of RFC 6750.
fn refuse(refusal: Refusal) -> Answer {
    if refusal == Refusal::Connections {
        return text(StatusCode::TOO_MANY_REQUESTS, format!("{refusal}\n"));
    }
    let challenge = match refusal {
        Refusal::Missing => "Bearer realm=\"gateway\"".to_owned(),
        _ => format!("Bearer realm=\"gateway\", error=\"invalid_token\", error_description=\"{refusal}\""),
    };
    let mut answer = text(StatusCode::UNAUTHORIZED, format!("{refusal}\n"));
    let challenge = HeaderValue::from_str(&challenge).expect("refusals are plain words");
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    answer
}

async fn hand_over(upgraded: UpgradeFut, ext: bool, admission: Admission, state: Arc<PublicState>) {
    let result = match upgraded.await {
        Ok(socket) => take_socket(socket.into_inner(), ext, admission, &state),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = result {
        tracing::debug!(error, "an upgrade was not finished");
    }
}

/// Unwraps the plain socket from under hyper, with what the client sent behind its request.
fn take_socket(
    upgraded: TokioIo<Upgraded>,
    ext: bool,
    admission: Admission,
    state: &PublicState,
) -> Result<(), String> {
    let parts = upgraded
        .into_inner()
        .downcast::<TokioIo<TcpStream>>()
        .map_err(|_| "the connection is no plain socket".to_owned())?;
    let leftover = parts.read_buf.to_vec();
    state.hand_over(parts.io.into_inner(), leftover, ext, admission).map_err(|error| error.to_string())
}

/// What RFC 6455 section 4.2.1 asks of a request.
fn check(request: &Request<Incoming>) -> Result<(), (StatusCode, &'static str)> {
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
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13"));
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if key_is_valid(key.as_bytes()) => Ok(()),
        _ => Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be one base64 text of 16 octets")),
    }
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
