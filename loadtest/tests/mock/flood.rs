//! The mock server at full speed.
//!
//! Owns one endless script of book updates, framed once and written as bytes, so that the server costs little
//! more than its writes. The market goes round in a circle; each round is a new epoch.

use std::sync::Arc;

const ROUND: u64 = 512;
const WRITE_BYTES: usize = 64 << 10;
pub(super) const SYMBOL: &str = "BTC/USD";

/// The snapshot, and two rounds that lead from it back to it in alternating epochs.
#[derive(Clone)]
pub(crate) struct Script {
    pub(super) snapshot: String,
    rounds: Arc<[u8]>,
    /// Where the parts end that are written at once; each ends with a frame.
    ends: Arc<[usize]>,
}

impl Script {
    pub(crate) fn new() -> Self {
        let book = Book { best_qty: 1 };
        let snapshot = book.message("snapshot", &book.levels(), ROUND, r#","epoch":8"#);
        let (mut rounds, mut ends) = (Vec::new(), Vec::new());
        for epoch in [7, 8] {
            for seq in 1..=ROUND {
                push_frame(&mut rounds, &update(seq, epoch));
                if rounds.len() > ends.last().unwrap_or(&0) + WRITE_BYTES {
                    ends.push(rounds.len());
                }
            }
        }
        ends.push(rounds.len());
        Self { snapshot, rounds: rounds.into(), ends: ends.into() }
    }

    /// Whole frames, one piece after the other, so that an answer can stand between any two.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(self.ends.iter());
        starts.zip(self.ends.iter()).map(|(start, end)| &self.rounds[*start..*end])
    }
}

/// Ten levels a side; only the quantity of the best bid ever changes, which changes the checksum.
struct Book {
    best_qty: u64,
}

impl Book {
    fn checksum(&self) -> u32 {
        let asks = (0..10).map(|i| format!("{}{}", 640_001 + i, 100_000 + i));
        let bids = (0..10).map(|i| format!("{}{}", 640_000 - i, self.qty(i)));
        crc32fast::hash(asks.chain(bids).collect::<String>().as_bytes())
    }

    fn qty(&self, bid: u64) -> u64 {
        if bid == 0 { self.best_qty } else { 100_000 + bid }
    }

    /// Bids and asks of the snapshot.
    fn levels(&self) -> String {
        let level =
            |ticks: u64, lots: u64| format!(r#"{{"price":{}.{},"qty":0.{lots:08}}}"#, ticks / 10, ticks % 10);
        let bids: Vec<_> = (0..10).map(|i| level(640_000 - i, self.qty(i))).collect();
        let asks: Vec<_> = (0..10).map(|i| level(640_001 + i, 100_000 + i)).collect();
        format!(r#""bids":[{}],"asks":[{}]"#, bids.join(","), asks.join(","))
    }

    fn message(&self, kind: &str, levels: &str, seq: u64, link: &str) -> String {
        let checksum = self.checksum();
        format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"{SYMBOL}",{levels},"checksum":{checksum},"timestamp":"2026-01-01T00:00:00.000000Z","seq":{seq}{link}}}]}}"#
        )
    }
}

/// Three levels with new quantities, none entering or leaving: about the size of a live update.
fn update(seq: u64, epoch: u64) -> String {
    // The last update of a round restores the snapshot.
    let book = Book { best_qty: if seq == ROUND { 1 } else { seq + 1 } };
    let qty = book.best_qty;
    let levels = format!(
        r#""bids":[{{"price":64000.0,"qty":0.{qty:08}}}],"asks":[{{"price":64000.1,"qty":0.00100000}},{{"price":64000.2,"qty":0.00100001}}]"#
    );
    let link = match seq {
        1 => format!(r#","prev":{ROUND},"epoch":{epoch}"#),
        _ => format!(r#","prev":{}"#, seq - 1),
    };
    book.message("update", &levels, seq, &link)
}

fn push_frame(bytes: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap();
    assert!(len > 125, "a length of two bytes");
    bytes.extend_from_slice(&[0x81, 126]);
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}
