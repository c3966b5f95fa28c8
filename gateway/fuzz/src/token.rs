//! Tokens and what else strangers present, and the files that they are held against: nothing is accepted that a slow reading refuses.
//!
//! The first byte says what the rest is: a credential as it is, a header and claims that are signed here with a good key, changes of a good
//! token, the value of a header, a file of keys, or a list of revocations. What is accepted is read once more by serde_json, member by
//! member. Base64url is written out here.

use std::sync::{Arc, LazyLock};

use auth::{
    ApiKeyEntry, ApiKeys, Authority, Credential, Identity, KeySet, Refusal, Revocations, Rules, Standing,
    hash_secret,
};
use ring::hmac;
use serde_json::Value;

/// When it is.
const NOW: u64 = 1_770_091_506;

/// How far clocks may be apart.
const LEEWAY: u64 = 5;

const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

const API_KEY: &str = "mdk_fuzz";

static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let mut keys = KeySet::default();
    let oct = format!(r#"{{"kty":"oct","alg":"HS256","kid":"k","k":"{}"}}"#, base64url(SECRET));
    // The public keys of RFC 8037 and RFC 7515.
    let ed = r#"{"kty":"OKP","crv":"Ed25519","kid":"ed","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let ec = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    for key in [oct.as_str(), ed, ec] {
        keys.add(key.as_bytes()).expect("these are keys");
    }
    let entry = ApiKeyEntry {
        subject: "robot".into(),
        sha256: hash_secret(API_KEY).into(),
        ..ApiKeyEntry::default()
    };
    Authority {
        keys: Arc::new(keys),
        api_keys: Arc::new(ApiKeys::new(vec![entry]).expect("it is an entry")),
        revocations: Revocations::parse("subject mallory\ntoken 13\n").expect("it is a list"),
        rules: Rules { issuer: Some("desk".into()), audience: Some("gateway".into()), leeway_s: LEEWAY },
    }
});

/// Unpadded base64url.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0, |word: u32, &byte| word << 8 | u32::from(byte));
        let word = word << (8 * (3 - chunk.len()));
        let digit = |place: u32| char::from(DIGITS[(word >> (18 - 6 * place)) as usize & 63]);
        out.extend((0..=chunk.len() as u32).map(digit));
    }
    out
}

fn signed(header: &[u8], claims: &[u8]) -> String {
    let text = format!("{}.{}", base64url(header), base64url(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), text.as_bytes());
    format!("{text}.{}", base64url(tag.as_ref()))
}

