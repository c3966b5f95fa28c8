//! Changes of scripts, act by act: what the fuzzer's own changes of bytes rarely hit.
//!
//! An act that is inserted, left out, repeated or moved leaves all others as they are. Knows nothing of what acts mean.

use sim::CHOICES;

use super::ACT_BYTES;

/// Bytes before the first act.
const SHAPE_BYTES: usize = ACT_BYTES - 1;

/// Changes the first `size` bytes of a script by whole acts, and says how long it is then; never longer than `size_max`. Equal
/// seeds make equal changes. None when there is nothing that acts could be taken from.
pub fn mutate(data: &mut [u8], size: usize, size_max: usize, seed: u32) -> Option<usize> {
    let mut random = Random(u64::from(seed) | 1 << 32);
    let acts = size.checked_sub(SHAPE_BYTES)? / ACT_BYTES;
    let room = size_max.min(data.len()).checked_sub(SHAPE_BYTES)? / ACT_BYTES;
    if acts == 0 || room == 0 {
        return None;
    }
    let mut script: Vec<[u8; ACT_BYTES]> = Vec::with_capacity(room);
    for act in data[SHAPE_BYTES..size].chunks_exact(ACT_BYTES).take(room) {
        script.push(act.try_into().ok()?);
    }
    for _ in 0..=random.below(3) {
        change(&mut script, &mut random);
    }
    script.truncate(room);
    for (place, act) in data[SHAPE_BYTES..].chunks_exact_mut(ACT_BYTES).zip(&script) {
        place.copy_from_slice(act);
    }
    Some(SHAPE_BYTES + script.len() * ACT_BYTES)
}

fn change(script: &mut Vec<[u8; ACT_BYTES]>, random: &mut Random) {
    let (at, other) = (random.below(script.len()), random.below(script.len()));
    let len = 1 + random.below(8.min(script.len() - at));
    let fresh = random.bytes();
    match random.below(7) {
        0 if script.len() > len => drop(script.drain(at..at + len)),
        1 => script.insert(at, fresh),
        2 => {
            let copied = script[at..at + len].to_vec();
            script.splice(other..other, copied);
        }
        3 => script.swap(at, other),
        // Another act with the same choices, the same act with others, or with one other.
        4 => script[at][0] = fresh[0],
        5 => script[at][1..].copy_from_slice(&fresh[1..]),
        _ => script[at][1 + random.below(CHOICES)] = fresh[0],
    }
}

/// Numbers that look random, from the fuzzer's seed.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        // Xorshift; the seed is never 0.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    const fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    const fn bytes(&mut self) -> [u8; ACT_BYTES] {
        self.next().to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_keeps_the_shape_and_stays_within_bounds() {
        for seed in 0..5_000 {
            let mut data: Vec<u8> = (0..240).map(|n| n as u8).collect();
            let size = SHAPE_BYTES + 10 * ACT_BYTES;
            let size = mutate(&mut data, size, 200, seed).expect("there are acts");
            assert!((SHAPE_BYTES..=200).contains(&size) && (size - SHAPE_BYTES).is_multiple_of(ACT_BYTES));
            assert_eq!(data[..SHAPE_BYTES], [0, 1, 2, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn a_script_without_acts_is_left_to_the_fuzzer() {
        assert_eq!(mutate(&mut [0; 100], SHAPE_BYTES + 3, 100, 1), None);
        assert_eq!(mutate(&mut [0; 3], 2, 3, 1), None);
    }
}
