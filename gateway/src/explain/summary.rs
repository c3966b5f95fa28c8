//! What a run came to, in numbers.

use market::Market;
use model::Nanos;
use serde::Serialize;

use super::Ending;
use super::reader::Reader;
use super::received::{maybe_micros, micros};
use super::world::Lag;

/// The numbers of a run. Entries of the stream while the client was there are updates, merged, dropped, covered and unsent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Entries of the stream from the subscription to the end.
    pub entries: u64,
    /// Messages about the stream and the connection.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the messages, those that are updates.
    pub updates: u64,
    /// Of the messages, those that are snapshots.
    pub snapshots: u64,
    /// Entries folded into an update of a later one.
    pub merged: u64,
    /// Updates that stand for several entries.
    pub merges: u64,
    /// Entries that are lost, and a notice said so.
    pub dropped: u64,
    /// Such notices.
    pub gaps: u64,
    /// Entries that are lost to a client without notices; it sees so by `prev` and `trade_id`.
    pub dropped_silently: u64,
    /// Entries that a snapshot made up for.
    pub covered: u64,
    /// Entries that the client was not sent when everything ended.
    pub unsent: u64,
    /// How old data was when it was received; none without data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Ages>,
    /// Longest time without data.
    #[serde(rename = "silence_us", serialize_with = "micros")]
    pub silence: Nanos,
    /// When it began.
    #[serde(rename = "silence_offset_us", serialize_with = "micros")]
    pub silence_from: Nanos,
    /// How long the client was served as one that does not keep up.
    #[serde(rename = "lagging_us", serialize_with = "micros")]
    pub lagging: Nanos,
    /// How many times.
    pub lagging_spells: u64,
    /// Most entries between the client and the newest, subscriptions beside included.
    pub lag_entries_max: u64,
    /// Messages of the subscriptions beside.
    pub beside_messages: u64,
    /// Their bytes.
    pub beside_bytes: u64,
    /// How it ended.
    pub end: Ending,
    /// When data was received last.
    #[serde(
        rename = "last_data_offset_us",
        serialize_with = "maybe_micros",
        skip_serializing_if = "Option::is_none"
    )]
    pub last_data: Option<Nanos>,
    /// Position of that data.
    pub seq: u64,
    /// What is compared at the end: `book`, `ticker`, `last trade`, `last candle`.
    pub noun: &'static str,
    /// Whether the client ends with what the engine has; none when it was closed, or has nothing to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub equal: Option<bool>,
    /// Of a book: its checksum at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<u32>,
    /// Of a book: messages after which the client's checksum was the one that it was told.
    pub checksums_right: u64,
    /// Of a book: messages after which it was another.
    pub checksums_wrong: u64,
}

/// The distribution of ages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ages {
    /// Mean.
    #[serde(rename = "mean_us", serialize_with = "micros")]
    pub mean: Nanos,
    /// Half are no older.
    #[serde(rename = "p50_us", serialize_with = "micros")]
    pub p50: Nanos,
    /// Nine of ten are no older.
    #[serde(rename = "p90_us", serialize_with = "micros")]
    pub p90: Nanos,
    /// 99 of 100 are no older.
    #[serde(rename = "p99_us", serialize_with = "micros")]
    pub p99: Nanos,
    /// The oldest.
    #[serde(rename = "max_us", serialize_with = "micros")]
    pub max: Nanos,
}

impl Ages {
    /// Of some ages in any order; none of none.
    fn of(mut ages: Vec<Nanos>) -> Option<Self> {
        ages.sort_unstable();
        let max = *ages.last()?;
        let sum: u128 = ages.iter().map(|age| u128::from(age.0)).sum();
        // The smallest age that so many of a hundred do not exceed.
        let at = |percent: usize| ages[(ages.len() * percent).div_ceil(100).max(1) - 1];
        let mean = Nanos((sum / ages.len() as u128) as u64);
        Some(Self { mean, p50: at(50), p90: at(90), p99: at(99), max })
    }
}

impl Summary {
    pub(super) fn new(reader: &Reader, lag: &Lag, end: Ending, market: &Market) -> Self {
        let (tally, view) = (&reader.tally, &reader.view);
        let is_open = matches!(end, Ending::Live | Ending::Behind);
        let is_book = view.noun() == "book";
        Self {
            entries: tally.entries,
            messages: tally.messages,
            bytes: tally.bytes,
            updates: tally.updates,
            snapshots: tally.snapshots,
            merged: tally.merged,
            merges: tally.merges,
            dropped: tally.dropped,
            gaps: tally.gaps,
            dropped_silently: tally.dropped_silently,
            covered: tally.covered,
            unsent: reader.unsent(),
            age: Ages::of(tally.ages.iter().map(|(_, age)| *age).collect()),
            silence: tally.silence,
            silence_from: tally.silence_from,
            lagging: lag.total,
            lagging_spells: lag.spells,
            lag_entries_max: lag.entries_max,
            beside_messages: tally.beside_messages,
            beside_bytes: tally.beside_bytes,
            end,
            last_data: tally.last_data,
            seq: tally.seq,
            noun: view.noun(),
            equal: view.is_equal(market).filter(|_| is_open),
            checksum: is_book.then(|| view.checksum()),
            checksums_right: view.checksums_right,
            checksums_wrong: view.checksums_wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ages_that_were_seen() {
        assert_eq!(Ages::of(Vec::new()), None);
        let one = Ages::of(vec![Nanos(7)]).unwrap();
        assert_eq!((one.mean, one.p50, one.p99, one.max), (Nanos(7), Nanos(7), Nanos(7), Nanos(7)));
        let ages = Ages::of((1..=200).rev().map(Nanos).collect()).unwrap();
        assert_eq!(
            (ages.mean, ages.p50, ages.p90, ages.p99),
            (Nanos(100), Nanos(100), Nanos(180), Nanos(198))
        );
    }
}
