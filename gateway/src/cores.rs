//! Which cores the threads of the data's way run on.
//!
//! Owns the operator's list. A thread begins where its maker may run, so its maker goes to its core for that moment; no other thread
//! is moved, and none ever again.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that threads are pinned to, in the order in which they are given away.
#[derive(Debug)]
pub(crate) struct Cores {
    pinned: Vec<u32>,
    /// Where the process may run.
    allowed: CpuSet,
}

impl Cores {
    /// Takes the operator's list; an empty one leaves threads to the kernel.
    ///
    /// # Errors
    /// The first core of it that this process may not use, and those that it may, as text.
    pub(crate) fn new(pinned: &[u32]) -> Result<Self, String> {
        let allowed = sched_getaffinity(None).map_err(|error| io::Error::from(error).to_string())?;
        let is_allowed = |core: usize| core < CpuSet::MAX_CPU && allowed.is_set(core);
        match pinned.iter().find(|&&core| !is_allowed(core as usize)) {
            None => Ok(Self { pinned: pinned.to_vec(), allowed }),
            Some(core) => {
                let may: Vec<String> = (0..CpuSet::MAX_CPU)
                    .filter(|&core| is_allowed(core))
                    .map(|core| core.to_string())
                    .collect();
                Err(format!("core {core} is none that this process may use: {}", may.join(", ")))
            }
        }
    }

    /// Makes the thread of this number on its core; with more threads than cores they are given away from the first again.
    pub(crate) fn make<T>(&self, number: usize, make: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let Some(place) = number.checked_rem(self.pinned.len()) else { return make() };
        let mut core = CpuSet::new();
        core.set(self.pinned[place] as usize);
        sched_setaffinity(None, &core)?;
        let made = make();
        sched_setaffinity(None, &self.allowed)?;
        made
    }
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
        let cores = Cores::new(&[first as u32, last as u32]).unwrap();
        let pinned: Vec<_> = (0..3)
            .map(|number| cores.make(number, || Ok(thread::spawn(mine))).unwrap().join().unwrap())
            .collect();
        assert_eq!(pinned, [[first], [last], [first]]);
        assert_eq!(mine(), before);
        let free = Cores::new(&[]).unwrap().make(0, || Ok(thread::spawn(mine))).unwrap();
        assert_eq!(free.join().unwrap(), before);
    }

    #[test]
    fn a_core_that_there_is_not_is_refused_by_its_number() {
        for core in [1_000, 70_000] {
            let refused = Cores::new(&[core]).unwrap_err();
            assert!(
                refused.starts_with(&format!("core {core} is none that this process may use: ")),
                "{refused}"
            );
        }
    }
}
