//! The order of samples and their random draws, as functions of the seed and
//! the place in the sequence alone.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A place in the endless sequence of samples: the next one to be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct LoaderPosition {
    /// Passes over the data set that are complete.
    pub epoch: u64,
    /// Samples of this epoch already given.
    pub index: u64,
}

impl LoaderPosition {
    /// The place `count` samples further in a data set of `len` files.
    #[must_use]
    pub fn advanced(self, count: u64, len: usize) -> Self {
        let len = (len as u64).max(1);
        let index = self.index + count;
        Self { epoch: self.epoch + index / len, index: index % len }
    }
}

/// What a random stream is for: streams of one sample never overlap, so that
/// one more draw in the crop, say, leaves the permutations as they were.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stream {
    /// The order of an epoch.
    Order,
    /// Crop and flip.
    Crop,
    /// `ids_shuffle`.
    Shuffle,
    /// The drawing of regions.
    Regions,
    /// Where to look for a replacement of an unreadable image.
    Replacement,
    /// Which source of regions a sample takes.
    Source,
    /// Regions that are made up.
    Blobs,
}

/// The generator of one stream of the sample at `at`.
pub(super) fn rng(seed: u64, at: LoaderPosition, stream: Stream) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&at.epoch.to_le_bytes());
    key[16..24].copy_from_slice(&at.index.to_le_bytes());
    key[24] = stream as u8;
    ChaCha8Rng::from_seed(key)
}

/// Fisher-Yates, written out so that no release of a library changes the order
/// that a seed gives.
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(rng, i as u64 + 1) as usize);
    }
}

/// A uniform number below `bound` (Lemire's multiplication, with rejection).
fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(bound);
        if product as u64 >= threshold {
            return (product >> 64) as u64;
        }
    }
}

/// A random permutation of `0..len`.
pub(super) fn permutation(len: usize, rng: &mut impl Rng) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..len as u32).collect();
    shuffle(&mut ids, rng);
    ids
}

/// The order in which an epoch visits `len` files.
pub(super) fn epoch_order(seed: u64, epoch: u64, len: usize) -> Vec<u32> {
    let at = LoaderPosition { epoch, index: 0 };
    permutation(len, &mut rng(seed, at, Stream::Order))
}

/// The places of `order` to look at for the sample at `at`: its own, then,
/// from a random start, all others.
pub(super) fn probes(seed: u64, at: LoaderPosition, len: usize) -> impl Iterator<Item = usize> {
    let mut rng = rng(seed, at, Stream::Replacement);
    let start = below(&mut rng, len as u64) as usize;
    let own = at.index as usize;
    let others = (0..len).map(move |i| (start + i) % len);
    std::iter::once(own).chain(others.filter(move |&i| i != own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn orders_are_permutations_that_differ_between_epochs(seed: u64, epoch in 0u64..1000, len in 1usize..300) {
            let order = epoch_order(seed, epoch, len);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..len as u32).collect::<Vec<_>>());
            if len > 20 {
                prop_assert_ne!(order, epoch_order(seed, epoch + 1, len));
            }
        }

        #[test]
        fn probes_visit_every_file_once_beginning_with_its_own(seed: u64, len in 1usize..200, pick: u64) {
            let at = LoaderPosition { epoch: 3, index: pick % len as u64 };
            let mut probes: Vec<_> = probes(seed, at, len).collect();
            prop_assert_eq!(probes[0] as u64, at.index);
            probes.sort_unstable();
            prop_assert_eq!(probes, (0..len).collect::<Vec<_>>());
        }

        #[test]
        fn advancing_twice_is_advancing_by_the_sum(a in 0u64..5000, b in 0u64..5000, len in 1usize..300) {
            let start = LoaderPosition { epoch: 1, index: 0 };
            prop_assert_eq!(start.advanced(a, len).advanced(b, len), start.advanced(a + b, len));
        }
    }

    #[test]
    fn shuffles_are_fair() {
        let mut counts = [[0u32; 4]; 4];
        for index in 0..24_000 {
            let at = LoaderPosition { epoch: 0, index };
            let ids = permutation(4, &mut rng(7, at, Stream::Shuffle));
            for (place, &id) in ids.iter().enumerate() {
                counts[place][id as usize] += 1;
            }
        }
        for count in counts.iter().flatten() {
            assert!((5_700..6_300).contains(count), "{counts:?}");
        }
    }

    #[test]
    fn the_order_of_a_seed_is_fixed_for_good() {
        // Resuming an old run depends on it.
        assert_eq!(epoch_order(0, 0, 8), [3, 2, 7, 5, 0, 1, 4, 6]);
    }
}
