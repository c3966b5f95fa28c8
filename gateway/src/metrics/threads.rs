//! What the threads of the process cost: processor time, and time waiting for a processor, by what a thread does.
//!
//! Reads the kernel's own counts below `/proc/self/task` at a scrape; nothing is counted on the threads for it. A kernel without
//! these counts gives zeros.

use std::fs;
use std::path::Path;

const TASKS: &str = "/proc/self/task";

/// What threads are told apart by; the last is everything else.
pub(super) const KINDS: [&str; 5] = ["feed", "engine", "shard", "http", "other"];

/// Nanoseconds of one kind of thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ThreadTimes {
    /// On a processor.
    pub(super) running: u64,
    /// Ready to run, and waiting for a processor.
    pub(super) waiting: u64,
}

/// The times of all threads by kind, in the order of [`KINDS`].
pub(super) fn times() -> [ThreadTimes; KINDS.len()] {
    let mut times = [ThreadTimes::default(); KINDS.len()];
    for task in fs::read_dir(TASKS).into_iter().flatten().flatten() {
        // A thread may end between the listing and the reading.
        if let Some((kind, one)) = read(&task.path()) {
            times[kind].running += one.running;
            times[kind].waiting += one.waiting;
        }
    }
    times
}

fn read(task: &Path) -> Option<(usize, ThreadTimes)> {
    let name = fs::read_to_string(task.join("comm")).ok()?;
    let times = parse(&fs::read_to_string(task.join("schedstat")).ok()?)?;
    Some((kind(name.trim()), times))
}

/// `shard-3` is a shard.
fn kind(name: &str) -> usize {
    let word = name.split('-').next().unwrap_or_default();
    KINDS.iter().position(|&kind| kind == word).unwrap_or(KINDS.len() - 1)
}

/// Time on a processor, time waiting for one, and turns on it.
fn parse(schedstat: &str) -> Option<ThreadTimes> {
    let mut numbers = schedstat.split_ascii_whitespace().map(str::parse);
    let (running, waiting) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(ThreadTimes { running, waiting })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_told_apart_by_their_names() {
        let kinds =
            ["feed", "engine", "shard-0", "shard-12", "http", "gateway"].map(|name| KINDS[kind(name)]);
        assert_eq!(kinds, ["feed", "engine", "shard", "shard", "http", "other"]);
    }

    #[test]
    fn the_kernels_counts_are_read() {
        assert_eq!(parse("12 34 5\n"), Some(ThreadTimes { running: 12, waiting: 34 }));
        assert_eq!((parse(""), parse("12"), parse("a b c")), (None, None, None));
    }
}
