//! What the simulator tells is deterministic, consistent, and shaped like real flow.

mod witness;

use std::collections::BTreeMap;

use feed_sim::{Arrivals, Lines, Simulator, SimulatorConfig, Stamper, Venue, tell_opening};
use model::Nanos;
use witness::{Witness, split_lines};

const START: Nanos = Nanos(1_700_000_000_000_000_000);

/// The lines of `seconds` of virtual time, polled every `step`.
fn run(config: SimulatorConfig, seconds: u64, step: Nanos) -> Vec<u8> {
    let mut simulator = Simulator::new(config).expect("settings are in range");
    let (mut lines, mut stamper, mut out) = (Lines::default(), Stamper::default(), Vec::new());
    tell_opening(&mut simulator, START, &mut lines);
    let end = START + Nanos::from_secs(seconds);
    let mut now = START;
    while now <= end {
        simulator.poll(now, &mut lines);
        stamper.stamp(&lines, &mut out);
        let is_full = lines.bytes_len() >= feed_sim::BATCH_BYTES_MAX;
        lines.clear();
        if !is_full {
            now = now + step;
        }
    }
    out
}

fn small() -> SimulatorConfig {
    SimulatorConfig { symbols: 12, rate: 3_000.0, depth: 60, ..SimulatorConfig::default() }
}

#[test]
fn same_seed_gives_same_bytes_however_often_it_is_polled() {
    let a = run(small(), 3, Nanos::MILLI);
    let b = run(small(), 3, Nanos::from_millis(60));
    assert!(a == b, "two runs of one seed differ");
    let c = run(SimulatorConfig { seed: 2, ..small() }, 3, Nanos::MILLI);
    assert!(a != c, "two seeds agree");
}

#[test]
fn lines_agree_with_each_other() {
    for (seed, depth) in [(1, 200), (2, 20), (3, 5)] {
        let config = SimulatorConfig { seed, depth, rate: 10_000.0, ..small() };
        let mut witness = Witness { check_trades: true, ..Witness::default() };
        witness.read(&run(config, 4, Nanos::from_millis(10)));
        assert!(witness.lines > 30_000, "{} lines at depth {depth}", witness.lines);
        assert_eq!(witness.books.len(), 12);
        assert_eq!(witness.absent_deletes, 0);
        for (symbol, book) in &witness.books {
            assert!(book.bids.len() > depth / 5 && book.asks.len() > depth / 5, "{symbol} runs empty");
            assert!(
                book.bids.len() < 2 * depth + 60 && book.asks.len() < 2 * depth + 60,
                "{symbol} overflows"
            );
        }
    }
}

/// Counts of lines per 100 ms, and their Fano factor: variance over mean.
fn fano(arrivals: Arrivals) -> f64 {
    let config =
        SimulatorConfig { arrivals, rate: 1_000.0, symbols: 5, depth: 20, ..SimulatorConfig::default() };
    let bytes = run(config, 120, Nanos::from_millis(100));
    let mut counts = BTreeMap::<u64, f64>::new();
    let mut last = 0;
    for line in split_lines(&bytes) {
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let ts = witness::number(&value, "ts");
        // Events are counted, not lines: a sweep is one event however many lines it has.
        if ts > START.0 && ts != last && value["replay"] != true {
            *counts.entry((ts - START.0) / 100_000_000).or_default() += 1.0;
        }
        last = ts;
    }
    let counts: Vec<f64> = (1..1_199).map(|at| counts.get(&at).copied().unwrap_or(0.0)).collect();
    let mean = counts.iter().sum::<f64>() / counts.len() as f64;
    counts.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / counts.len() as f64 / mean
}

#[test]
fn bursts_are_bursts_and_poisson_is_poisson() {
    let [uniform, poisson, bursty] = [Arrivals::Uniform, Arrivals::Poisson, Arrivals::Bursty].map(fano);
    println!("Fano factors of 100 ms: uniform {uniform:.2}, poisson {poisson:.2}, bursty {bursty:.1}");
    assert!(uniform < 0.2, "uniform {uniform}");
    assert!((0.8..1.2).contains(&poisson), "poisson {poisson}");
    assert!(bursty > 20.0, "bursty {bursty}");
}

#[test]
fn flow_has_the_shape_of_real_markets() {
    let config = SimulatorConfig { symbols: 1, rate: 2_000.0, ..SimulatorConfig::default() };
    let mut witness = Witness::default();
    let (mut trades, mut lines, mut one_tick, mut deltas, mut sweeps) = (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut bids = Vec::new();
    let mut prices = Vec::new();
    for line in split_lines(&run(config, 60, Nanos::from_millis(50))) {
        let value = witness.read_line(&line);
        lines += 1.0;
        match value["type"].as_str() {
            Some("trade") => {
                trades += 1.0;
                prices.push(value["price"].clone());
            }
            Some("book_delta") => {
                prices.dedup();
                sweeps += f64::from(u8::from(prices.len() > 1));
                prices.clear();
                deltas += 1.0;
                let (Some(bid), Some(ask)) = witness.books["BTC/USD"].best() else { panic!("empty side") };
                one_tick += f64::from(u8::from(ask - bid == 1));
                bids.push(bid);
            }
            _ => {}
        }
    }
    let (low, high) = (bids.iter().min().unwrap(), bids.iter().max().unwrap());
    println!(
        "trades {:.3} of lines, spread one tick {:.3}, sweeps {:.4} of deltas, bid {low} to {high}",
        trades / lines,
        one_tick / deltas,
        sweeps / deltas
    );
    assert!((0.15..0.25).contains(&(trades / lines)), "trades {}", trades / lines);
    assert!((0.84..0.96).contains(&(one_tick / deltas)), "one tick {}", one_tick / deltas);
    assert!(sweeps / deltas > 0.01, "sweeps {}", sweeps / deltas);
    assert!(high > low && *low > 500_000 && *high < 780_000, "price from {low} to {high}");
}

#[test]
fn ten_thousand_symbols_open_and_run() {
    let config = SimulatorConfig { symbols: 10_000, depth: 5, rate: 100_000.0, ..SimulatorConfig::default() };
    let mut witness = Witness { check_trades: true, ..Witness::default() };
    witness.read(&run(config, 1, Nanos::from_millis(10)));
    assert_eq!(witness.books.len(), 10_000);
    assert!(witness.lines > 100_000);
}

#[test]
fn settings_out_of_range_are_refused_with_their_name() {
    let error = Simulator::new(SimulatorConfig { symbols: 0, ..small() }).unwrap_err();
    assert_eq!(error.to_string(), "symbols is 0: expected 1 to 10000");
    assert!(Simulator::new(SimulatorConfig { rate: f64::NAN, ..small() }).is_err());
}
