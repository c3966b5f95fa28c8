//! The token of the admin listener: one shared text, compared in a time that says nothing about it.

use std::fs;

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use ring::hmac;
use ring::rand::SystemRandom;

/// Shortest token.
const CHARS_MIN: usize = 16;

/// Knows a token without keeping it.
pub struct Guard {
    key: hmac::Key,
    /// Of the right token, under a key that nobody else has: comparing tags tells nothing about where texts differ.
    tag: hmac::Tag,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Guard")
    }
}

impl Guard {
    /// Reads the token from a file; `None` when no file is named.
    ///
    /// # Errors
    /// When there is no token in it.
    pub fn load(path: &str) -> Result<Option<Self>, String> {
        if path.is_empty() {
            return Ok(None);
        }
        let problem = |what: String| format!("admin.token_file: {path}: {what}");
        let text = fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
        let token = text.trim();
        if token.len() < CHARS_MIN || token.contains(char::is_whitespace) {
            return Err(problem(format!("expected a token of at least {CHARS_MIN} characters in one line")));
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| problem("the system gives no random numbers".into()))?;
        let tag = hmac::sign(&key, token.as_bytes());
        Ok(Some(Self { key, tag }))
    }

    /// Whether a request carries the token.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap) -> bool {
        const SCHEME: &[u8] = b"bearer ";
        let Some(value) = headers.get(AUTHORIZATION).map(|value| value.as_bytes()) else { return false };
        let Some((scheme, token)) = value.split_at_checked(SCHEME.len()) else { return false };
        scheme.eq_ignore_ascii_case(SCHEME)
            && hmac::verify(&self.key, token.trim_ascii(), self.tag.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn guard(text: &str) -> Result<Option<Guard>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Guard::load(&file.path().display().to_string())
    }

    #[test]
    fn only_the_whole_token_is_admitted() {
        let guard = guard("0123456789abcdef\n").unwrap().unwrap();
        let admits = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            guard.admits(&headers)
        };
        assert!(admits("Bearer 0123456789abcdef") && admits("bearer  0123456789abcdef"));
        for wrong in
            ["", "Bearer", "Bearer ", "0123456789abcdef", "Bearer 0123456789abcde", "Basic 0123456789abcdef"]
        {
            assert!(!admits(wrong), "{wrong}");
        }
        assert!(!guard.admits(&HeaderMap::new()));
    }

    #[test]
    fn a_file_without_a_token_is_a_problem() {
        assert!(Guard::load("").unwrap().is_none());
        for text in ["", "short", "0123456789abcdef 0123456789abcdef"] {
            assert!(guard(text).unwrap_err().contains("at least 16 characters"), "{text}");
        }
        assert!(Guard::load("/no/such/file").unwrap_err().starts_with("admin.token_file: /no/such/file: "));
    }
}
