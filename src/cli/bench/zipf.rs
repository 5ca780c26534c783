//! Who is chosen how often: the Zipf distribution with exponent 1, where the second of many is chosen half as often as the
//! first, the third a third as often. Mailboxes are so: a few are busy, most are not.

/// A choice of `0..count`, the first most often.
pub(super) struct Zipf {
    /// The chance of one of the first so many, from 0 to 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    pub(super) fn new(count: usize) -> Self {
        let sums = (1..=count).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        let mut cumulative: Vec<f64> = sums.collect();
        let total = cumulative.last().copied().unwrap_or(1.0);
        cumulative.iter_mut().for_each(|sum| *sum /= total);
        Self { cumulative }
    }

    /// The rank that belongs to a number from 0 to 1.
    pub(super) fn at(&self, uniform: f64) -> usize {
        let rank = self.cumulative.partition_point(|sum| *sum <= uniform);
        rank.min(self.cumulative.len().saturating_sub(1))
    }
}

/// Numbers without a pattern, the same for the same seed: splitmix64 (Steele, Lea and Flood, 2014). For choices, not keys.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1, without 1.
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Any order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_borders_between_ranks_are_where_the_harmonic_numbers_are() {
        // 1 + 1/2 + 1/3 = 11/6: six elevenths, three, two.
        let zipf = Zipf::new(3);
        let ranks = [0.0, 5.99, 6.01, 8.99, 9.01, 10.99].map(|eleventh| zipf.at(eleventh / 11.0));
        assert_eq!(ranks, [0, 0, 1, 1, 2, 2]);
        assert_eq!((zipf.at(1.0), Zipf::new(1).at(0.7)), (2, 0));
    }

    #[test]
    fn each_rank_is_chosen_as_often_as_it_should_be() {
        let (zipf, mut random, draws) = (Zipf::new(1_000), Random::new(7), 1_000_000);
        let mut counts = vec![0_u32; 1_000];
        (0..draws).for_each(|_| counts[zipf.at(random.uniform())] += 1);
        let harmonic: f64 = (1..=1_000).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1, 2, 3, 10, 100] {
            let expected = f64::from(draws) / harmonic / rank as f64;
            let off = (f64::from(counts[rank - 1]) - expected).abs() / expected.sqrt();
            assert!(off < 5.0, "rank {rank}: {} instead of {expected:.0}", counts[rank - 1]);
        }
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(1).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
