//! Drawing the `k` regions of a training sample.
//!
//! A [`RegionSet`] holds every region of one image, already cropped and flipped
//! with it: each label of each label map, and each binary mask. From it,
//! [`RegionSet::draw`] takes `k` maps (paper, section 3.2 and appendix):
//! without replacement when there are at least `k`; all of them, repeated and
//! shuffled, when there are fewer; all-zero maps when there is none.

use rand::Rng;
use rand::seq::SliceRandom;

use super::label_map::sample_points;
use super::{LabelMap, RegionError, check_buffer, check_sides};

/// Which regions may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RegionPolicy {
    /// Any region (`random`).
    #[default]
    Random,
    /// Only regions that touch a visible patch of this image's permutation (`random_fg`).
    RandomForeground,
}

/// How regions are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingOptions {
    /// `k`, regions drawn for an image (paper: 8).
    pub regions: usize,
    /// `p`, side of a patch in pixels; divides the side of the maps.
    pub patch_size: usize,
    /// `β_R`, the region mask ratio, within `[0, 1)`; decides which patches are visible.
    pub mask_ratio: f64,
    /// Which regions may be drawn.
    pub policy: RegionPolicy,
    /// Regions with a pixel in fewer patches than this are left out; 0 or 1 keeps all.
    pub min_patches: usize,
}

/// The visible patches of a permutation: its first `int(L · (1 − mask_ratio))` ids.
#[must_use]
pub fn visible_patches(ids_shuffle: &[u32], mask_ratio: f64) -> &[u32] {
    let visible = (ids_shuffle.len() as f64 * (1.0 - mask_ratio)) as usize;
    &ids_shuffle[..visible.min(ids_shuffle.len())]
}

/// Every region of one image at the model's resolution, `side` by `side` pixels.
#[derive(Debug, Clone)]
pub struct RegionSet {
    side: usize,
    label_maps: Vec<LabelMap>,
    masks: Vec<Vec<u8>>,
}

/// One region of a [`RegionSet`].
#[derive(Debug, Clone, Copy)]
enum Region {
    Label { map: usize, label: u32 },
    Mask(usize),
}

impl RegionSet {
    /// A set without a region.
    ///
    /// # Errors
    /// A side of zero or too large.
    pub fn new(side: usize) -> Result<Self, RegionError> {
        check_sides("region map", side, side)?;
        Ok(Self { side, label_maps: Vec::new(), masks: Vec::new() })
    }

    /// Adds every label of a map as a region.
    ///
    /// # Errors
    /// [`RegionError::SizeMismatch`] when the map is not `side` by `side`.
    pub fn push_labels(&mut self, map: LabelMap) -> Result<(), RegionError> {
        if (map.width(), map.height()) != (self.side, self.side) {
            return Err(RegionError::SizeMismatch {
                what: "label map",
                width: map.width(),
                height: map.height(),
                expected_width: self.side,
                expected_height: self.side,
            });
        }
        self.label_maps.push(map);
        Ok(())
    }

    /// Adds one binary mask, `[side, side]`, as a region; anything but 0 counts as inside. A mask
    /// without a pixel inside (cropped away) is no region and is left out.
    ///
    /// # Errors
    /// [`RegionError::BufferLength`].
    pub fn push_mask(&mut self, mut mask: Vec<u8>) -> Result<(), RegionError> {
        check_buffer("mask", self.side, self.side, 1, mask.len())?;
        mask.iter_mut().for_each(|inside| *inside = u8::from(*inside != 0));
        if mask.contains(&1) {
            self.masks.push(mask);
        }
        Ok(())
    }

    /// Number of regions.
    #[must_use]
    pub fn len(&self) -> usize {
        let labels = self.label_maps.iter().map(|map| map.count() as usize);
        labels.sum::<usize>() + self.masks.len()
    }

    /// Whether there is no region.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Draws `options.regions` binary maps, `[k, side, side]` of 0 and 1.
    ///
    /// `ids_shuffle` is the image's permutation of its `L` patches, `[L]`.
    ///
    /// # Errors
    /// [`RegionError::Parameter`] when the patch does not divide the side, the mask ratio is
    /// outside `[0, 1)`, or `ids_shuffle` is not as long as there are patches or names one that
    /// does not exist.
    pub fn draw(
        &self, options: &SamplingOptions, ids_shuffle: &[u32], rng: &mut impl Rng,
    ) -> Result<Vec<u8>, RegionError> {
        self.check(options, ids_shuffle)?;
        let mut candidates = self.candidates(options, ids_shuffle);
        candidates.shuffle(rng);
        let mut drawn: Vec<Region> = candidates.iter().copied().cycle().take(options.regions).collect();
        if candidates.len() < options.regions {
            drawn.shuffle(rng);
        }
        let pixels = self.side * self.side;
        let mut maps = vec![0; options.regions * pixels];
        for (map, region) in maps.chunks_exact_mut(pixels).zip(drawn) {
            self.write(region, map);
        }
        Ok(maps)
    }

