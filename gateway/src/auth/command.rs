//! `gateway mint-token` and `gateway check-token`: credentials for development, and what a gateway would say to one.
//!
//! Secrets go to standard output or into a file that only its owner may read, everything else to standard error.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ::auth::{
    Algorithm, ApiKeyEntry, Claims, Credential, SigningKey, hash_secret, inspect, secret_text, sign,
};
use feed_sim::parse_span;
use model::Nanos;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::{Auth, coverage};
use crate::clock::Clock;
use crate::config::Config;

const MINT_EXAMPLES: &str = "\
Examples:
  A key and a token for an hour; the gateway verifies with the same file:
    gateway mint-token --key dev.jwk --create EdDSA --subject alice > token
    GATEWAY_AUTH_KEYS=dev.jwk gateway

  A token that may see little:
    gateway mint-token --key dev.jwk --subject bob --symbols 'BTC/*,*/EUR' --channels book,trade --depth-max 100

  An API key; the entry for the file of auth.api_keys goes to standard error:
    gateway mint-token --api-key --subject robot --tier gold > key 2>> api-keys.toml

  Use it:
    curl -H \"Authorization: Bearer $(cat token)\" 'http://127.0.0.1:8080/0/public/Depth?pair=BTC/USD'";

/// Make a token or an API key, for development
///
/// Tokens are JSON Web Tokens (RFC 7519), signed by a key in a JSON file (RFC 7517). In production whoever knows your users signs
/// them, and the gateway gets public keys only. Issuer and audience are those of the settings unless you say otherwise.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MINT_EXAMPLES, after_help = "--help shows more, and examples.")]
pub struct MintArgs {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "GATEWAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Who it is for
    #[arg(long, value_name = "NAME")]
    subject: String,
    /// JSON key or key set with a private part, to sign with
    #[arg(long, value_name = "FILE", required_unless_present = "api_key", conflicts_with = "api_key")]
    key: Option<PathBuf>,
    /// Make the key if the file does not exist: HS256, HS384, HS512, EdDSA or ES256
    #[arg(long, value_name = "ALGORITHM", requires = "key", value_parser = parse_algorithm)]
    create: Option<Algorithm>,
    /// Which key of the set [default: the first that can sign]
    #[arg(long, value_name = "NAME", requires = "key")]
    kid: Option<String>,
    /// Make an API key instead of a token
    #[arg(long)]
    api_key: bool,
    /// How long it is good, such as 90s, 15m or 12h [default: 1h; of an API key, until it is taken out]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    expires_in: Option<Nanos>,
    /// From when on it is good
    #[arg(long, value_name = "SPAN", value_parser = parse_span, conflicts_with = "api_key")]
    not_before_in: Option<Nanos>,
    /// Tier of the settings [default: auth.tier]
    #[arg(long, value_name = "NAME")]
    tier: Option<String>,
    /// Symbols, less than the tier's: *, BTC/*, */USD, BTC/USD
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',')]
    symbols: Option<Vec<Box<str>>>,
    /// Channels, less than the tier's
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    channels: Option<Vec<Box<str>>>,
    /// Deepest book, if less than the tier's
    #[arg(long, value_name = "LEVELS")]
    depth_max: Option<u16>,
    /// Its own name, by which it can be revoked
    #[arg(long, value_name = "ID", conflicts_with = "api_key")]
    id: Option<String>,
    /// Who makes it [default: auth.issuer]
    #[arg(long, value_name = "NAME", conflicts_with = "api_key")]
    issuer: Option<String>,
    /// For whom it is made [default: auth.audience]
    #[arg(long, value_name = "NAME", conflicts_with = "api_key")]
    audience: Option<String>,
}

/// Say what a token is, and whether a gateway with these settings would accept it now
///
/// Reads the token, or an API key, from a file or from standard input, never from the command line, where others could see it. Exit
/// code 0 means accepted, 1 refused.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// TOML file with settings
    #[arg(long, value_name = "FILE", env = "GATEWAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// File with the token; `-` is standard input
    #[arg(value_name = "FILE", default_value = "-")]
    token: PathBuf,
}

fn parse_algorithm(name: &str) -> Result<Algorithm, String> {
    let names = Algorithm::ALL.map(Algorithm::name).join(", ");
    Algorithm::from_name(name).ok_or_else(|| format!("expected one of {names}"))
}

