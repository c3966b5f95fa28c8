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
    /// The head of its request did not come in time.
    HeadLate,
    /// The head of its request is too long, or has too many headers.
    HeadTooBig,
    /// It stayed too long without an upgrade.
    HttpLate,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 14] = [
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
        Self::HeadLate,
        Self::HeadTooBig,
        Self::HttpLate,
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
            Self::HeadLate => "head_late",
            Self::HeadTooBig => "head_too_big",
            Self::HttpLate => "http_late",
        }
    }
}

/// Counts by reason, and how often connections were let wait instead.
#[derive(Debug, Default)]
pub struct Refusals {
    reasons: [AtomicU64; Reason::ALL.len()],
    waits: AtomicU64,
}

impl Refusals {
    pub(super) fn count(&self, reason: Reason) {
        // Relaxed: a bare count.
        self.reasons[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that connections were left in the kernel's queue for a moment.
    pub(super) fn count_wait(&self) {
        // Relaxed: a bare count.
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    /// The counts of this moment, in the order of [`Reason::ALL`].
    #[must_use]
    pub fn counts(&self) -> [u64; Reason::ALL.len()] {
        self.reasons.each_ref().map(|count| count.load(Ordering::Relaxed))
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