    fn check(&self, options: &SamplingOptions, ids_shuffle: &[u32]) -> Result<(), RegionError> {
        let parameter = |name, value: String, allowed| Err(RegionError::Parameter { name, value, allowed });
        if options.patch_size == 0 || !self.side.is_multiple_of(options.patch_size) {
            let value = format!("{} for maps of {} pixels", options.patch_size, self.side);
            return parameter("patch_size", value, "a divisor of the side");
        }
        if !(0.0..1.0).contains(&options.mask_ratio) {
            let value = options.mask_ratio.to_string();
            return parameter("mask_ratio", value, "at least 0 and below 1");
        }
        let patches = self.grid(options).pow(2);
        if ids_shuffle.len() != patches {
            let value = format!("{} long for {patches} patches", ids_shuffle.len());
            return parameter("ids_shuffle", value, "as long as there are patches");
        }
        if let Some(id) = ids_shuffle.iter().find(|&&id| id as usize >= patches) {
            let value = format!("naming patch {id} of {patches}");
            return parameter("ids_shuffle", value, "a permutation of the patches");
        }
        Ok(())
    }

    /// Patches along a side.
    fn grid(&self, options: &SamplingOptions) -> usize {
        self.side / options.patch_size
    }

    /// The regions that may be drawn.
    fn candidates(&self, options: &SamplingOptions, ids_shuffle: &[u32]) -> Vec<Region> {
        let visible = visible_patches(ids_shuffle, options.mask_ratio);
        let eligible = |touched: &[bool]| {
            let enough = options.min_patches <= 1
                || touched.iter().filter(|&&touched| touched).count() >= options.min_patches;
            let foreground = options.policy == RegionPolicy::Random
                || visible.iter().any(|&patch| touched[patch as usize]);
            enough && foreground
        };
        let patches = ids_shuffle.len();
        let mut candidates = Vec::new();
        for (map, labels) in self.label_maps.iter().enumerate() {
            let touched = self.touched(options, labels.labels(), labels.count() as usize);
            for (label, touched) in (0..).zip(touched.chunks_exact(patches)) {
                if eligible(touched) {
                    candidates.push(Region::Label { map, label });
                }
            }
        }
        for (at, mask) in self.masks.iter().enumerate() {
            // Outside is label 0 of the mask, inside is label 1.
            if eligible(&self.touched(options, mask, 2)[patches..]) {
                candidates.push(Region::Mask(at));
            }
        }
        candidates
    }

    /// Whether each label has a pixel in each patch, `[count, L]`.
    fn touched<T: Copy + Into<u32>>(
        &self, options: &SamplingOptions, labels: &[T], count: usize,
    ) -> Vec<bool> {
        let grid = self.grid(options);
        let mut touched = vec![false; count * grid * grid];
        for (y, row) in labels.chunks_exact(self.side).enumerate() {
            let first = y / options.patch_size * grid;
            for (column, span) in row.chunks_exact(options.patch_size).enumerate() {
                for &label in span {
                    let label: u32 = label.into();
                    touched[label as usize * grid * grid + first + column] = true;
                }
            }
        }
        touched
    }

    fn write(&self, region: Region, out: &mut [u8]) {
        match region {
            Region::Mask(at) => out.copy_from_slice(&self.masks[at]),
            Region::Label { map, label } => {
                for (out, &here) in out.iter_mut().zip(self.label_maps[map].labels()) {
                    *out = u8::from(here == label);
                }
            }
        }
    }
}