fn finish(outcome: Result<String, String>) -> ExitCode {
    match outcome {
        Ok(text) => {
            // A reader that has gone away does not need it.
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            let _ = writeln!(io::stderr(), "error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `gateway mint-token`.
#[must_use]
pub fn mint(args: &MintArgs, config: &Config) -> ExitCode {
    let narrowing = ::auth::Narrowing {
        symbols: args.symbols.clone(),
        channels: args.channels.clone(),
        depth_max: args.depth_max,
    };
    let is_sound = coverage(&narrowing).map(drop);
    finish(is_sound.and_then(|()| if args.api_key { mint_api_key(args) } else { mint_token(args, config) }))
}

fn now_s() -> u64 {
    Clock::default().wall().0 / Nanos::SECOND.0
}

const fn seconds(span: Nanos) -> u64 {
    span.0 / Nanos::SECOND.0
}

fn mint_token(args: &MintArgs, config: &Config) -> Result<String, String> {
    let random = SystemRandom::new();
    let path = args.key.as_deref().ok_or("--key is missing")?;
    if let Some(algorithm) = args.create
        && !path.exists()
    {
        create(path, algorithm, args.kid.as_deref().unwrap_or("dev"), &random)?;
    }
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| told(&error))?;
    let key = SigningKey::decode(&text, args.kid.as_deref(), &random).map_err(|error| told(&error))?;
    let now = now_s();
    let named = |given: &Option<String>, default: &str| {
        let text = given.as_deref().unwrap_or(default);
        (!text.is_empty()).then(|| Box::from(text))
    };
    let claims = Claims {
        sub: args.subject.as_str().into(),
        exp: now + args.expires_in.map_or(3_600, seconds),
        nbf: args.not_before_in.map(|span| now + seconds(span)),
        iat: Some(now),
        iss: named(&args.issuer, &config.auth.issuer),
        aud: named(&args.audience, &config.auth.audience).map(::auth::Audience::One),
        jti: named(&args.id, ""),
        tier: named(&args.tier, ""),
        symbols: args.symbols.clone(),
        channels: args.channels.clone(),
        depth_max: args.depth_max,
    };
    sign(&claims, &key, &random).map_err(|error| told(&error))
}

/// Writes a new key into a file that only its owner may read.
fn create(path: &Path, algorithm: Algorithm, kid: &str, random: &SystemRandom) -> Result<(), String> {
    let key = SigningKey::create(algorithm, kid, random).map_err(|error| error.to_string())?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{key}"));
    written.map_err(|error| format!("{}: {error}", path.display()))?;
    let _ = writeln!(io::stderr(), "made {} with a key for {}", path.display(), algorithm.name());
    Ok(())
}

fn mint_api_key(args: &MintArgs) -> Result<String, String> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the system gives no random numbers")?;
    let secret = secret_text(&bytes);
    let entry = ApiKeyEntry {
        subject: args.subject.as_str().into(),
        sha256: hash_secret(&secret).into(),
        tier: args.tier.as_deref().map(Box::from),
        expires: args.expires_in.map(|span| now_s() + seconds(span)),
        symbols: args.symbols.clone(),
        channels: args.channels.clone(),
        depth_max: args.depth_max,
    };
    let entry = toml::to_string(&entry).map_err(|error| error.to_string())?;
    let _ = write!(io::stderr(), "[[key]]\n{entry}");
    Ok(secret)
}

/// Runs `gateway check-token`.
#[must_use]
pub fn check(args: &CheckArgs, config: &Config) -> ExitCode {
    let text = if args.token == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(&args.token)
    };
    let text = text.map_err(|error| format!("{}: {error}", args.token.display()));
    finish(text.and_then(|text| judge(text.trim(), config)))
}

/// Shows what a token says, and says what a gateway would answer.
fn judge(text: &str, config: &Config) -> Result<String, String> {
    let credential = Credential::new(text).map_err(|refusal| format!("refused: {refusal}"))?;
    if let Ok((header, claims)) = inspect(&credential) {
        let shown = json!({ "alg": header.alg, "kid": header.kid, "claims": claims });
        let _ = writeln!(io::stderr(), "{shown:#}");
    }
    let (auth, _) = Auth::new(config, Clock::default()).map_err(|problems| problems.join("\n"))?;
    auth.judge(&credential).map_err(|refusal| format!("refused: {refusal}"))
}

impl Auth {
    /// What would become of a credential, in words.
    fn judge(&self, credential: &Credential) -> Result<String, ::auth::Refusal> {
        let (grant, seat) = self.seat(credential, None)?;
        let tier = &self.tiers[usize::from(grant.tier)].bounds.name;
        let left = grant.expires.map(|expires| seconds(expires.since(self.clock.wall())));
        let until = left.map_or_else(String::new, |left| format!(", for another {left} s"));
        Ok(format!("accepted: {} in tier {tier}{until}", seat.subject()))
    }
}
