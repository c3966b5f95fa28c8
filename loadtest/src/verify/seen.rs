//! What a client was sent, for who compares it with what the feed told.
//!
//! Owns the shape of that and the places at which a client stands in the end. Never judges: the fault run does
//! ([`crate::faults`]). Filled by the rules beside it, which have checked each element by then.

use super::{Reporter, Subscription, Verifier};
use crate::book::Book;
use crate::scan::{Element, Header};

/// Something about one subscription of the client that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which of the client's subscriptions.
    pub(crate) subscription: usize,
    /// What.
    pub(crate) what: What,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The acknowledgement: the subscription goes on from its place, or begins anew.
    Begun {
        /// It goes on.
        is_recovered: bool,
    },
    /// That its data is stale.
    Stale,
    /// A notice that so many entries are lost.
    Told {
        /// How many.
        count: u64,
    },
    /// An element of data.
    Element {
        /// Generation of the feed; none where it was never told.
        epoch: Option<u64>,
        /// Place in it.
        seq: Option<u64>,
        /// Of a book.
        checksum: Option<u32>,
        /// Of a trade.
        trade_id: Option<u64>,
        /// Whether it belongs to a snapshot.
        is_snapshot: bool,
        /// Whether its link tells a client that did not opt in of a loss.
        tells_loss: bool,
    },
}

/// Where a client stands with one of its symbols.
#[derive(Clone, Copy)]
pub(crate) struct Standing<'a> {
    pub(crate) epoch: Option<u64>,
    pub(crate) seq: Option<u64>,
    /// Its book; empty on another channel.
    pub(crate) book: &'a Book,
}

impl Verifier {
    /// Where the client stands with each of its symbols, in their order.
    pub(crate) fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.subscriptions.iter().map(|one| Standing {
            epoch: one.epoch,
            seq: one.link.last(),
            book: &one.book,
        })
    }
}

impl Subscription {
    pub(super) fn note_begun(&self, is_recovered: bool, reporter: &mut Reporter<'_>) {
        self.note(What::Begun { is_recovered }, reporter);
    }

    pub(super) fn note_stale(&self, reporter: &mut Reporter<'_>) {
        self.note(What::Stale, reporter);
    }

    pub(super) fn note_told(&self, count: u64, reporter: &mut Reporter<'_>) {
        self.note(What::Told { count }, reporter);
    }

    pub(super) fn note_element(
        &self,
        header: Header,
        element: &Element,
        tells_loss: bool,
        reporter: &mut Reporter<'_>,
    ) {
        let epoch = element.epoch.or(self.epoch);
        let Element { seq, checksum, trade_id, .. } = *element;
        let is_snapshot = header.is_snapshot;
        self.note(What::Element { epoch, seq, checksum, trade_id, is_snapshot, tells_loss }, reporter);
    }

    fn note(&self, what: What, reporter: &mut Reporter<'_>) {
        reporter.tally.note_seen(Seen { subscription: self.number, what });
    }
}
