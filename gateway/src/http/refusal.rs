//! Why connections are refused, and how often each was the reason.
//!
//! The labels of one metric: a closed set. Who refuses counts here; the scrape reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection or its upgrade was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There are as many clients as may be.
    Full,
    /// The request is no upgrade of RFC 6455.
    Malformed,
    /// A page of somebody else's asked.
    Origin,
    /// The address has as many clients as it may have.
    AddressFull,
    /// The address comes too often.
    AddressRate,
    /// The address has as many connections that are not upgraded as it may have.
    AddressHandshakes,
    /// The slowest of too many connections that are not upgraded.
    Handshakes,
    /// There was no descriptor for it.
    Descriptors,
    /// Memory is short.
    Memory,
    /// A TLS handshake failed or took too long.
    Tls,
    /// It presented nothing, or something that is not accepted.
    NotAuthenticated,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Full,
        Self::Malformed,
        Self::Origin,
        Self::AddressFull,
        Self::AddressRate,
        Self::AddressHandshakes,
        Self::Handshakes,
        Self::Descriptors,
        Self::Memory,
        Self::Tls,
        Self::NotAuthenticated,
    ];

    /// The metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Malformed => "malformed",
            Self::Origin => "origin",
            Self::AddressFull => "address_full",
            Self::AddressRate => "address_rate",
            Self::AddressHandshakes => "address_handshakes",
            Self::Handshakes => "handshakes",
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
            Self::Tls => "tls",
            Self::NotAuthenticated => "not_authenticated",
        }
    }
}

/// Counts by reason.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Reason::ALL.len()]);

impl Refusals {
    pub(super) fn count(&self, reason: Reason) {
        // Relaxed: a bare count.
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of this moment, in the order of [`Reason::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; Reason::ALL.len()] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_their_order() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