fn good() -> String {
    let claims = format!(r#"{{"sub":"alice","exp":{},"iss":"desk","aud":"gateway"}}"#, NOW + 60);
    signed(br#"{"alg":"HS256"}"#, claims.as_bytes())
}

/// Presents a text, and sees that what is accepted still stands a moment later.
fn present(text: &str) -> Result<Identity, Refusal> {
    let identity = AUTHORITY.authenticate(&Credential::new(text)?, NOW)?;
    assert_eq!(AUTHORITY.standing(&identity, NOW), Standing::Holds, "accepted, and not good");
    Ok(identity)
}

/// Judges what somebody made up.
///
/// # Panics
/// When something is accepted that must not be, or refused that must.
pub fn run(data: &[u8]) {
    let Some((&kind, rest)) = data.split_first() else { return };
    match kind % 6 {
        0 => check_as_it_is(rest),
        1 => check_signed(rest),
        2 => check_changed(rest),
        3 => check_header(rest),
        4 => check_keys(rest),
        _ => check_revocations(rest),
    }
}

/// Nobody can sign here: only the API key and the one token that a corpus may know are accepted.
fn check_as_it_is(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if present(text).is_ok() {
        let has_tag = text.rsplit_once('.').is_some_and(|(signed, tag)| {
            let wanted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
            tag == base64url(wanted.as_ref())
        });
        assert!(text == API_KEY || has_tag, "accepted without a signature");
    }
}

/// A header, a line end, claims.
fn check_signed(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let (header, claims) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    let token = signed(header, claims);
    let verdict = present(&token);
    match naive(header, claims) {
        Some(Reading { is_good, is_plain }) => {
            assert!(is_good || verdict.is_err(), "accepted, and must not be");
            let is_short = token.len() <= auth::CREDENTIAL_BYTES_MAX;
            assert!(!(is_good && is_plain && is_short) || verdict.is_ok(), "refused: {verdict:?}");
        }
        None => assert!(verdict.is_err(), "accepted, and is no JSON"),
    }
}

/// What a slow reading says.
struct Reading {
    /// Whether it may be accepted.
    is_good: bool,
    /// Whether there is nothing odd in it, so that it must be accepted when it is good.
    is_plain: bool,
}

/// Reads with the library's own idea of JSON, which takes the last of two members of one name.
fn naive(header: &[u8], claims: &[u8]) -> Option<Reading> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok().filter(Value::is_object);
    let (head, said) = (parse(header)?, parse(claims)?);
    let is_header_good = head["alg"] == "HS256"
        && (head["kid"].is_null() || head["kid"] == "k")
        && head["crit"].is_null()
        && head["b64"] != false;
    let date = |name: &str| said[name].as_f64();
    let is_name = |value: &Value| value.as_str().is_some_and(|name| !name.is_empty() && !name.contains('\n'));
    let audience = match &said["aud"] {
        Value::Array(all) => all.iter().any(|one| one == "gateway"),
        one => one == "gateway",
    };
    let is_good = is_header_good
        && is_name(&said["sub"])
        && said["sub"] != "mallory"
        && said["jti"] != "13"
        && date("exp").is_some_and(|exp| exp > (NOW - LEEWAY) as f64)
        && date("nbf").is_none_or(|nbf| nbf < (NOW + LEEWAY + 1) as f64)
        && said["iss"] == "desk"
        && audience;
    Some(Reading { is_good, is_plain: is_plain(&head, &said, header, claims) })
}

/// Whether it has only the members that are needed, each once, and small numbers.
fn is_plain(head: &Value, said: &Value, header: &[u8], claims: &[u8]) -> bool {
    let names = |value: &Value, known: &[&str]| {
        value.as_object().is_some_and(|all| all.keys().all(|name| known.contains(&name.as_str())))
    };
    let once = |text: &[u8], value: &Value| {
        let members = value.as_object().map_or(0, serde_json::Map::len);
        text.iter().filter(|&&byte| byte == b':').count() == members && !text.contains(&b'\\')
    };
    let is_printed = |text: &str| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    let is_text = |value: &Value| value.as_str().is_some_and(|text| text.len() < 100 && is_printed(text));
    let is_clean = |text: &Value| is_text(text) && !text.to_string().contains('\\');
    names(head, &["alg", "kid"])
        && names(said, &["sub", "exp", "iss", "aud"])
        && once(header, head)
        && once(claims, said)
        && said["exp"].as_u64().is_some_and(|exp| exp < 1 << 50)
        && is_clean(&said["sub"])
        && said["aud"].is_string()
}

/// Pairs of a place and a byte, laid over a good token.
fn check_changed(data: &[u8]) {
    let good = good();
    assert!(present(&good).is_ok(), "the good token is good");
    let mut bytes = good.clone().into_bytes();
    for change in data.chunks_exact(3) {
        let place = usize::from(change[0]) << 8 | usize::from(change[1]);
        let len = bytes.len();
        match change[2] {
            // Cut, or longer.
            0 => bytes.truncate(place % (len + 1)),
            1 => bytes.insert(place % (len + 1), b'A'),
            other if len > 0 => bytes[place % len] = other,
            _ => {}
        }
    }
    if let Ok(text) = std::str::from_utf8(&bytes) {
        assert_eq!(present(text).is_ok(), text == good, "another token than the good one");
    }
}

fn check_header(data: &[u8]) {
    match Credential::from_header(data) {
        Some(Ok(credential)) => {
            assert!(data[..6].eq_ignore_ascii_case(b"bearer"));
            assert_eq!(format!("{credential:?}"), "Credential");
            // Whatever it is, it is judged.
            let _ = AUTHORITY.authenticate(&credential, NOW);
        }
        Some(Err(refusal)) => {
            let is_long = data.len() > auth::CREDENTIAL_BYTES_MAX;
            assert!(refusal == Refusal::Malformed || (refusal == Refusal::Oversized && is_long));
        }
        None => assert!(data.len() < 6 || !data.eq_ignore_ascii_case(b"bearer")),
    }
}

fn check_keys(data: &[u8]) {
    let mut keys = KeySet::default();
    if keys.add(data).is_ok() {
        assert!(!keys.is_empty(), "a file without keys is an error");
        // What was read verifies nothing that it did not sign.
        let authority =
            Authority { keys: Arc::new(keys), rules: AUTHORITY.rules.clone(), ..Authority::default() };
        let credential = Credential::new(&good()).expect("it is short");
        let is_ours = data.windows(43).any(|part| part == base64url(SECRET).as_bytes());
        assert!(authority.authenticate(&credential, NOW).is_err() || is_ours);
    }
}

fn check_revocations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(list) = Revocations::parse(text) {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut lines: Vec<&str> = lines.collect();
        assert!(lines.iter().all(|line| line.starts_with("subject ") || line.starts_with("token ")));
        lines.sort_unstable();
        lines.dedup();
        assert!(list.len() <= lines.len());
        assert_eq!(list.is_empty(), lines.is_empty());
    }
}
