//! Why connections are refused, and how often each was the reason.
//!
//! The labels of one metric: a closed set. Who refuses counts here; the scrape reads.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a connection or its upgrade was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There are as many connections as may be.
    Full,
    /// The request is no upgrade of RFC 6455.
    Malformed,
    /// A page of somebody else's asked.
    Origin,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Full, Self::Malformed, Self::Origin];

    /// The metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Malformed => "malformed",
            Self::Origin => "origin",
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
