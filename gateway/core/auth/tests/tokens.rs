//! Tokens and API keys against an authority: what is accepted, and with which reason everything else is refused.
//!
//! Tokens are put together here by hand, so that every part of them can be wrong.
#![expect(clippy::unwrap_used, reason = "a panic is what a test has for an error")]

use std::sync::Arc;

use auth::{
    Algorithm, ApiKeyEntry, ApiKeys, Authority, Claims, Credential, KeyError, KeySet, Proof, Refusal,
    Revocations, Rules, SigningKey, Standing, hash_secret, inspect, secret_text, sign,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use serde_json::{Value, json};

/// When it is, in all tests.
const NOW: u64 = 1_770_091_506;

const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn oct(kid: &str, alg: &str, secret: &[u8]) -> String {
    json!({ "kty": "oct", "kid": kid, "alg": alg, "k": b64(secret) }).to_string()
}

fn authority(rules: Rules, keys: &[&str]) -> Authority {
    let mut set = KeySet::default();
    for key in keys {
        set.add(key.as_bytes()).unwrap();
    }
    Authority { rules, keys: set.into(), ..Authority::default() }
}

fn rules() -> Rules {
    Rules { issuer: Some("desk".into()), audience: Some("gateway".into()), leeway_s: 5 }
}

/// A token of a header and claims as they are written, signed with HMAC and the secret whatever the header says.
fn hmac_token(header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", b64(header), b64(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed.as_bytes());
    format!("{signed}.{}", b64(tag))
}

fn good() -> Value {
    json!({ "sub": "alice", "exp": NOW + 60, "iss": "desk", "aud": "gateway" })
}

/// Good claims with some replaced; `null` takes one out.
fn with(changes: &Value) -> Value {
    let mut claims = good();
    for (key, value) in changes.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

/// What becomes of a text: the name of the reason, or the subject.
fn outcome(authority: &Authority, text: &str) -> String {
    let identity = Credential::new(text).and_then(|one| authority.authenticate(&one, NOW));
    identity.map_or_else(|refusal| refusal.name().to_owned(), |identity| identity.subject.into())
}

#[test]
fn claims_are_held_against_the_rules() {
    let authority = authority(rules(), &[&oct("k", "HS256", SECRET)]);
    let cases = [
        (json!({}), "alice"),
        // The leeway is five seconds to both sides.
        (json!({ "exp": NOW - 4 }), "alice"),
        (json!({ "exp": NOW - 5 }), "expired"),
        (json!({ "exp": 0 }), "expired"),
        (json!({ "exp": u64::MAX }), "alice"),
        (json!({ "exp": NOW as f64 + 0.5 }), "alice"),
        (json!({ "nbf": NOW + 5 }), "alice"),
        (json!({ "nbf": NOW + 6 }), "early"),
        (json!({ "nbf": u64::MAX }), "early"),
        // Of another type or missing: never taken for not said.
        (json!({ "exp": null }), "malformed"),
        (json!({ "exp": (NOW + 60).to_string() }), "malformed"),
        (json!({ "exp": -1 }), "malformed"),
        (json!({ "exp": 1e300 }), "malformed"),
        (json!({ "nbf": (NOW - 60).to_string() }), "malformed"),
        (json!({ "nbf": [1] }), "malformed"),
        (json!({ "sub": null }), "malformed"),
        (json!({ "sub": "" }), "malformed"),
        (json!({ "sub": 7 }), "malformed"),
        (json!({ "sub": "a\nb" }), "malformed"),
        (json!({ "sub": "x".repeat(129) }), "malformed"),
        (json!({ "iss": null }), "issuer"),
        (json!({ "iss": "desk2" }), "issuer"),
        (json!({ "iss": ["desk"] }), "malformed"),
        (json!({ "aud": null }), "audience"),
        (json!({ "aud": "Gateway" }), "audience"),
        (json!({ "aud": [] }), "audience"),
        (json!({ "aud": ["else", "gateway"] }), "alice"),
        (json!({ "aud": ["else"] }), "audience"),
        (json!({ "aud": { "gateway": 1 } }), "malformed"),
        (json!({ "tier": 5 }), "malformed"),
        (json!({ "symbols": "BTC/USD" }), "malformed"),
        (json!({ "depth_max": -1 }), "malformed"),
        (json!({ "channels": vec!["book"; 257] }), "malformed"),
    ];
    for (changes, expected) in cases {
        let text = hmac_token(r#"{"alg":"HS256"}"#, with(&changes).to_string());
        assert_eq!(outcome(&authority, &text), expected, "{changes}");
    }
    // Twice the same claim: which counts is a guess that nobody should have to make.
    let twice = format!(r#"{{"sub":"alice","exp":1,"exp":{},"iss":"desk","aud":"gateway"}}"#, NOW + 60);
    assert_eq!(outcome(&authority, &hmac_token(r#"{"alg":"HS256"}"#, &twice)), "malformed");
}

#[test]
fn without_rules_an_audience_is_still_somebody_else() {
    let authority = authority(Rules::default(), &[&oct("k", "HS256", SECRET)]);
    let check =
        |changes: Value| outcome(&authority, &hmac_token(r#"{"alg":"HS256"}"#, with(&changes).to_string()));
    assert_eq!(check(json!({ "aud": null, "iss": null })), "alice");
    assert_eq!(check(json!({ "aud": null })), "alice");
    assert_eq!(check(json!({})), "audience");
    assert_eq!(check(json!({ "aud": null, "exp": NOW })), "expired", "no leeway");
}

#[test]
fn the_algorithm_is_that_of_the_key() {
    let random = SystemRandom::new();
    let public = SigningKey::create(Algorithm::EdDsa, "ed", &random).unwrap();
    let keys = [&oct("k", "HS256", SECRET)[..], &public, &oct("long", "HS512", &[7; 64])];
    let authority = authority(rules(), &keys);
    let claims = good().to_string();
    let cases = [
        (r#"{"alg":"HS256","kid":"k"}"#, "alice"),
        (r#"{"alg":"HS256","kid":"k","typ":"JWT","jku":"https://evil","x5u":"https://evil"}"#, "alice"),
        (r#"{"alg":"HS256","typ":"at+JWT"}"#, "alice"),
        (r#"{"alg":"none"}"#, "algorithm"),
        (r#"{"alg":"None"}"#, "algorithm"),
        (r#"{"alg":"nOnE","kid":"k"}"#, "algorithm"),
        (r#"{"alg":"","kid":"k"}"#, "algorithm"),
        (r#"{"alg":"hs256","kid":"k"}"#, "algorithm"),
        (r#"{"alg":"RS256","kid":"k"}"#, "algorithm"),
        (r#"{"alg":"HS384","kid":"k"}"#, "algorithm"),
        (r#"{"alg":"EdDSA","kid":"k"}"#, "algorithm"),
        (r#"{"alg":"HS256","kid":"ed"}"#, "algorithm"),
        (r#"{"alg":"HS256","kid":"long"}"#, "algorithm"),
        (r#"{"alg":"HS512","kid":"long"}"#, "signature"),
        (r#"{"alg":"EdDSA","kid":"ed"}"#, "signature"),
        (r#"{"alg":"HS256","kid":"other"}"#, "unknown_key"),
        (r#"{"alg":"HS256","kid":"K"}"#, "unknown_key"),
        (r#"{"alg":"HS256","kid":"../../dev/null"}"#, "unknown_key"),
        (r#"{"alg":"HS256","kid":7}"#, "malformed"),
        (r#"{"kid":"k"}"#, "malformed"),
        (r#"{"alg":["HS256"]}"#, "malformed"),
        (r#"{"alg":"HS256","alg":"none"}"#, "malformed"),
        (r#"{"alg":"HS256","crit":["exp"]}"#, "malformed"),
        (r#"{"alg":"HS256","b64":false}"#, "malformed"),
        (r#"{"alg":"HS256","typ":"JWE"}"#, "malformed"),
        (r#"["HS256"]"#, "malformed"),
        ("", "malformed"),
    ];
    for (header, expected) in cases {
        assert_eq!(outcome(&authority, &hmac_token(header, &claims)), expected, "{header}");
    }
    // The old trick: the public key as the secret of an HMAC.
    let x: Value = serde_json::from_str(&public).unwrap();
    let secret = URL_SAFE_NO_PAD.decode(x["x"].as_str().unwrap()).unwrap();
    let signed = format!("{}.{}", b64(r#"{"alg":"HS256","kid":"ed"}"#), b64(&claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
    assert_eq!(outcome(&authority, &format!("{signed}.{}", b64(tag))), "algorithm");
}

#[test]
fn what_is_no_token_is_refused() {
    let authority = authority(rules(), &[&oct("k", "HS256", SECRET)]);
    let token = hmac_token(r#"{"alg":"HS256"}"#, good().to_string());
    assert_eq!(outcome(&authority, &token), "alice");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let cases = [
        (String::new(), "missing"),
        ("abc".into(), "unknown_key"),
        (".".into(), "malformed"),
        ("..".into(), "malformed"),
        (signed.into(), "malformed"),
        (format!("{signed}."), "signature"),
        (format!("{signed}.{signature}="), "malformed"),
        (format!("{signed}.{signature}.{signature}"), "malformed"),
        (format!("{token} "), "malformed"),
        (format!("{header}.{claims}A.{signature}"), "signature"),
        (format!("{header}..{signature}"), "signature"),
        (format!("{header}.{}.{signature}", b64(with(&json!({ "sub": "bob" })).to_string())), "signature"),
        ("x".repeat(4_097), "oversized"),
        (hmac_token(r#"{"alg":"HS256"}"#, "\u{feff}{}"), "malformed"),
        (hmac_token(r#"{"alg":"HS256"}"#, "[]"), "malformed"),
        (hmac_token(r#"{"alg":"HS256"}"#, format!(r#"["alice",{}]"#, NOW + 60)), "malformed"),
        (hmac_token(r#"{"alg":"HS256"}"#, "[".repeat(1_500)), "malformed"),
    ];
    for (text, expected) in cases {
        assert_eq!(outcome(&authority, &text), expected, "{text:.60}");
    }
    // What nobody asks for has to be right as well.
    let odd = |more: &[u8]| [b"{\"alg\":\"HS256\",\"x\":", more, b"}"].concat();
    for (more, expected) in [
        (&b"\"y\""[..], "alice"),
        (b"\"\xc0\"", "malformed"),
        (br#""\ud800""#, "malformed"),
        (b"01", "malformed"),
    ] {
        assert_eq!(outcome(&authority, &hmac_token(odd(more), good().to_string())), expected, "{more:?}");
    }
    // As long as allowed, and one byte more.
    let padded = |len: usize| {
        let claims = with(&json!({ "pad": "" })).to_string();
        let header = r#"{"alg":"HS256"}"#;
        let bare = hmac_token(header, &claims).len();
        let pad = "x".repeat((len - bare) * 3 / 4);
        hmac_token(header, with(&json!({ "pad": pad })).to_string())
    };
    let token = padded(4_096);
    assert!((4_094..=4_096).contains(&token.len()), "{}", token.len());
    assert_eq!(outcome(&authority, &token), "alice");
    assert_eq!(outcome(&authority, &padded(4_101)), "oversized");
}

#[test]
fn every_algorithm_signs_what_it_verifies() {
    let random = SystemRandom::new();
    for algorithm in Algorithm::ALL {
        let written = SigningKey::create(algorithm, "dev", &random).unwrap();
        let key = SigningKey::decode(&written, Some("dev"), &random).unwrap();
        let claims = Claims { sub: "bob".into(), exp: NOW + 1, jti: Some("7".into()), ..Claims::default() };
        let token = sign(&claims, &key, &random).unwrap();
        let authority = authority(Rules::default(), &[&written]);
        let credential = Credential::new(&token).unwrap();
        let identity = authority.authenticate(&credential, NOW).unwrap();
        assert_eq!((&*identity.subject, identity.expires_s), ("bob", Some(NOW + 1)));
        assert_eq!(authority.authenticate(&credential, NOW + 1), Err(Refusal::Expired));
        let (header, seen) = inspect(&credential).unwrap();
        assert_eq!((header.kid.as_deref(), &*header.alg, seen), (Some("dev"), algorithm.name(), claims));
        assert_eq!(authority.standing(&identity, NOW), Standing::Holds);
        // Another key of the same name is another key.
        let renewed = SigningKey::create(algorithm, "dev", &random).unwrap();
        let other = self::authority(Rules::default(), &[&renewed]);
        assert_eq!(other.authenticate(&credential, NOW), Err(Refusal::Signature));
        assert_eq!(other.standing(&identity, NOW), Standing::Ended);
    }
}

#[test]
fn keys_that_are_not_right_are_named_and_those_of_others_left_out() {
    let add = |text: &str| KeySet::default().add(text.as_bytes());
    let wrong = |name: &str, problem| Err(KeyError::Key(name.into(), problem));
    assert_eq!(add(&oct("a", "HS256", SECRET)), Ok(0));
    assert_eq!(
        add(&oct("a", "HS256", &SECRET[1..])),
        wrong("a", "the secret is shorter than the hash of its algorithm")
    );
    assert_eq!(
        add(&oct("a", "HS512", SECRET)),
        wrong("a", "the secret is shorter than the hash of its algorithm")
    );
    let without = json!({ "kty": "oct", "k": b64(SECRET) }).to_string();
    assert_eq!(add(&without), wrong("without a name", "an `oct` key needs its `alg`: HS256, HS384 or HS512"));
    let mixed = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "HS256", "kid": "m", "x": b64(SECRET) });
    assert_eq!(add(&mixed.to_string()), wrong("m", "`alg` does not fit `kty` and `crv`"));
    let others = json!({ "keys": [
        { "kty": "RSA", "kid": "r", "alg": "RS256", "n": "AQAB", "e": "AQAB" },
        { "kty": "oct", "alg": "HS256", "use": "enc", "k": b64(SECRET) },
        { "kty": 7 },
        { "kty": "OKP", "crv": "X25519", "x": b64(SECRET) },
        { "kty": "oct", "kid": "good", "alg": "HS256", "k": b64(SECRET) },
    ] });
    assert_eq!(add(&others.to_string()), Ok(4));
    assert_eq!(add(r#"{"keys":[]}"#), Err(KeyError::Empty));
    for text in
        ["", "secret", "{", r#"{"kid":"x"}"#, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
    {
        assert_eq!(add(text), Err(KeyError::NotKeys), "{text}");
    }
    let mut keys = KeySet::default();
    keys.add(oct("a", "HS256", SECRET).as_bytes()).unwrap();
    assert_eq!(keys.add(oct("a", "HS384", &[1; 48]).as_bytes()), Err(KeyError::SameName("a".into())));
    assert!(!format!("{keys:?}").contains(&b64(SECRET)), "{keys:?}");
}

#[test]
fn public_keys_are_taken_as_openssl_writes_them() {
    // RFC 8032 and RFC 7515, as SubjectPublicKeyInfo.
    let ed = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let head = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
    let head: Vec<u8> =
        (0..head.len()).step_by(2).map(|at| u8::from_str_radix(&head[at..at + 2], 16).unwrap()).collect();
    let part = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let (x, y) =
        ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let ec = STANDARD.encode([head, vec![4], part(x), part(y)].concat());
    let pem = |body: &str| format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    let (first, rest) = ec.split_at(64);
    for (body, alg, private) in [
        (
            ed.to_owned(),
            "Ed25519",
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "any",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A" }),
        ),
        (
            format!("{first}\n{rest}"),
            "P-256",
            json!({ "kty": "EC", "crv": "P-256", "kid": "any", "x": x, "y": y,
            "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI" }),
        ),
    ] {
        let random = SystemRandom::new();
        let key = SigningKey::decode(&private.to_string(), None, &random).unwrap();
        let claims = Claims { sub: "bob".into(), exp: NOW + 1, ..Claims::default() };
        let token = sign(&claims, &key, &random).unwrap();
        let authority = authority(Rules::default(), &[&pem(&body)]);
        assert_eq!(outcome(&authority, &token), "bob", "{alg}");
    }
    let mut keys = KeySet::default();
    assert!(matches!(keys.add(pem("MCowBQYDK2VwAyEA").as_bytes()), Err(KeyError::Key(..))));
    assert!(matches!(keys.add(pem("???").as_bytes()), Err(KeyError::Key(..))));
}

fn api_key(subject: &str, secret: &str) -> ApiKeyEntry {
    ApiKeyEntry { subject: subject.into(), sha256: hash_secret(secret).into(), ..ApiKeyEntry::default() }
}

#[test]
fn an_api_key_is_found_by_its_hash_and_follows_its_entry() {
    let secret = secret_text(&[9; 32]);
    assert!(secret.starts_with("mdk_") && secret.len() == 47, "{secret}");
    let mut authority = Authority::default();
    let with_keys = |entries| Arc::new(ApiKeys::new(entries).unwrap());
    authority.api_keys = with_keys(vec![api_key("robot", &secret), api_key("other", "mdk_x")]);
    assert_eq!(outcome(&authority, &secret), "robot");
    assert_eq!(outcome(&authority, &secret[..46]), "unknown_key");
    assert_eq!(outcome(&authority, &hash_secret(&secret)), "unknown_key", "the hash is not the key");
    let identity = authority.authenticate(&Credential::new(&secret).unwrap(), NOW).unwrap();
    assert!(matches!(identity.proof, Proof::ApiKey(_)));
    assert_eq!(authority.standing(&identity, NOW), Standing::Holds);
    let changed = ApiKeyEntry { tier: Some("gold".into()), ..api_key("robot", &secret) };
    authority.api_keys = with_keys(vec![changed.clone()]);
    let Standing::Changed(now) = authority.standing(&identity, NOW) else { panic!("a new tier is a change") };
    assert_eq!(now.tier.as_deref(), Some("gold"));
    authority.api_keys = with_keys(vec![ApiKeyEntry { expires: Some(NOW), ..changed }]);
    assert_eq!(outcome(&authority, &secret), "expired");
    assert_eq!(authority.standing(&now, NOW), Standing::Ended);
    authority.api_keys = with_keys(Vec::new());
    assert_eq!(authority.standing(&identity, NOW), Standing::Ended);
}

#[test]
fn api_keys_that_are_not_right_are_all_named() {
    let good = api_key("robot", "mdk_1");
    let problems = ApiKeys::new(vec![
        good.clone(),
        ApiKeyEntry { subject: "twin".into(), ..good.clone() },
        ApiKeyEntry { subject: "short".into(), sha256: "abc".into(), ..ApiKeyEntry::default() },
        ApiKeyEntry { subject: "odd".into(), sha256: "g".repeat(64).into(), ..ApiKeyEntry::default() },
        ApiKeyEntry { subject: "".into(), ..good },
    ])
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "twin: another key has the same sha256",
            "short: sha256 must have 64 hexadecimal digits",
            "odd: sha256 must have 64 hexadecimal digits",
            "a subject must have from 1 to 128 characters",
        ]
    );
}

#[test]
fn subjects_and_tokens_are_revoked_by_their_names() {
    let mut authority = authority(Rules::default(), &[&oct("k", "HS256", SECRET)]);
    let token = |sub: &str, jti: &str| {
        let claims = json!({ "sub": sub, "exp": NOW + 60, "jti": jti }).to_string();
        hmac_token(r#"{"alg":"HS256"}"#, &claims)
    };
    let identity =
        |authority: &Authority, text: &str| authority.authenticate(&Credential::new(text).unwrap(), NOW);
    let (one, two) = (token("alice", "1"), token("alice", "2"));
    let before = [identity(&authority, &one).unwrap(), identity(&authority, &two).unwrap()];
    authority.revocations = Revocations::parse("# lost laptop\n\ntoken 1\n subject  mallory \n").unwrap();
    assert_eq!(authority.revocations.len(), 2);
    assert_eq!(identity(&authority, &one), Err(Refusal::Revoked));
    assert!(identity(&authority, &two).is_ok());
    let standing = before.each_ref().map(|one| authority.standing(one, NOW));
    assert_eq!(standing, [Standing::Ended, Standing::Holds]);
    authority.revocations.add_subject("alice").unwrap();
    assert_eq!(identity(&authority, &two), Err(Refusal::Revoked));
    assert_eq!(outcome(&authority, &token("Alice", "3")), "Alice", "names are compared as they are");
    for (text, line) in [("subject", 1), ("\nsubject \n", 2), ("# x\nuser bob\n", 2), ("token a\u{7}b", 1)] {
        let expected = format!("line {line}: expected `subject NAME` or `token ID`");
        assert_eq!(Revocations::parse(text).unwrap_err().to_string(), expected, "{text:?}");
    }
}
