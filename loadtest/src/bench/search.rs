//! The search for the highest load that a server sustains.
//!
//! Owns the bounds and the next load to try. Never measures: [`super::works`] does, and tells what came out.

/// How much the load is raised while nothing has failed, and lowered while nothing has held.
const STEP: f64 = 2.0;
/// Loads that are tried at most.
const TRIES_MAX: u32 = 32;

/// Bounds that close in on the top.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    /// The highest load that held.
    held: Option<f64>,
    /// The lowest load above it that failed.
    failed: Option<f64>,
    first: f64,
    /// Bounds this close to each other end the search.
    ratio: f64,
    tries: u32,
}

impl Search {
    /// A search that begins at a load and ends when bounds differ by less than `precision`, such as 0.05.
    pub(crate) const fn new(first: f64, precision: f64) -> Self {
        Self { held: None, failed: None, first, ratio: 1.0 + precision, tries: 0 }
    }

    /// The next load to try; none when the search is over.
    pub(crate) fn next(&self) -> Option<f64> {
        let next = match (self.held, self.failed) {
            (None, None) => self.first,
            (Some(held), None) => held * STEP,
            (None, Some(failed)) => failed / STEP,
            (Some(held), Some(failed)) if failed / held < self.ratio => return None,
            (Some(held), Some(failed)) => (held * failed).sqrt(),
        };
        (self.tries < TRIES_MAX).then_some(next)
    }

    /// Takes in whether a load held. A load that held is believed over one below it that did not: a machine with other work
    /// makes a server fail now and then, and never makes it hold.
    pub(crate) fn tell(&mut self, load: f64, is_held: bool) {
        self.tries += 1;
        if is_held {
            self.held = Some(self.held.map_or(load, |held| held.max(load)));
            self.failed = self.failed.filter(|&failed| failed > load);
        } else if self.held.is_none_or(|held| load > held) {
            self.failed = Some(self.failed.map_or(load, |failed| failed.min(load)));
        }
    }

    /// The highest load that held.
    pub(crate) const fn top(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(first: f64, precision: f64, limit: f64) -> (Search, u32) {
        let mut search = Search::new(first, precision);
        while let Some(load) = search.next() {
            search.tell(load, load <= limit);
        }
        let tries = search.tries;
        (search, tries)
    }

    proptest! {
        #[test]
        fn the_top_is_found_from_anywhere(first in 1.0..1e6_f64, limit in 1.0..1e6_f64) {
            let (search, tries) = run(first, 0.05, limit);
            let top = search.top().expect("a load below the limit was tried");
            prop_assert!(top <= limit && top * 1.05 > limit, "{top} instead of {limit}");
            prop_assert!(tries <= TRIES_MAX);
        }
    }

    #[test]
    fn a_good_beginning_saves_tries() {
        assert!(run(900.0, 0.04, 1_000.0).1 <= 7);
    }

    #[test]
    fn a_server_that_holds_nothing_or_everything_ends_the_search() {
        assert_eq!(run(1_000.0, 0.05, 0.0).0.top(), None);
        assert_eq!(run(1_000.0, 0.05, f64::INFINITY).1, TRIES_MAX);
    }

    #[test]
    fn a_load_that_held_is_believed_over_a_lower_one_that_did_not() {
        let mut search = Search::new(100.0, 0.05);
        search.tell(100.0, true);
        search.tell(200.0, false);
        search.tell(210.0, true);
        assert_eq!((search.top(), search.next()), (Some(210.0), Some(420.0)));
    }
}