/// Crops, resizes and flips one binary mask `[height, width]` exactly as
/// [`LabelMap::crop_resize`] does a label map; `[side, side]`.
///
/// # Errors
/// A side of zero, a wrong length, or a crop box that is not finite or empty.
pub fn crop_resize_mask(
    mask: &[u8], (width, height): (usize, usize), (x, y, crop_width, crop_height): (f32, f32, f32, f32),
    side: usize, flip: bool,
) -> Result<Vec<u8>, RegionError> {
    check_buffer("mask", width, height, 1, mask.len())?;
    check_sides("crop", side, side)?;
    let mut columns = sample_points("crop width", x, crop_width, side, width)?;
    if flip {
        columns.reverse();
    }
    let rows = sample_points("crop height", y, crop_height, side, height)?;
    let lines = rows.into_iter().map(|row| &mask[row * width..(row + 1) * width]);
    Ok(lines.flat_map(|line| columns.iter().map(|&column| line[column])).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const SIDE: usize = 8;
    const OPTIONS: SamplingOptions = SamplingOptions {
        regions: 3,
        patch_size: 2,
        mask_ratio: 0.75,
        policy: RegionPolicy::Random,
        min_patches: 0,
    };

    fn identity() -> Vec<u32> {
        (0..16).collect()
    }

    /// One label for each of the eight columns.
    fn columns() -> RegionSet {
        let labels = (0..64).map(|at| at % 8).collect();
        let mut set = RegionSet::new(SIDE).unwrap();
        set.push_labels(LabelMap::new(SIDE, SIDE, labels).unwrap()).unwrap();
        set
    }

    /// How often each distinct map was drawn.
    fn tally(maps: &[u8]) -> BTreeMap<Vec<u8>, usize> {
        let mut tally = BTreeMap::new();
        for map in maps.chunks_exact(SIDE * SIDE) {
            *tally.entry(map.to_vec()).or_insert(0) += 1;
        }
        tally
    }

    fn draw(set: &RegionSet, options: &SamplingOptions, seed: u64) -> Vec<u8> {
        set.draw(options, &identity(), &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
    }

    #[test]
    fn enough_regions_are_drawn_without_replacement_and_uniformly() {
        let mut totals = BTreeMap::new();
        for seed in 0..800 {
            let tally = tally(&draw(&columns(), &OPTIONS, seed));
            assert_eq!(tally.len(), 3, "three different regions");
            for map in tally.into_keys() {
                assert_eq!(map.iter().map(|&v| usize::from(v)).sum::<usize>(), SIDE);
                *totals.entry(map).or_insert(0) += 1;
            }
        }
        // Each of 8 columns is expected 300 times, with a standard deviation below 14.
        assert_eq!(totals.len(), 8);
        assert!(totals.values().all(|&n: &usize| n.abs_diff(300) < 70), "{:?}", totals.values());
    }

    #[test]
    fn few_regions_are_repeated_evenly_and_shuffled() {
        let options = SamplingOptions { regions: 20, ..OPTIONS };
        let maps = draw(&columns(), &options, 1);
        let tally = tally(&maps);
        assert_eq!(tally.len(), 8);
        assert!(tally.values().all(|n| (2..=3).contains(n)));
        let pixels = SIDE * SIDE;
        assert_ne!(maps[..8 * pixels], maps[8 * pixels..16 * pixels], "shuffled after tiling");
    }

    #[test]
    fn no_region_gives_zero_maps() {
        let set = RegionSet::new(SIDE).unwrap();
        assert!(set.is_empty());
        assert_eq!(draw(&set, &OPTIONS, 0), vec![0; 3 * SIDE * SIDE]);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        assert_eq!(draw(&columns(), &OPTIONS, 5), draw(&columns(), &OPTIONS, 5));
        assert_ne!(draw(&columns(), &OPTIONS, 5), draw(&columns(), &OPTIONS, 6));
    }

    #[test]
    fn foreground_regions_touch_a_visible_patch() {
        // Of 4x4 patches, int(16 · 0.25) = 4 are visible: these, all in the leftmost column.
        let ids_shuffle = [0, 4, 8, 12, 1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15];
        assert_eq!(visible_patches(&ids_shuffle, 0.75), [0, 4, 8, 12]);
        let options = SamplingOptions { policy: RegionPolicy::RandomForeground, ..OPTIONS };
        for seed in 0..50 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let maps = columns().draw(&options, &ids_shuffle, &mut rng).unwrap();
            let tally = tally(&maps);
            assert_eq!(tally.len(), 2, "pixel columns 0 and 1, of which one repeated");
            assert!(tally.keys().all(|map| map[0] == 1 || map[1] == 1));
        }
        // One visible patch is enough.
        let mut dot = RegionSet::new(SIDE).unwrap();
        dot.push_mask((0..64).map(|at| u8::from(at == 0)).collect()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let maps = dot.draw(&options, &ids_shuffle, &mut rng).unwrap();
        assert_eq!(maps.iter().filter(|&&v| v == 1).count(), 3);
        // A permutation whose visible patches hold no pixel of the only region.
        let mut corner = RegionSet::new(SIDE).unwrap();
        corner.push_mask((0..64).map(|at| u8::from(at == 63)).collect()).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let maps = corner.draw(&options, &ids_shuffle, &mut rng).unwrap();
        assert!(maps.iter().all(|&v| v == 0));
        let anywhere = corner.draw(&OPTIONS, &ids_shuffle, &mut rng).unwrap();
        assert_eq!(anywhere.iter().filter(|&&v| v == 1).count(), 3);
    }

    #[test]
    fn regions_in_too_few_patches_are_dropped() {
        // A single pixel, one patch; four pixels around a corner of patches, four patches.
        let mask = |pixels: &[usize]| (0..64).map(|at| u8::from(pixels.contains(&at))).collect();
        let mut set = RegionSet::new(SIDE).unwrap();
        set.push_mask(mask(&[0])).unwrap();
        set.push_mask(mask(&[9, 10, 17, 18])).unwrap();
        set.push_mask(mask(&[])).unwrap();
        assert_eq!(set.len(), 2);
        let drawn = |min_patches| tally(&draw(&set, &SamplingOptions { min_patches, ..OPTIONS }, 0));
        assert_eq!(drawn(1).len(), 2);
        assert_eq!(drawn(2).len(), 1);
        assert_eq!(drawn(2).keys().next().unwrap()[9], 1);
        assert_eq!(drawn(4), drawn(2));
        assert_eq!(drawn(5).keys().next().unwrap(), &vec![0; 64]);
    }

    #[test]
    fn labels_and_masks_are_drawn_together() {
        let mut set = columns();
        set.push_labels(LabelMap::new(SIDE, SIDE, vec![0; 64]).unwrap()).unwrap();
        set.push_mask((0..64).map(|at| if at < 8 { 255 } else { 0 }).collect()).unwrap();
        assert_eq!(set.len(), 10);
        let maps = draw(&set, &SamplingOptions { regions: 10, ..OPTIONS }, 3);
        let tally = tally(&maps);
        assert_eq!(tally.len(), 10);
        assert!(tally.contains_key(&vec![1; 64]), "the whole image");
        assert!(maps.iter().all(|&v| v <= 1));
    }

    #[test]
    fn bad_input_is_named() {
        let set = columns();
        let message = |options: SamplingOptions, ids: &[u32]| {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            set.draw(&options, ids, &mut rng).unwrap_err().to_string()
        };
        let odd = SamplingOptions { patch_size: 3, ..OPTIONS };
        assert!(message(odd, &identity()).starts_with("patch_size is 3 for maps of 8 pixels"));
        let none = SamplingOptions { patch_size: 0, ..OPTIONS };
        assert!(message(none, &identity()).starts_with("patch_size is 0"));
        let all = SamplingOptions { mask_ratio: 1.0, ..OPTIONS };
        assert!(message(all, &identity()).starts_with("mask_ratio is 1"));
        assert!(message(OPTIONS, &[0]).starts_with("ids_shuffle is 1 long for 16 patches"));
        assert!(message(OPTIONS, &[16; 16]).starts_with("ids_shuffle is naming patch 16 of 16"));
        let mut set = RegionSet::new(SIDE).unwrap();
        assert!(set.push_mask(vec![0; 3]).is_err());
        assert!(set.push_labels(LabelMap::new(1, 1, vec![0]).unwrap()).is_err());
        assert!(RegionSet::new(0).is_err());
    }

    #[test]
    fn masks_are_cropped_as_label_maps_are() {
        let (width, height) = (7, 5);
        let mask: Vec<u8> = (0..35).map(|at| u8::from(at % 3 == 0)).collect();
        let labels = mask.iter().map(|&v| u32::from(v)).collect();
        let map = LabelMap::relabel(width, height, labels).unwrap();
        for flip in [false, true] {
            let crop = (1.3, 0.4, 4.9, 3.7);
            let mask = crop_resize_mask(&mask, (width, height), crop, 6, flip).unwrap();
            let expected = LabelMap::relabel(6, 6, mask.into_iter().map(u32::from).collect());
            assert_eq!(map.crop_resize(crop, 6, flip), expected);
        }
    }
}
