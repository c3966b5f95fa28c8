//! What HTTP and health checks read: all instruments and the state of the venue.
//!
//! Written by the engine when an instrument changes, read per request. A lock and not a message, because readers are
//! rare, hold it for the copy of a few pointers, and never stand on the way of an update.

use std::sync::Arc;

use model::{FeedStatus, Instrument, InstrumentId, InstrumentTable, PairStatus};

/// The instruments as clients are told them.
#[derive(Debug)]
pub struct Reference {
    /// Numbers and definitions.
    pub table: InstrumentTable,
    /// The status of each instrument that clients are told, by number.
    pub statuses: Vec<PairStatus>,
    /// The state of the venue; maintenance without a feed.
    pub status: FeedStatus,
}

impl Default for Reference {
    fn default() -> Self {
        Self { table: InstrumentTable::default(), statuses: Vec::new(), status: FeedStatus::Maintenance }
    }
}

impl Reference {
    pub(crate) fn set(&mut self, id: InstrumentId, instrument: Arc<Instrument>, status: PairStatus) {
        self.table.insert(instrument);
        if self.statuses.len() <= id.index() {
            self.statuses.resize(id.index() + 1, PairStatus::Maintenance);
        }
        self.statuses[id.index()] = status;
    }

    /// Every instrument with its number and told status.
    pub fn pairs(&self) -> impl Iterator<Item = (InstrumentId, &Arc<Instrument>, PairStatus)> {
        self.table.iter().zip(&self.statuses).map(|((id, one), &status)| (id, one, status))
    }
}
