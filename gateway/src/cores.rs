//! Which cores the threads of the data's way run on.
//!
//! Owns the operator's list. A thread begins where its maker may run, so its maker goes to its core for that moment; no other thread
//! is moved, and none ever again.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that threads are pinned to, in the order in which they are given away.
#[derive(Debug)]
pub(crate) struct Cores {
    pinned: Vec<usize>,
    /// Where the process may run.
    allowed: CpuSet,
}

impl Cores {
    /// Takes the operator's list as it is written in the settings; an empty one leaves threads to the kernel.
    ///
    /// # Errors
    /// What [`parse`] says of it, or the first core of it that this process may not use, and those that it may.
    pub(crate) fn new(list: &str) -> Result<Self, String> {
        let pinned = parse(list)?;
        let allowed = sched_getaffinity(None).map_err(|error| io::Error::from(error).to_string())?;
        match pinned.iter().find(|&&core| !allowed.is_set(core)) {
            None => Ok(Self { pinned, allowed }),
            Some(core) => {
                let may = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
                let may: Vec<String> = may.map(|core| core.to_string()).collect();
                Err(format!("threads.cores: {core} is none that this process may use: {}", may.join(", ")))
            }
        }
    }

    /// Makes the thread of this number on its core; with more threads than cores they are given away from the first again.
    pub(crate) fn make<T>(&self, number: usize, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(place) = number.checked_rem(self.pinned.len()) else { return make() };
        let mut core = CpuSet::new();
        core.set(self.pinned[place]);
        sched_setaffinity(None, &core)?;
        let made = make();
        sched_setaffinity(None, &self.allowed)?;
        made
    }
}

/// The cores of a list as the kernel writes them: numbers and ranges of numbers, separated by commas.
///
/// # Errors
/// The part of the list that is neither, and what one looks like.
pub(crate) fn parse(list: &str) -> Result<Vec<usize>, String> {
    let mut cores = Vec::new();
    for part in list.split(',').map(str::trim).filter(|_| !list.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<usize>(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) if first <= last && last < CpuSet::MAX_CPU => cores.extend(first..=last),
            _ => return Err(format!("threads.cores: `{part}` is neither a core nor a range such as 0-3")),
        }
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn mine() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()
    }

    #[test]
    fn threads_run_on_the_cores_of_the_list_in_turn_and_their_maker_where_it_did() {
        let before = mine();
        let (first, last) = (before[0], before[before.len() - 1]);
        let cores = Cores::new(&format!("{first},{last}")).unwrap();
        let pinned: Vec<_> = (0..3)
            .map(|number| cores.make(number, || Ok(thread::spawn(mine))).unwrap().join().unwrap())
            .collect();
        assert_eq!(pinned, [[first], [last], [first]]);
        assert_eq!(mine(), before);
        let free = Cores::new("").unwrap().make(0, || Ok(thread::spawn(mine))).unwrap();
        assert_eq!(free.join().unwrap(), before);
    }

    #[test]
    fn lists_have_cores_and_ranges() {
        let check = |list| parse(list).map_or_else(|problem| problem, |cores| format!("{cores:?}"));
        for (list, expected) in [
            ("", "[]"),
            (" ", "[]"),
            ("3", "[3]"),
            ("0-2, 6,1", "[0, 1, 2, 6, 1]"),
            ("1,,2", "threads.cores: `` is neither a core nor a range such as 0-3"),
            ("2-1", "threads.cores: `2-1` is neither a core nor a range such as 0-3"),
            ("0-99999999", "threads.cores: `0-99999999` is neither a core nor a range such as 0-3"),
            ("all", "threads.cores: `all` is neither a core nor a range such as 0-3"),
        ] {
            assert_eq!(check(list), expected, "{list:?}");
        }
    }

    #[test]
    fn a_core_that_there_is_not_is_refused_by_its_number() {
        let refused = Cores::new("1000").unwrap_err();
        assert!(refused.starts_with("threads.cores: 1000 is none that this process may use: "), "{refused}");
    }
}
