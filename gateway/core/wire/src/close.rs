//! The one table of close codes: what we say when we end a connection.
//!
//! Feeds the close frames, the labels of the close metric and the protocol document ([`markdown_table`]).
//! Never decides to close: that is for whoever found the reason.

use std::fmt;

/// Why a connection was closed by us.
///
/// Of our own codes, 4000-4499 ask the client to come back and 4500-4999 ask it not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// The client asked to close.
    Normal,
    /// The gateway stops.
    GoingAway,
    /// A frame broke RFC 6455.
    ProtocolError,
    /// A kind of data that is not taken here.
    Unsupported,
    /// Text that is not UTF-8.
    InvalidPayload,
    /// Flood, or too many fragments, requests or subscriptions.
    PolicyViolation,
    /// A message above the size limit.
    TooBig,
    /// The gateway restarts.
    ServiceRestart,
    /// No room for this connection now.
    TryAgainLater,
    /// A subscription with policy `disconnect` passed its lag limit, or nothing was read for too long.
    SlowConsumer,
    /// A plain client fell further behind than updates are kept, and may not get a second snapshot.
    OutOfReach,
    /// No credentials, or ones that are not known.
    NotAuthenticated,
    /// The grant does not cover the connection.
    NotEntitled,
    /// The token's time is over.
    TokenExpired,
}

/// What the table says of one code.
struct Row {
    /// Status code in the close frame.
    code: u16,
    /// Metric label.
    name: &'static str,
    /// Text in the close frame; at most [`crate::ws::CLOSE_REASON_MAX`] bytes.
    reason: &'static str,
    /// Whether the same client should connect again.
    reconnect: bool,
}

impl CloseCode {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 14] = [
        Self::Normal,
        Self::GoingAway,
        Self::ProtocolError,
        Self::Unsupported,
        Self::InvalidPayload,
        Self::PolicyViolation,
        Self::TooBig,
        Self::ServiceRestart,
        Self::TryAgainLater,
        Self::SlowConsumer,
        Self::OutOfReach,
        Self::NotAuthenticated,
        Self::NotEntitled,
        Self::TokenExpired,
    ];

    const fn row(self) -> Row {
        const fn row(code: u16, name: &'static str, reason: &'static str, reconnect: bool) -> Row {
            Row { code, name, reason, reconnect }
        }
        match self {
            Self::Normal => row(1000, "normal", "closed as asked", false),
            Self::GoingAway => row(1001, "going_away", "gateway is going away", true),
            Self::ProtocolError => row(1002, "protocol_error", "websocket protocol error", false),
            Self::Unsupported => row(1003, "unsupported", "kind of data not supported", false),
            Self::InvalidPayload => row(1007, "invalid_payload", "text is not utf-8", false),
            Self::PolicyViolation => row(1008, "policy_violation", "limit exceeded", false),
            Self::TooBig => row(1009, "too_big", "message too big", false),
            Self::ServiceRestart => row(1012, "service_restart", "gateway restarts", true),
            Self::TryAgainLater => row(1013, "try_again_later", "gateway is full, try again later", true),
            Self::SlowConsumer => row(4008, "slow_consumer", "client reads too slowly", true),
            Self::OutOfReach => row(4009, "out_of_reach", "too far behind to be caught up", true),
            Self::NotAuthenticated => {
                row(4401, "not_authenticated", "not authenticated, come back with a token", true)
            }
            Self::NotEntitled => row(4403, "not_entitled", "grant does not cover this connection", true),
            Self::TokenExpired => row(4410, "token_expired", "token expired, come back with a new one", true),
        }
    }

    /// The status code in the close frame.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.row().code
    }

    /// The metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The text in the close frame, where there is nothing more precise to say.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.row().reason
    }

    /// Whether the same client should connect again.
    #[must_use]
    pub const fn reconnect(self) -> bool {
        self.row().reconnect
    }

    /// The entry of a status code.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.code() == code)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.name())
    }
}

/// The table as Markdown, as it stands in the protocol document.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = String::from("| code | name | reason | reconnect |\n|---|---|---|---|\n");
    for one in CloseCode::ALL {
        let Row { code, name, reason, reconnect } = one.row();
        let reconnect = if reconnect { "yes" } else { "no" };
        table.push_str(&format!("| {code} | `{name}` | {reason} | {reconnect} |\n"));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_and_names_are_snake_case() {
        assert!(CloseCode::ALL.is_sorted_by(|a, b| a.code() < b.code() && a < b));
        for one in CloseCode::ALL {
            assert!(one.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{one}");
            assert_eq!(CloseCode::from_code(one.code()), Some(one));
        }
        assert_eq!(CloseCode::from_code(1006), None);
    }

    #[test]
    fn own_codes_below_4500_come_back_and_the_others_do_not() {
        for one in CloseCode::ALL.into_iter().filter(|one| one.code() >= 4000) {
            assert_eq!(one.reconnect(), one.code() < 4500, "{one}");
        }
    }

    #[test]
    fn every_reason_fits_a_close_frame() {
        for one in CloseCode::ALL {
            assert!(one.reason().len() <= crate::ws::CLOSE_REASON_MAX, "{one}");
            assert!(crate::ws::close_code_is_valid(one.code()), "{one}");
        }
    }

    #[test]
    fn the_table_has_a_line_for_every_code() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), 2 + CloseCode::ALL.len());
        assert!(table.contains("| 4008 | `slow_consumer` | client reads too slowly | yes |\n"), "{table}");
    }
}
