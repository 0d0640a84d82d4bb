//! Regions that have nothing to do with a photo: random round things, to train and to measure
//! against where what counts is that regions mean something.

use rand::Rng;
use rmae_core::prompt::Mask;
use rmae_core::regions::{RegionError, RegionSet};

/// Blobs of a sample: more than are drawn, so that those which touch no visible patch can be left out.
const COUNT: usize = 12;
/// Lengths of a sample's blobs over those of [`blob`], drawn log-uniformly: with these, areas spread
/// as those of Felzenszwalb-Huttenlocher segments in crops of photos do.
const LENGTHS: (f32, f32) = (0.3, 3.5);

/// A round thing without a meaning: a few discs that melt into one another.
pub(crate) fn blob(side: usize, rng: &mut impl Rng) -> Mask {
    melted(side, (0.25, 0.75), 1.0, rng)
}

/// As many blobs as a sample may want, anywhere in it and of the sizes of segments.
pub(super) fn scattered(side: usize, rng: &mut impl Rng) -> Result<RegionSet, RegionError> {
    let mut set = RegionSet::new(side)?;
    for _ in 0..COUNT {
        let length = rng.random_range(LENGTHS.0.ln()..LENGTHS.1.ln()).exp();
        let mask = melted(side, (0.0, 1.0), length, rng);
        set.push_mask(mask.data().to_vec())?;
    }
    Ok(set)
}

/// Discs around a walk that begins within a share of the side.
fn melted(side: usize, begin: (f32, f32), length: f32, rng: &mut impl Rng) -> Mask {
    let scale = side as f32;
    let mut at = [rng.random_range(begin.0..begin.1) * scale, rng.random_range(begin.0..begin.1) * scale];
    let mut discs = vec![];
    for _ in 0..rng.random_range(2..=4) {
        let radius = rng.random_range(0.07..0.18) * scale * length;
        discs.push((at, radius));
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        at = [at[0] + 1.2 * radius * angle.cos(), at[1] + 1.2 * radius * angle.sin()];
    }
    Mask::from_fn(side, side, |x, y| {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        let pull =
            |&([cx, cy], r): &([f32; 2], f32)| (-((x - cx).powi(2) + (y - cy).powi(2)) / (r * r)).exp();
        discs.iter().map(pull).sum::<f32>() > 0.5
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rmae_core::regions::{RegionPolicy, SamplingOptions};

    const SIDE: usize = 64;

    /// Areas of the blobs of some samples, as shares, ascending.
    fn shares(samples: u64) -> Vec<f64> {
        let mut shares: Vec<f64> = (0..samples).flat_map(|seed| areas(&drawn(seed))).collect();
        shares.sort_by(f64::total_cmp);
        shares
    }

    fn areas(maps: &[u8]) -> Vec<f64> {
        let area = |map: &[u8]| map.iter().map(|&v| f64::from(v)).sum::<f64>() / map.len() as f64;
        maps.chunks_exact(SIDE * SIDE).map(area).collect()
    }

    /// All blobs of a sample, in random order.
    fn drawn(seed: u64) -> Vec<u8> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let options = SamplingOptions {
            regions: COUNT,
            patch_size: 8,
            mask_ratio: 0.75,
            policy: RegionPolicy::Random,
            min_patches: 0,
        };
        let ids: Vec<u32> = (0..64).collect();
        scattered(SIDE, rng).unwrap().draw(&options, &ids, rng).unwrap()
    }

    #[test]
    fn blobs_are_of_one_piece_s_size_and_differ() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let blobs: Vec<Mask> = (0..50).map(|_| blob(SIDE, &mut rng)).collect();
        for blob in &blobs {
            let share = blob.area() as f64 / (SIDE * SIDE) as f64;
            assert!((0.005..0.6).contains(&share), "{share}");
        }
        assert_ne!(blobs[0], blobs[1]);
    }

    #[test]
    fn areas_spread_as_those_of_segments() {
        // Segments of photos at the three scales, in random crops: a quarter each below 0.03, 0.08 and
        // 0.26 of the crop.
        let shares = shares(100);
        let quartile = |at: usize| shares[shares.len() * at / 4];
        let [low, middle, high] = [1, 2, 3].map(quartile);
        assert!((0.02..0.045).contains(&low), "{low}");
        assert!((0.06..0.12).contains(&middle), "{middle}");
        assert!((0.19..0.33).contains(&high), "{high}");
    }

    #[test]
    fn a_seed_s_blobs_are_always_the_same_and_another_s_differ() {
        assert_eq!(drawn(1), drawn(1));
        let both = [drawn(1), drawn(2)].concat();
        let maps: std::collections::HashSet<&[u8]> = both.chunks_exact(SIDE * SIDE).collect();
        assert_eq!(maps.len(), 2 * COUNT, "a sample's blobs differ from one another, too");
    }
}
