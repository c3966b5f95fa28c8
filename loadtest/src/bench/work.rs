//! A work: how many clients take which of how many symbols.
//!
//! Owns who subscribes to what. Never connects and knows no server.
//! The crowd subscribes as it says, the publisher tells its symbols.

/// Who subscribes to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Connections.
    pub(crate) clients: usize,
    /// Symbols that are published, all equally often.
    pub(crate) symbols: usize,
    /// Symbols of one client; at most `symbols`.
    pub(crate) per_client: usize,
}

/// Everyone takes everything: one update is a delivery to each client.
pub(crate) const FULL: Work = Work { clients: 1_000, symbols: 100, per_client: 100 };
/// Everyone takes a few of many: one update is 20 deliveries.
pub(crate) const SUBSET: Work = Work { clients: 1_000, symbols: 1_000, per_client: 20 };

impl Work {
    /// Deliveries that one update causes, over all symbols.
    pub(crate) fn fan_out(&self) -> f64 {
        (self.clients * self.per_client) as f64 / self.symbols as f64
    }

    /// The numbers of the symbols of a client. No two of the first `symbols` clients have the same set, unless all
    /// take everything, and each symbol has the same number of takers: a server gains nothing from equal clients.
    pub(crate) fn symbols_of(&self, client: usize) -> impl Iterator<Item = usize> {
        let (count, per_client) = (self.symbols, self.per_client);
        scattered(count).take(per_client).map(move |offset| (client + offset) % count)
    }
}

/// All numbers below `count`, each once, in a fixed order without a pattern.
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    let mut dice = Dice(count as u64);
    for at in (1..count).rev() {
        numbers.swap(at, dice.below(at + 1));
    }
    numbers.into_iter()
}

/// A small generator of numbers without a pattern (SplitMix64); the same seed gives the same numbers.
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Uniform from 0 to `n - 1`.
    #[inline]
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_symbol_has_the_same_number_of_takers_and_clients_differ() {
        for (work, takers) in [
            (SUBSET, 20),
            (Work { clients: 100, symbols: 100, per_client: 10 }, 10),
            (Work { clients: 10, symbols: 10, per_client: 10 }, 10),
        ] {
            let mut counts = vec![0; work.symbols];
            let mut sets = BTreeSet::new();
            for client in 0..work.clients {
                let symbols: BTreeSet<usize> = work.symbols_of(client).collect();
                assert_eq!(symbols.len(), work.per_client, "no symbol twice");
                symbols.iter().for_each(|&symbol| counts[symbol] += 1);
                sets.insert(symbols);
            }
            assert!(counts.iter().all(|&count| count == takers), "{counts:?}");
            assert_eq!(work.fan_out(), f64::from(takers));
            assert_eq!(sets.len(), if work.per_client == work.symbols { 1 } else { work.clients });
        }
    }
}
