//! Where an image is cropped, and whether it is mirrored.

use rand::Rng;
use rmae_core::regions::BoundingBox;

/// A box of an image in pixels, and whether it is mirrored left to right
/// after being cut out. Always inside its image and never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Left column.
    pub x: u32,
    /// Top row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Mirrored left to right.
    pub flip: bool,
}

/// Share of the image's area that a random crop covers.
const SCALE: (f64, f64) = (0.2, 1.0);
/// Width over height of a random crop, drawn log-uniformly.
const ASPECT: (f64, f64) = (3.0 / 4.0, 4.0 / 3.0);
/// Length of a crop around an object, of the object's.
const AROUND: (f64, f64) = (1.1, 3.0);
/// Shortest side of such a crop, pixels: a thing of fewer is a smear.
const LEAST_AROUND: f64 = 32.0;
/// Draws before the crop falls back to the centre.
const TRIES: usize = 10;

impl Crop {
    /// The random resized crop of MAE's recipe (scale 0.2–1, aspect 3/4–4/3,
    /// flip with probability 1/2) of a `width`×`height` image.
    pub fn random(width: u32, height: u32, rng: &mut impl Rng) -> Self {
        let area = f64::from(width) * f64::from(height);
        for _ in 0..TRIES {
            let target = area * rng.random_range(SCALE.0..=SCALE.1);
            let aspect = rng.random_range(ASPECT.0.ln()..=ASPECT.1.ln()).exp();
            let w = (target * aspect).sqrt().round() as u32;
            let h = (target / aspect).sqrt().round() as u32;
            if (1..=width).contains(&w) && (1..=height).contains(&h) {
                let x = rng.random_range(0..=width - w);
                let y = rng.random_range(0..=height - h);
                let flip = rng.random_bool(0.5);
                return Self { x, y, width: w, height: h, flip };
            }
        }
        let flip = rng.random_bool(0.5);
        Self { flip, ..Self::centred(width, height, ASPECT) }
    }

    /// A random crop that holds a box: its sides are 1.1 to 3 times as long, its aspect is kept within
    /// 1/2 and 2 where the image of `size` allows it; mirrored with probability 1/2.
    pub fn around(object: BoundingBox, size: (u32, u32), rng: &mut impl Rng) -> Self {
        let grown = |len: u32, by: f64| f64::from(len) * by;
        let (w, h) = (
            grown(object.width, rng.random_range(AROUND.0..=AROUND.1)),
            grown(object.height, rng.random_range(AROUND.0..=AROUND.1)),
        );
        let (w, h) = (w.max(0.5 * h).max(LEAST_AROUND), h.max(0.5 * w).max(LEAST_AROUND));
        let mut span = |from: u32, len: u32, wanted: f64, side: u32| {
            let wanted = (wanted.round() as u32).clamp(len.min(side), side);
            let first = (from + len).saturating_sub(wanted);
            let last = from.min(side - wanted);
            (rng.random_range(first.min(last)..=last), wanted)
        };
        let (x, width) = span(object.x, object.width, w, size.0);
        let (y, height) = span(object.y, object.height, h, size.1);
        Self { x, y, width, height, flip: rng.random_bool(0.5) }
    }

    /// The largest centred square: what evaluation looks at.
    #[must_use]
    pub fn centre(width: u32, height: u32) -> Self {
        Self::centred(width, height, (1.0, 1.0))
    }

    /// The whole image, whatever its aspect.
    #[must_use]
    pub fn whole(width: u32, height: u32) -> Self {
        Self { x: 0, y: 0, width, height, flip: false }
    }

    /// The largest centred box whose aspect lies within `(low, high)`.
    fn centred(width: u32, height: u32, (low, high): (f64, f64)) -> Self {
        let aspect = f64::from(width) / f64::from(height);
        let (w, h) = if aspect < low {
            (width, (f64::from(width) / low).round() as u32)
        } else if aspect > high {
            ((f64::from(height) * high).round() as u32, height)
        } else {
            (width, height)
        };
        let (w, h) = (w.clamp(1, width), h.clamp(1, height));
        let (x, y) = ((width - w) / 2, (height - h) / 2);
        Self { x, y, width: w, height: h, flip: false }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn inside(crop: Crop, width: u32, height: u32) -> bool {
        crop.width > 0 && crop.height > 0 && crop.x + crop.width <= width && crop.y + crop.height <= height
    }

    proptest! {
        #[test]
        fn crops_lie_inside_any_image(width in 1u32..5000, height in 1u32..5000, seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            prop_assert!(inside(Crop::random(width, height, &mut rng), width, height));
            let centre = Crop::centre(width, height);
            prop_assert!(inside(centre, width, height));
            prop_assert_eq!((centre.width, centre.height), (width.min(height), width.min(height)));
        }

        #[test]
        fn a_crop_around_an_object_holds_it_and_stays_in_the_image(
            (w, h) in (1u32..600, 1u32..600), (x, y) in (0.0..1.0f64, 0.0..1.0f64), (bw, bh) in (0.0..1.0f64, 0.0..1.0f64), seed: u64,
        ) {
            let at = |share: f64, side: u32| ((share * f64::from(side)) as u32).min(side - 1);
            let (x, y) = (at(x, w), at(y, h));
            let (width, height) = (1 + at(bw, w - x), 1 + at(bh, h - y));
            let object = BoundingBox { x, y, width, height };
            let crop = Crop::around(object, (w, h), &mut ChaCha8Rng::seed_from_u64(seed));
            prop_assert!(inside(crop, w, h), "{crop:?}");
            prop_assert!(crop.x <= x && crop.y <= y, "{crop:?} {object:?}");
            prop_assert!(crop.x + crop.width >= x + width && crop.y + crop.height >= y + height, "{crop:?} {object:?}");
        }

        #[test]
        fn a_strip_falls_back_to_its_centre(length in 100u32..5000, seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let crop = Crop::random(length, 3, &mut rng);
            prop_assert_eq!((crop.x, crop.y, crop.width, crop.height), ((length - 4) / 2, 0, 4, 3));
        }
    }

    #[test]
    fn crops_are_distributed_as_the_recipe_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (mut area, mut log_aspect, mut flips) = (0.0, 0.0, 0);
        const N: u32 = 20_000;
        for _ in 0..N {
            let crop = Crop::random(1000, 1000, &mut rng);
            let share = f64::from(crop.width * crop.height) / 1e6;
            assert!((0.199..=1.0).contains(&share), "{crop:?}");
            let aspect = f64::from(crop.width) / f64::from(crop.height);
            assert!((0.745..1.345).contains(&aspect), "{crop:?}");
            area += share / f64::from(N);
            log_aspect += aspect.ln() / f64::from(N);
            flips += u32::from(crop.flip);
        }
        // Shares uniform in 0.2..1 and log aspects t uniform in ±ln(4/3), given
        // that the crop fits (share < e^-|t|), have the mean share 0.5384.
        assert!((area - 0.5384).abs() < 0.005, "{area}");
        assert!(log_aspect.abs() < 0.005, "{log_aspect}");
        assert!((9_700..10_300).contains(&flips), "{flips}");
    }
}
