//! Which web pages may connect: a browser says of which origin the page is that asks.
//!
//! Decides by the header alone and the list of the settings, which is compared exactly. Programs that are no browsers send no
//! origin and are not asked for one.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether a page of this origin may connect to a gateway that was addressed as `host`.
///
/// The gateway's own page may, but only where the host is an address or `localhost`: a name could be made to point at this gateway
/// by whoever owns the name, so a name has to be on the list.
pub(super) fn is_allowed(origin: &str, host: &str, is_tls: bool, listed: &[String]) -> bool {
    let scheme = if is_tls { "https://" } else { "http://" };
    let is_own = origin.strip_prefix(scheme) == Some(host) && is_literal(host);
    is_own || listed.iter().any(|one| one == origin)
}

/// Whether a `Host` needs no name server: an address or `localhost`, with or without a port.
fn is_literal(host: &str) -> bool {
    if let Some((address, port)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address.parse::<Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    port.is_none_or(is_port) && (name == "localhost" || name.parse::<Ipv4Addr>().is_ok())
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// What is wrong with an entry of the list, which must be written as browsers write it; none when nothing is.
pub(crate) fn problem(origin: &str) -> Option<&'static str> {
    let Some((scheme, host)) = origin.split_once("://") else {
        return Some("an origin is SCHEME://HOST or SCHEME://HOST:PORT");
    };
    if !["http", "https"].contains(&scheme) {
        return Some("its scheme must be http or https");
    }
    if host.is_empty() || host.contains(['/', '?', '#', '@', '*', ' ']) {
        return Some("it ends behind the host or port, and has no wildcards");
    }
    if origin.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii_graphic()) {
        return Some("it is written in lower-case ASCII, as browsers send it");
    }
    let default_port = if scheme == "http" { ":80" } else { ":443" };
    host.ends_with(default_port).then_some("browsers leave the default port out")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_pages_and_the_own_one_at_an_address_may_connect() {
        let listed = ["https://trade.example".to_owned(), "https://trade.example:8443".to_owned()];
        let allowed = |origin: &str, host: &str| is_allowed(origin, host, false, &listed);
        for (origin, host) in [
            ("https://trade.example", "gateway.example"),
            ("https://trade.example:8443", "gateway.example"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://localhost:8080", "localhost:8080"),
            ("http://10.1.2.3", "10.1.2.3"),
        ] {
            assert!(allowed(origin, host), "{origin} at {host}");
        }
        for (origin, host) in [
            ("null", "127.0.0.1:8080"),
            ("", "127.0.0.1:8080"),
            ("http://trade.example", "gateway.example"),
            ("https://trade.example:444", "gateway.example"),
            ("https://trade.example/", "gateway.example"),
            ("https://trade.example.evil", "gateway.example"),
            ("https://evil-trade.example", "gateway.example"),
            ("https://TRADE.example", "gateway.example"),
            ("https://user@trade.example", "gateway.example"),
            ("http://127.0.0.1:8081", "127.0.0.1:8080"),
            ("https://127.0.0.1:8080", "127.0.0.1:8080"),
            // Somebody's own name that was made to point here.
            ("http://evil.example:8080", "evil.example:8080"),
            ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example"),
            ("http://localhost.evil", "localhost.evil"),
            ("http://localhost:x", "localhost:x"),
            ("http://[::1]x", "[::1]x"),
            ("http://", ""),
        ] {
            assert!(!allowed(origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn the_own_page_over_tls_has_another_scheme() {
        assert!(is_allowed("https://127.0.0.1:8443", "127.0.0.1:8443", true, &[]));
        assert!(!is_allowed("http://127.0.0.1:8443", "127.0.0.1:8443", true, &[]));
    }

    #[test]
    fn entries_are_written_as_browsers_write_them() {
        for good in ["https://trade.example", "http://localhost:3000", "https://[2001:db8::1]:8443"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in [
            "trade.example",
            "null",
            "*",
            "ftp://a",
            "https://",
            "https://*.example",
            "https://a/",
            "https://a/b",
            "https://A.example",
            "https://ä.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://user@a.example",
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
