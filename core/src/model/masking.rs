//! Permutations of patches: the masking of MAE as an input of the model.

use rand::Rng;
use rand::seq::SliceRandom;

/// A random permutation of `patches` ids; the first `int(patches·(1−mask_ratio))` stay visible.
pub fn shuffle_ids(patches: usize, rng: &mut impl Rng) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..patches as u32).collect();
    ids.shuffle(rng);
    ids
}

/// The inverse of each permutation in `ids_shuffle [B, patches]`, i.e. for each patch its place in
/// the permutation. Ids that are not below `patches` are left out (their places stay 0).
#[must_use]
pub fn restore_ids(ids_shuffle: &[u32], patches: usize) -> Vec<u32> {
    let mut restore = vec![0; ids_shuffle.len()];
    for (ids, restore) in ids_shuffle.chunks(patches.max(1)).zip(restore.chunks_mut(patches.max(1))) {
        for (place, &id) in ids.iter().enumerate() {
            if let Some(r) = restore.get_mut(id as usize) {
                *r = place as u32;
            }
        }
    }
    restore
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn restore_inverts_shuffle() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let ids: Vec<u32> = (0..3).flat_map(|_| shuffle_ids(13, &mut rng)).collect();
        let restore = restore_ids(&ids, 13);
        for b in 0..3 {
            for place in 0..13 {
                assert_eq!(restore[b * 13 + ids[b * 13 + place] as usize], place as u32);
            }
        }
    }
}
