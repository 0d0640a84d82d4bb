//! A partition of an image into labelled segments.

use std::collections::HashMap;

use super::{MAX_PIXELS, RegionError, check_buffer, check_sides};

/// An axis-aligned box in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BoundingBox {
    /// Leftmost column.
    pub x: u32,
    /// Topmost row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A label for every pixel, `[height, width]` in raster order.
///
/// Labels are `0..count`, every one occurs, and they are numbered by first
/// occurrence in raster order: equal partitions are equal label maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    width: usize,
    height: usize,
    labels: Vec<u32>,
    count: u32,
}

impl LabelMap {
    /// A map whose labels are already numbered by first occurrence.
    ///
    /// # Errors
    /// A side of zero, a wrong length, or a label out of order.
    pub fn new(width: usize, height: usize, labels: Vec<u32>) -> Result<Self, RegionError> {
        check_buffer("label map", width, height, 1, labels.len())?;
        let mut count = 0;
        for (at, &label) in labels.iter().enumerate() {
            if label > count {
                let (x, y) = (at % width, at / width);
                return Err(RegionError::LabelOrder { label, x, y, limit: count });
            }
            count = count.max(label + 1);
        }
        Ok(Self { width, height, labels, count })
    }

    /// A map from any numbering, such as segment ids or colours: labels are renumbered.
    ///
    /// # Errors
    /// A side of zero or a wrong length.
    pub fn relabel(width: usize, height: usize, mut labels: Vec<u32>) -> Result<Self, RegionError> {
        check_buffer("label map", width, height, 1, labels.len())?;
        let count = number_by_first_occurrence(&mut labels);
        Ok(Self { width, height, labels, count })
    }

    /// [`Self::relabel`] where the caller has checked the sides.
    pub(crate) fn from_valid_parts(width: usize, height: usize, mut labels: Vec<u32>) -> Self {
        debug_assert_eq!(labels.len(), width * height);
        let count = number_by_first_occurrence(&mut labels);
        Self { width, height, labels, count }
    }

