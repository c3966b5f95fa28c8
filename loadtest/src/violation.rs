//! What the server can do wrong, and the record of it.
//!
//! Owns the closed list of violation kinds, their counts and their first descriptions.
//! Never decides whether something is wrong: [`crate::verify`] and [`crate::client`] do.
//! Records leave through [`crate::report`].

use crate::time::Micros;
use serde::Serialize;

/// Descriptions kept of each kind by each thread, and printed in all.
pub(crate) const EXAMPLES_MAX: usize = 10;
/// Bytes of a frame or a reason that a description quotes.
const QUOTE_BYTES_MAX: usize = 300;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What was wrong. The names are the keys of the report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind, in the order of the report.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its name in the report.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }
        }
    };
}

kinds! {
    /// No connection, or no WebSocket handshake.
    ConnectFailed = "connect_failed",
    /// The connection ended before we ended it.
    Closed = "closed",
    /// No message for longer than the limit.
    Silent = "silent",
    /// Not JSON, or not a message of the protocol.
    Unparseable = "unparseable",
    /// A message of the protocol that this client cannot get: not subscribed, not asked for, not text.
    UnexpectedMessage = "unexpected_message",
    /// A notice to a client that has not opted in.
    UnrequestedNotice = "unrequested_notice",
    /// A protocol ping to a subscribed client that has not opted in.
    PingFrame = "ping_frame",
    /// No answer to the subscription in time.
    AckMissing = "ack_missing",
    /// An acknowledgement with another `req_id`, channel or symbol, or a second one.
    AckWrong = "ack_wrong",
    /// The subscription was refused.
    SubscribeRefused = "subscribe_refused",
    /// A snapshot before the acknowledgement.
    SnapshotBeforeAck = "snapshot_before_ack",
    /// An update before the acknowledgement.
    UpdateBeforeAck = "update_before_ack",
    /// An update before the snapshot that was asked for.
    UpdateBeforeSnapshot = "update_before_snapshot",
    /// No book snapshot in time.
    SnapshotMissing = "snapshot_missing",
    /// A second snapshot to a client that has not opted in.
    SnapshotRepeated = "snapshot_repeated",
    /// The server's checksum is not that of the levels it sent.
    Checksum = "checksum",
    /// The best bid is not below the best ask.
    Crossed = "crossed",
    /// A level outside the subscribed depth.
    LevelLeak = "level_leak",
    /// Removals after other levels, or a snapshot whose side is not sorted best first.
    LevelOrder = "level_order",
    /// `prev` is not the last `seq` received.
    PrevBroken = "prev_broken",
    /// `seq` does not increase within its epoch.
    SeqOrder = "seq_order",
    /// `trade_id` is not the next one.
    TradeId = "trade_id",
    /// Trades are missing that no notice told of, to a client that opted in.
    LossUntold = "loss_untold",
    /// A notice whose range or count is not what happened.
    NoticeWrong = "notice_wrong",
    /// Data of a subscription that is paused.
    WhilePaused = "while_paused",
    /// Not everything that was promised to a client that came back.
    ResumeBroken = "resume_broken",
    /// More updates than the interval allows.
    TooOften = "too_often",
    /// More bytes than the bandwidth allows.
    TooFast = "too_fast",
    /// Two clients have different books of one symbol at one sequence.
    BookDiffers = "book_differs",
    /// A book or a trade that is not what the feed told at that place.
    Untrue = "untrue",
    /// A client that stands elsewhere than the feed, although nothing more comes.
    Behind = "behind",
    /// A fault that clients have not recovered from in its time.
    RecoveryLate = "recovery_late",
    /// A server of a fault run that did not do what it must: start, shed, log, or end as asked.
    Misbehaved = "misbehaved",
    /// The gateway's counts do not add up, or are not what clients received.
    Conservation = "conservation",
}

/// One violation in full.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    /// Name of the kind.
    pub(crate) kind: &'static str,
    /// Number of the client, from 0; none when it is about the gateway's own counts.
    pub(crate) client: Option<u32>,
    /// Symbol concerned; empty when it is the connection.
    pub(crate) symbol: String,
    /// What the protocol asks for.
    pub(crate) expected: String,
    /// What came.
    pub(crate) got: String,
    /// When, in microseconds since 1970.
    pub(crate) at_us: Micros,
}

/// Counts per kind and the first descriptions of each.
pub(crate) struct Violations {
    counts: Vec<u64>,
    /// At most [`EXAMPLES_MAX`] of each kind.
    examples: Vec<Violation>,
}

impl Violations {
    /// No violations yet.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; Kind::ALL.len()], examples: Vec::new() }
    }

    /// Counts one, and describes it if it is among the first of its kind.
    pub(crate) fn push(&mut self, kind: Kind, describe: impl FnOnce() -> Violation) {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        if *count <= EXAMPLES_MAX as u64 {
            self.examples.push(describe());
        }
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many of one kind.
    pub(crate) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    /// Takes in another thread's record.
    pub(crate) fn merge(&mut self, other: Self) {
        for (own, other) in self.counts.iter_mut().zip(other.counts) {
            *own += other;
        }
        self.examples.extend(other.examples);
        self.examples.sort_by_key(|v| v.at_us);
    }

    /// The first descriptions: every kind gets its first before any kind gets its second.
    pub(crate) fn examples(&self) -> Vec<&Violation> {
        let mut ranked: Vec<(usize, &Violation)> = Vec::with_capacity(self.examples.len());
        for violation in &self.examples {
            let rank = ranked.iter().filter(|(_, v)| v.kind == violation.kind).count();
            ranked.push((rank, violation));
        }
        ranked.sort_by_key(|(rank, violation)| (*rank, violation.at_us));
        ranked.into_iter().map(|(_, violation)| violation).take(EXAMPLES_MAX).collect()
    }
}

/// The start of a frame or a reason, short enough to print.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(QUOTE_BYTES_MAX)];
    let dots = if cut.len() < bytes.len() { "..." } else { "" };
    format!("{}{dots}", String::from_utf8_lossy(cut))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_does_not_hide_another() {
        let mut violations = Violations::new();
        let mut push = |kind: Kind, at_us| {
            violations.push(kind, || Violation {
                kind: kind.name(),
                client: Some(0),
                symbol: String::new(),
                expected: String::new(),
                got: String::new(),
                at_us,
            });
        };
        for at_us in 0..1000 {
            push(Kind::Checksum, at_us);
        }
        push(Kind::TradeId, 2000);
        let kinds: Vec<_> = violations.examples().iter().map(|v| v.kind).collect();
        assert_eq!(kinds.len(), EXAMPLES_MAX);
        assert_eq!(kinds[..2], ["checksum", "trade_id"]);
        assert_eq!((violations.count(Kind::Checksum), violations.total()), (1000, 1001));
    }
}
