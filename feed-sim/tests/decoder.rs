//! The gateway's own decoder accepts every line of every source: the witness alone could share a misreading with us.

use std::path::PathBuf;

use feed_sim::{Local, NEVER, ReplayConfig, SimulatorConfig, SourceConfig, Speed};
use model::{EventBatch, EventBody, Nanos};
use wire::feed::{FEED_LINE_BYTES_MAX, FeedDecoder};

/// Reads a source in this process until `lines` or its end; panics at the first line that is refused.
fn decode(source: SourceConfig, lines: u64) -> (u64, u64, u64) {
    let mut local = Local::open(source).expect("it opens");
    let mut decoder = FeedDecoder::default();
    let (mut out, mut batch) = (Vec::new(), EventBatch::default());
    let mut now = Nanos(1_700_000_000_000_000_000);
    let (mut line, mut trades, mut deltas) = (0, 0, 0);
    while line < lines && !local.is_finished() {
        let next = local.read(now, &mut out);
        assert_ne!(next, NEVER, "a reader is always to come again");
        for text in out.split_inclusive_mut(|&byte| byte == b'\n') {
            assert!(text.len() <= FEED_LINE_BYTES_MAX);
            let shown = String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned();
            let end = text.len() - 1;
            decoder
                .decode_line(&mut text[..end], now, &mut batch)
                .unwrap_or_else(|error| panic!("{error}: {shown}"));
        }
        out.clear();
        for event in batch.events.drain(..) {
            line += 1;
            assert_eq!(event.line, line);
            match event.body {
                EventBody::Trade { .. } => trades += 1,
                EventBody::BookDelta { .. } => deltas += 1,
                _ => {}
            }
        }
        batch.clear();
        now = next.max(now + Nanos(1));
    }
    (line, trades, deltas)
}

fn replay(path: &str) -> SourceConfig {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data").join(path);
    SourceConfig::Replay(ReplayConfig { speed: Speed::Max, ..ReplayConfig::new(path) })
}

#[test]
fn simulator_lines_are_accepted_at_every_precision() {
    let config =
        SimulatorConfig { symbols: 2_000, depth: 10, rate: 1e6, zipf: 0.0, ..SimulatorConfig::default() };
    let (lines, trades, deltas) = decode(SourceConfig::Simulator(config), 200_000);
    assert!(lines >= 200_000 && trades > 20_000 && deltas > 100_000, "{lines} {trades} {deltas}");
}

#[test]
fn the_deepest_snapshot_fits_into_a_line() {
    let config = SimulatorConfig { symbols: 20, depth: feed_sim::DEPTH_MAX, ..SimulatorConfig::default() };
    decode(SourceConfig::Simulator(config), 1_000);
}

#[test]
fn recordings_are_accepted() {
    assert_eq!(decode(replay("kraken-2021-04-17/kraken_book1000_10pairs.txt.gz"), u64::MAX).2, 4_269);
    let (_, trades, deltas) = decode(replay("coinbase-2021-04-17/coinbase_l2_10products.txt.gz"), u64::MAX);
    assert_eq!((trades, deltas), (10 + 97, 9_719));
    // Trades beyond the latest 50 before the snapshot are not told again, so at most the recorded ones.
    let (_, trades, deltas) = decode(replay("binance-2024-08-08/usdm_btcusdt_20240808.txt.gz"), u64::MAX);
    assert!(deltas == 6_547 && trades <= 21_313 && trades > 21_000, "{trades} {deltas}");
}
