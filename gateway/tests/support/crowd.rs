//! Many clients at once, each on a thread of its own, until the market ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::visitor::Visitor;

/// Longest time until everybody has what it wants: a loaded machine is no failure.
const TIME_MAX: Duration = Duration::from_secs(300);

/// How often somebody who has failed is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How a client and the test wait for each other.
#[derive(Clone, Debug)]
pub struct Signal<'a> {
    ready: Sender<()>,
    settled: &'a AtomicBool,
}

impl Signal<'_> {
    /// Whether it is over, also because somebody has failed.
    pub fn is_over(&self) -> bool {
        self.settled.load(Ordering::Relaxed)
    }

    /// Says that a client has what it wants, takes what comes until the market has ended, and then what is left.
    pub fn stay(&self, visitor: &mut Visitor) {
        self.ready.send(()).expect("the test waits for everybody");
        while !self.is_over() {
            visitor.read();
        }
        visitor.drain();
    }
}

/// For a market that goes on by itself.
pub fn rest() {
    thread::park_timeout(LOOK_EVERY);
}

/// Ends all lives, also when the test has failed.
struct Release<'a>(&'a AtomicBool);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets clients live, and the market `go_on`, until each client stays; then ends the market, which must not return before
/// everything is written.
pub fn live_together<T: Send, L: FnOnce(&Signal<'_>) -> T + Send>(
    lives: Vec<L>,
    mut go_on: impl FnMut(),
    end_market: impl FnOnce(),
) -> Vec<T> {
    let (ready, inbox) = channel();
    let settled = AtomicBool::new(false);
    let start = Instant::now();
    thread::scope(|scope| {
        let release = Release(&settled);
        let spawn = |life: L| {
            let signal = Signal { ready: ready.clone(), settled: &settled };
            scope.spawn(move || life(&signal))
        };
        let threads: Vec<_> = lives.into_iter().map(spawn).collect();
        for _ in 0..threads.len() {
            while inbox.try_recv() == Err(TryRecvError::Empty) {
                go_on();
                // Who ends before the market has found something wrong, and has said so.
                assert!(!threads.iter().any(|thread| thread.is_finished()), "see above");
                assert!(start.elapsed() < TIME_MAX, "in vain waited for everybody to have what it wants");
            }
        }
        println!("everybody has what it wants after {:?}", start.elapsed());
        end_market();
        drop(release);
        threads.into_iter().map(|thread| thread.join().expect("see above")).collect()
    })
}
