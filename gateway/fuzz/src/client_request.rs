//! What a client asks: whatever it sends, the decoder answers, and never reads JSON where there is none.
//!
//! The input is one message. It is decoded as it is and with white space around everything; what is not JSON by serde_json
//! must not be a request, and what is refused as no JSON must be none. Every refusal must have an answer that is JSON.

use model::{InstrumentId, Nanos};
use serde_json::Value;
use serde_json::value::RawValue;
use wire::reply::{self, Stamp};
use wire::request::{self, Method, Request, RequestError, RequestErrorKind, Target};

/// Most characters of a client's own text that are repeated to it.
const ECHO_CHARS_MAX: usize = 32;

/// Decodes one message.
///
/// # Panics
/// When the decoder contradicts serde_json or itself, or an answer is not JSON.
pub fn run(data: &[u8]) {
    let (result, is_json) = (decode(data), is_json(data));
    let spread = decode(&spread(data));
    // Of what is no JSON the first thing that is wrong may be another.
    assert!(spread == result || (!is_json && spread.is_err()), "white space: {spread:?}, not {result:?}");
    match &result {
        Ok(request) => {
            assert!(is_json, "a request that is not JSON: {request:?}");
            check_request(request);
        }
        Err(error) => {
            let is_refused_as_text = error.kind == RequestErrorKind::NotJson;
            assert!(!is_refused_as_text || !is_plain_json(data), "JSON, and refused as none");
            check_answer(error);
        }
    }
}

fn decode(data: &[u8]) -> Result<Request, RequestError> {
    request::decode(&mut data.to_vec())
}

/// The same with white space around every bracket, comma and colon outside strings.
fn spread(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() * 2);
    let (mut in_string, mut escaped) = (false, false);
    for &byte in data {
        let is_structural = !in_string && b"{}[],:".contains(&byte);
        out.extend_from_slice(if is_structural { b"\t" } else { b"" });
        out.push(byte);
        out.extend_from_slice(if is_structural { b" \r\n" } else { b"" });
        in_string ^= byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
    }
    out
}

/// Whether it is JSON at all.
fn is_json(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

/// Whether it is JSON that anybody reads: not too deep, no half of a surrogate pair, and no integer that 64 bits cannot hold, which is
/// refused in the same words.
fn is_plain_json(data: &[u8]) -> bool {
    let has_long_number =
        data.chunk_by(|a, b| a.is_ascii_digit() && b.is_ascii_digit()).any(|run| run.len() >= 19);
    !has_long_number && serde_json::from_slice::<Value>(data).is_ok()
}

fn check_request(request: &Request) {
    let channel = match &request.method {
        Method::Ping | Method::Login(_) => None,
        Method::Subscribe(params) | Method::Unsubscribe(params) => {
            assert!(params.symbols.len() <= request::SYMBOLS_MAX);
            Some(params.channel)
        }
        Method::Configure(configure) => some(&configure.target),
        Method::Pause(target) | Method::Resume(target) => some(target),
    };
    if let Some(channel) = channel
        && let Ok(key) = channel.stream_key(InstrumentId(3))
    {
        assert_eq!(key.channel(), channel.channel());
        assert_eq!(model::StreamKey::from(key.id()), key);
    }
}

const fn some(target: &Target) -> Option<request::ChannelParams> {
    match target {
        Target::All => None,
        Target::Some(channel, _) => Some(*channel),
    }
}

fn check_answer(error: &RequestError) {
    let stamp = Stamp { time_in: Nanos(0), time_out: Nanos(1), req_id: None };
    let mut out = Vec::new();
    reply::request_error(error, stamp, &mut out);
    let answer: Value = serde_json::from_slice(&out).expect("an answer is JSON");
    assert_eq!(answer["success"], Value::Bool(false));
    for key in ["method", "symbol"] {
        let chars = answer[key].as_str().map_or(0, |text| text.chars().count());
        assert!(chars <= ECHO_CHARS_MAX, "{key} has {chars} characters");
    }
    assert_eq!(answer["req_id"].is_null(), error.req_id.is_none());
}