    /// A map whose labels are numbered by first occurrence, as the caller has seen to.
    pub(crate) fn from_numbered(width: usize, height: usize, labels: Vec<u32>, count: u32) -> Self {
        debug_assert_eq!(labels.len(), width * height);
        Self { width, height, labels, count }
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> usize {
        self.height
    }

    /// `[height, width]` labels.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Number of labels, at least 1.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Pixels of every label, `[count]`.
    #[must_use]
    pub fn areas(&self) -> Vec<u32> {
        let mut areas = vec![0; self.count as usize];
        for &label in &self.labels {
            areas[label as usize] += 1;
        }
        areas
    }

    /// The binary map of one label, `[height, width]` of 0 and 1.
    ///
    /// # Errors
    /// [`RegionError::NoSuchLabel`].
    pub fn region(&self, label: u32) -> Result<Vec<u8>, RegionError> {
        if label >= self.count {
            return Err(RegionError::NoSuchLabel { label, count: self.count });
        }
        Ok(self.labels.iter().map(|&here| u8::from(here == label)).collect())
    }

    /// The smallest box around every label, `[count]`.
    #[must_use]
    pub fn bounding_boxes(&self) -> Vec<BoundingBox> {
        // Left, top, right, bottom, the last two inclusive.
        let mut corners = vec![[u32::MAX, u32::MAX, 0, 0]; self.count as usize];
        for (y, row) in self.labels.chunks_exact(self.width).enumerate() {
            for (x, &label) in row.iter().enumerate() {
                let (x, y) = (x as u32, y as u32);
                let [left, top, right, bottom] = &mut corners[label as usize];
                *left = (*left).min(x);
                *top = (*top).min(y);
                *right = (*right).max(x);
                *bottom = (*bottom).max(y);
            }
        }
        let to_box = |[x, y, right, bottom]: [u32; 4]| BoundingBox {
            x,
            y,
            width: right - x + 1,
            height: bottom - y + 1,
        };
        corners.into_iter().map(to_box).collect()
    }

    /// Crops and resizes with the nearest label, as the image is cropped and resized.
    ///
    /// The box starts at (`x`, `y`) and is `width` by `height` pixels, in coordinates in which
    /// pixel 0 covers `[0, 1)`; it may be fractional and reach outside, where the border's
    /// labels continue. The centre of output column `i` samples `x + (i + 0.5) · width / side`.
    /// `flip` mirrors the result left to right. Labels outside the crop disappear and the rest
    /// are renumbered.
    ///
    /// # Errors
    /// `side` of zero or too large, a box that is not finite, or one without width or height.
    pub fn crop_resize(
        &self, (x, y, width, height): (f32, f32, f32, f32), side: usize, flip: bool,
    ) -> Result<Self, RegionError> {
        check_sides("crop", side, side)?;
        let mut columns = sample_points("crop width", x, width, side, self.width)?;
        let rows = sample_points("crop height", y, height, side, self.height)?;
        if flip {
            columns.reverse();
        }
        let mut labels = Vec::with_capacity(side * side);
        for row in rows {
            let line = &self.labels[row * self.width..(row + 1) * self.width];
            labels.extend(columns.iter().map(|&column| line[column]));
        }
        Ok(Self::from_valid_parts(side, side, labels))
    }
}

/// The source index of every output pixel along one axis.
pub(crate) fn sample_points(
    name: &'static str, start: f32, length: f32, side: usize, source: usize,
) -> Result<Vec<usize>, RegionError> {
    if !(start.is_finite() && length.is_finite() && length > 0.0) {
        let value = format!("{length} from {start}");
        return Err(RegionError::Parameter { name, value, allowed: "finite and above 0 pixels" });
    }
    let step = f64::from(length) / side as f64;
    let last = (source - 1) as f64;
    let point = |i: usize| (f64::from(start) + (i as f64 + 0.5) * step).floor().clamp(0.0, last);
    Ok((0..side).map(|i| point(i) as usize).collect())
}

/// Renumbers in place; returns how many labels there are.
fn number_by_first_occurrence(labels: &mut [u32]) -> u32 {
    let largest = labels.iter().copied().max().unwrap_or(0) as usize;
    if largest >= MAX_PIXELS || largest / 4 > labels.len() {
        return number_sparse(labels);
    }
    const UNSEEN: u32 = u32::MAX;
    let mut numbers = vec![UNSEEN; largest + 1];
    let mut count = 0;
    for label in labels {
        let number = &mut numbers[*label as usize];
        if *number == UNSEEN {
            *number = count;
            count += 1;
        }
        *label = *number;
    }
    count
}

/// The same for labels too large to index a table with, such as packed colours.
fn number_sparse(labels: &mut [u32]) -> u32 {
    let mut numbers = HashMap::new();
    for label in labels {
        let next = numbers.len() as u32;
        *label = *numbers.entry(*label).or_insert(next);
    }
    numbers.len() as u32
}

/// The adjusted Rand index (Hubert and Arabie 1985) of two partitions of the same pixels:
/// 1 when they are equal, about 0 when they are independent.
///
/// # Errors
/// [`RegionError::SizeMismatch`] when the sides differ.
pub fn adjusted_rand_index(a: &LabelMap, b: &LabelMap) -> Result<f64, RegionError> {
    if (a.width, a.height) != (b.width, b.height) {
        return Err(RegionError::SizeMismatch {
            what: "second label map",
            width: b.width,
            height: b.height,
            expected_width: a.width,
            expected_height: a.height,
        });
    }
    let mut overlaps: HashMap<(u32, u32), u32> = HashMap::new();
    for pair in a.labels.iter().copied().zip(b.labels.iter().copied()) {
        *overlaps.entry(pair).or_insert(0) += 1;
    }
    let both = pairs(overlaps.into_values());
    let (in_a, in_b) = (pairs(a.areas()), pairs(b.areas()));
    let expected = in_a * in_b / pairs([a.labels.len() as u32]).max(1.0);
    let largest = 0.5 * (in_a + in_b);
    // Both partitions trivial in the same way: nothing to disagree about.
    if largest == expected {
        return Ok(1.0);
    }
    Ok((both - expected) / (largest - expected))
}

/// Pairs of pixels within the same group.
fn pairs(sizes: impl IntoIterator<Item = u32>) -> f64 {
    let pairs = |n: u32| u64::from(n) * u64::from(n).saturating_sub(1) / 2;
    // Exact below 2^53 pairs, about a hundred million pixels in one group.
    sizes.into_iter().map(pairs).sum::<u64>() as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_must_be_numbered_by_first_occurrence() {
        assert!(LabelMap::new(2, 2, vec![0, 1, 1, 2]).is_ok());
        let error = LabelMap::new(2, 2, vec![0, 1, 3, 2]).unwrap_err();
        assert_eq!(error, RegionError::LabelOrder { label: 3, x: 0, y: 1, limit: 2 });
        assert!(matches!(LabelMap::new(1, 1, vec![1]), Err(RegionError::LabelOrder { .. })));
        assert!(matches!(LabelMap::new(0, 3, vec![]), Err(RegionError::Empty { .. })));
        assert!(matches!(
            LabelMap::relabel(2, 2, vec![0; 3]),
            Err(RegionError::BufferLength { expected: 4, actual: 3, .. })
        ));
        let huge = LabelMap::relabel(usize::MAX, 2, vec![0]);
        assert!(matches!(huge, Err(RegionError::TooLarge { .. })));
    }

    #[test]
    fn relabelling_takes_any_numbers() {
        let map = LabelMap::relabel(3, 1, vec![u32::MAX, 7, u32::MAX]).unwrap();
        assert_eq!(map.labels(), [0, 1, 0]);
        let map = LabelMap::relabel(3, 1, vec![2, 2, 1]).unwrap();
        assert_eq!((map.labels(), map.count()), ([0, 0, 1].as_slice(), 2));
    }

    #[test]
    fn measures_every_label() {
        // 0 0 1
        // 2 0 1
        let map = LabelMap::new(3, 2, vec![0, 0, 1, 2, 0, 1]).unwrap();
        assert_eq!(map.areas(), [3, 2, 1]);
        assert_eq!(map.region(1).unwrap(), [0, 0, 1, 0, 0, 1]);
        assert_eq!(map.region(3), Err(RegionError::NoSuchLabel { label: 3, count: 3 }));
        let bounds = |x, y, width, height| BoundingBox { x, y, width, height };
        let expected = [bounds(0, 0, 2, 2), bounds(2, 0, 1, 2), bounds(0, 1, 1, 1)];
        assert_eq!(map.bounding_boxes(), expected);
    }

    #[test]
    fn crops_at_pixel_centres() {
        // Four columns, halved: centres at 1.0 and 3.0 belong to columns 1 and 3.
        let map = LabelMap::new(4, 4, (0..16).collect()).unwrap();
        let whole = (0.0, 0.0, 4.0, 4.0);
        let source = |side, crop, flip| {
            let (x, y, width, height): (f32, f32, f32, f32) = crop;
            let columns = sample_points("", x, width, side, 4).unwrap();
            let rows = sample_points("", y, height, side, 4).unwrap();
            (columns, rows, map.crop_resize(crop, side, flip).unwrap())
        };
        assert_eq!(source(2, whole, false).0, [1, 3]);
        assert_eq!(source(4, whole, false).2, map);
        assert_eq!(source(8, whole, false).0, [0, 0, 1, 1, 2, 2, 3, 3]);
        let (columns, rows, cropped) = source(2, (1.0, 2.0, 2.0, 2.0), false);
        assert_eq!((columns, rows), (vec![1, 2], vec![2, 3]));
        assert_eq!(cropped.count(), 4);
        // Beyond the border its labels continue.
        assert_eq!(source(4, (-2.0, 0.0, 4.0, 4.0), false).0, [0, 0, 0, 1]);
        assert_eq!(source(2, (3.0, 3.0, 9.0, 9.0), false).2.count(), 1);
    }

    #[test]
    fn flips_left_to_right_and_renumbers() {
        let map = LabelMap::new(3, 3, vec![0, 1, 1, 0, 1, 2, 0, 2, 2]).unwrap();
        let flipped = map.crop_resize((0.0, 0.0, 3.0, 3.0), 3, true).unwrap();
        assert_eq!(flipped.labels(), [0, 0, 1, 2, 0, 1, 2, 2, 1]);
    }

    #[test]
    fn bad_crops_are_refused() {
        let map = LabelMap::new(1, 1, vec![0]).unwrap();
        assert!(map.crop_resize((0.0, 0.0, 1.0, 1.0), 0, false).is_err());
        for crop in [(f32::NAN, 0.0, 1.0, 1.0), (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, -1.0)] {
            assert!(matches!(map.crop_resize(crop, 2, false), Err(RegionError::Parameter { .. })));
        }
    }

    #[test]
    fn rand_index_has_its_known_values() {
        let map = |labels: &[u32]| LabelMap::relabel(labels.len(), 1, labels.to_vec()).unwrap();
        let index = |a: &[u32], b: &[u32]| adjusted_rand_index(&map(a), &map(b)).unwrap();
        assert_eq!(index(&[0, 0, 1, 1], &[1, 1, 0, 0]), 1.0);
        assert_eq!(index(&[0, 0, 0, 0], &[5, 5, 5, 5]), 1.0);
        assert_eq!(index(&[0, 0, 0, 0], &[0, 1, 2, 3]), 0.0);
        // By hand: of 6 pairs, 1 and 2 are together, 1 in both: (1 - 1/3) / (3/2 - 1/3).
        assert!((index(&[0, 0, 1, 2], &[0, 0, 1, 1]) - 4.0 / 7.0).abs() < 1e-12);
        assert!((index(&[0, 0, 1, 1], &[0, 1, 0, 1]) + 0.5).abs() < 1e-12);
        assert!(adjusted_rand_index(&map(&[0]), &map(&[0, 1])).is_err());
    }

    proptest! {
        #[test]
        fn relabelling_keeps_the_partition(
            width in 1..20usize,
            labels in proptest::collection::vec(prop_oneof![0..9u32, 0..u32::MAX], 1..200),
        ) {
            let height = labels.len() / width;
            prop_assume!(height > 0);
            let labels = labels[..width * height].to_vec();
            let map = LabelMap::relabel(width, height, labels.clone()).unwrap();
            for (a, b) in labels.iter().zip(map.labels()) {
                for (c, d) in labels.iter().zip(map.labels()) {
                    prop_assert_eq!(a == c, b == d);
                }
            }
            prop_assert_eq!(LabelMap::new(width, height, map.labels().to_vec()).unwrap(), map);
        }
    }
}
