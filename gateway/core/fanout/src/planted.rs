//! Bugs planted on purpose, to show that the simulator finds them.
//!
//! Each is a mistake that somebody could make, one line at the place where it would be made. Without the feature `planted` the
//! question whether one is in force is the constant `false`, so nothing of them is left in the product. Never used outside
//! tests; `gateway/core/sim/tests/planted.rs` plants them one after the other.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A client that waits for its write is not given the next entry.
    EntryDropped,
    /// After a partial write the cursor stays before the frames that were sent.
    EntryRepeated,
    /// The rest of a partly sent frame is forgotten.
    RestForgotten,
    /// A merged message carries the checksum of an older entry.
    ChecksumStale,
    /// What is kept of a checksum does not know that the asks are others.
    ChecksumKept,
    /// What fell out of the ring is not told.
    GapUntold,
    /// The cursor of a client that begins to lag is one too far.
    CursorOffByOne,
    /// A client that comes back is found by its sequence alone.
    EpochIgnoredOnResume,
    /// Of the trades that a lagging client lacks only the newest is sent.
    TradesMerged,
    /// A level that left the window and was not removed stays in a merged message's reader.
    LevelLeaked,
    /// The drops of a resync are one short.
    DropMiscounted,
    /// Entries that fell out of the ring count as written.
    GapCountedAsWritten,
    /// A merged message follows the stream's last entry but one, not what its reader was sent.
    PrevOfStream,
    /// A paused subscription is brought on all the same.
    PauseIgnored,
    /// What falls out of a ring is not kept for later merges.
    OlderForgotten,
    /// What is kept for later merges is kept for the nearest laggard alone.
    OlderForNearest,
    /// A merged message does not say that the epoch changed.
    EpochUntold,
    /// Entries are not counted for subscriptions that are held.
    HeldUncounted,
    /// A plain client out of reach gets a second snapshot instead of being closed.
    SnapshotRepeated,
    /// A resync acknowledges the subscription again.
    AcknowledgedTwice,
    /// A merged message is shared although an entry was added since.
    MergeOutdated,
    /// What a lagging subscription lacked is not counted when it ends.
    DiscardUncounted,
    /// What a client that comes back missed is not counted.
    ResumeUncounted,
    /// A client that lags is queued frames, as other servers do.
    LagQueued,
    /// An entry names the instrument's last event as the one before it, not the stream's.
    PrevOfInstrument,
    /// The `disconnect` policy closes at the first entry of lag.
    DisconnectHasty,
    /// A place in the future is believed: the client is told that it missed nothing.
    FutureBelieved,
    /// A notice is sent without the message that it speaks of.
    NoticeAlone,
    /// A grant that shrinks ends nothing.
    RevocationIgnored,
    /// A subscription that was revoked ends without a word.
    RevocationUntold,
    /// What was on its way to the socket when its subscription was revoked is sent all the same.
    RevokedSent,
    /// A grant whose time is over goes on.
    GrantEndIgnored,
    /// A connection whose grant has ended is closed without having been told why.
    GrantEndUntold,
}

impl Bug {
    /// Those of grants, which not every world has.
    pub const OF_GRANTS: [Self; 5] = [
        Self::RevocationIgnored,
        Self::RevocationUntold,
        Self::RevokedSent,
        Self::GrantEndIgnored,
        Self::GrantEndUntold,
    ];

    /// All others.
    pub const ALL: [Self; 28] = [
        Self::EntryDropped,
        Self::EntryRepeated,
        Self::RestForgotten,
        Self::ChecksumStale,
        Self::ChecksumKept,
        Self::GapUntold,
        Self::CursorOffByOne,
        Self::EpochIgnoredOnResume,
        Self::TradesMerged,
        Self::LevelLeaked,
        Self::DropMiscounted,
        Self::GapCountedAsWritten,
        Self::PrevOfStream,
        Self::PauseIgnored,
        Self::OlderForgotten,
        Self::OlderForNearest,
        Self::EpochUntold,
        Self::HeldUncounted,
        Self::SnapshotRepeated,
        Self::AcknowledgedTwice,
        Self::MergeOutdated,
        Self::DiscardUncounted,
        Self::ResumeUncounted,
        Self::LagQueued,
        Self::PrevOfInstrument,
        Self::DisconnectHasty,
        Self::FutureBelieved,
        Self::NoticeAlone,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        format!("{self:?}")
    }
}

#[cfg(feature = "planted")]
mod in_force {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        // Of a thread, so that tests run side by side.
        static IN_FORCE: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Puts a bug in force on this thread, or none.
    pub fn plant(bug: Option<Bug>) {
        IN_FORCE.set(bug);
    }

    /// Whether a bug is in force.
    #[must_use]
    pub fn is(bug: Bug) -> bool {
        IN_FORCE.get() == Some(bug)
    }
}

#[cfg(feature = "planted")]
pub use in_force::{is, plant};

/// Whether a bug is in force: never.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
