//! Where choices come from: a seed, by splitmix64, so that a trace never changes with a library; or somebody outside, who gives the
//! first few and leaves the rest to a seed made of them.

/// How many choices somebody outside gives for one act.
pub const CHOICES: usize = 7;

/// A generator of numbers that look random, behind those that were given.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
    given: [u8; CHOICES],
    /// How many of `given` were used up.
    used: usize,
}

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed, given: [0; CHOICES], used: CHOICES }
    }

    /// Gives these first: a byte for a choice of up to 256, two for one of up to 65,536.
    pub(crate) const fn given(given: [u8; CHOICES]) -> Self {
        let [a, b, c, d, e, f, g] = given;
        Self { state: u64::from_be_bytes([0, a, b, c, d, e, f, g]), given, used: 0 }
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) const fn below(&mut self, n: u64) -> u64 {
        let bytes = if n <= 1 << 8 { 1 } else { 2 };
        if n > 1 << 16 || self.used + bytes > CHOICES {
            return self.next() % n;
        }
        let mut number = 0;
        let end = self.used + bytes;
        while self.used < end {
            number = number << 8 | self.given[self.used] as u64;
            self.used += 1;
        }
        number % n
    }

    /// True once in `n` times.
    pub(crate) const fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of several.
    pub(crate) fn among<T: Copy>(&mut self, several: &[T]) -> T {
        several[self.below(several.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_comes_first_and_then_what_follows_from_it() {
        let mut rng = Rng::given([7, 1, 2, 3, 4, 5, 6]);
        assert_eq!((rng.below(10), rng.below(1_000), rng.below(256)), (7, 258, 3));
        let rest: Vec<u64> = (0..6).map(|_| rng.below(100)).collect();
        assert_eq!(rest[..3], [4, 5, 6]);
        let mut same = Rng::given([7, 1, 2, 3, 4, 5, 6]);
        (0..6).for_each(|_| assert!(same.below(9) < 9));
        assert_eq!(same.next(), { Rng::given([7, 1, 2, 3, 4, 5, 6]) }.next());
    }

    #[test]
    fn a_seed_gives_what_it_always_gave() {
        let mut rng = Rng::new(0);
        assert_eq!(rng.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(rng.below(1_000), 0x6e78_9e6a_a1b9_65f4 % 1_000);
    }
}
