//! Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation"
//! (IJCV 2004): the unsupervised regions of R-MAE.
//!
//! Pixels are the nodes of a graph whose edges join 8-neighbours and weigh the
//! Euclidean distance of their smoothed colours. Edges are visited from light
//! to heavy; one joins its two segments if it is lighter than both segments'
//! heaviest inner edge plus `scale / size`. Then segments below `min_size` are
//! joined to the neighbour across their lightest edge. The partition agrees with
//! that of scikit-image's `segmentation.felzenszwalb` for the same numbers.

use super::edges::{Edge, TileEdges};
use super::forest::{Forest, Graph, Pixels};
use super::merge::Merger;
use super::smoothing::Colours;
use super::tiles::{Area, Tiling};
use super::{LabelMap, RegionError, check_buffer};

/// Colours are compared in `[0, 1]`, whereas `scale` is customarily given for `[0, 255]`.
const SCALE_UNIT: f64 = 255.0;
/// An image no larger than this either way is one tile: there is nothing to be put together then.
const ONE_TILE: usize = 512;
/// Larger tiles leave less to be put together, but no longer fit the caches. A smaller factor has
/// what is left looked at more often, a larger one leaves parts that no longer fit.
const TILING: Tiling = Tiling { side: 256, factor: 8 };
/// A wider Gaussian is surely a mistake, and its kernel would only cost time.
const MAX_SIGMA: f64 = 1000.0;

/// What steers the segmentation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FelzenszwalbParams {
    /// Preference for large segments, in the customary unit (paper: 500, 1000, 1500). Above 0.
    pub scale: f64,
    /// Standard deviation in pixels of the Gaussian that smooths the image first. 0 for none.
    pub sigma: f64,
    /// Segments of fewer pixels than this are joined to a neighbour.
    pub min_size: usize,
}

impl FelzenszwalbParams {
    /// R-MAE's smoothing.
    pub const SIGMA: f64 = 0.8;

    /// R-MAE's convention: `min_size` equal to `scale`, sigma 0.8.
    #[must_use]
    pub fn at_scale(scale: u32) -> Self {
        Self { scale: f64::from(scale), sigma: Self::SIGMA, min_size: scale as usize }
    }

    /// Whether the numbers can be used.
    ///
    /// # Errors
    /// [`RegionError::Parameter`] for a `scale` that is not positive and finite, or a `sigma`
    /// outside `[0, 1000]`.
    pub fn validate(&self) -> Result<(), RegionError> {
        if !(self.scale > 0.0 && self.scale.is_finite()) {
            return Err(parameter("scale", self.scale, "finite and above 0"));
        }
        if !(0.0..=MAX_SIGMA).contains(&self.sigma) {
            return Err(parameter("sigma", self.sigma, "between 0 and 1000 pixels"));
        }
        Ok(())
    }
}

fn parameter(name: &'static str, value: f64, allowed: &'static str) -> RegionError {
    RegionError::Parameter { name, value: value.to_string(), allowed }
}

/// Segments one image: `rgb` is `[height, width, 3]`, 8 bits a channel.
///
/// For many images, keep a [`Felzenszwalb`], which reuses its buffers.
///
/// # Errors
/// A side of zero, a buffer of the wrong length, or parameters out of range.
pub fn felzenszwalb(
    rgb: &[u8], width: usize, height: usize, params: &FelzenszwalbParams,
) -> Result<LabelMap, RegionError> {
    Felzenszwalb::new().segment(rgb, width, height, params)
}

/// Segments one image at several scales: one map for each element of `scales`, in their order.
///
/// # Errors
/// As [`felzenszwalb`].
pub fn felzenszwalb_scales(
    rgb: &[u8], width: usize, height: usize, scales: &[FelzenszwalbParams],
) -> Result<Vec<LabelMap>, RegionError> {
    Felzenszwalb::new().segment_scales(rgb, width, height, scales)
}

/// A workspace for segmenting many images: allocates only when one is larger than all before.
#[derive(Debug, Default)]
pub struct Felzenszwalb {
    colours: Colours,
    edges: TileEdges,
    forest: Forest<Edge>,
    mergers: Vec<Merger>,
}

impl Felzenszwalb {
    /// An empty workspace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// As the function [`felzenszwalb`].
    ///
    /// # Errors
    /// As [`felzenszwalb`].
    pub fn segment(
        &mut self, rgb: &[u8], width: usize, height: usize, params: &FelzenszwalbParams,
    ) -> Result<LabelMap, RegionError> {
        let mut maps = self.segment_scales(rgb, width, height, std::slice::from_ref(params))?;
        Ok(maps.swap_remove(0))
    }

    /// As [`felzenszwalb_scales`]. Neighbouring elements of the same sigma share smoothing
    /// and sorting, which is half of the work.
    ///
    /// # Errors
    /// As [`felzenszwalb`].
    pub fn segment_scales(
        &mut self, rgb: &[u8], width: usize, height: usize, scales: &[FelzenszwalbParams],
    ) -> Result<Vec<LabelMap>, RegionError> {
        check_buffer("RGB image", width, height, 3, rgb.len())?;
        scales.iter().try_for_each(FelzenszwalbParams::validate)?;
        let one_tile = width.max(height) <= ONE_TILE;
        let tiling = if one_tile { Tiling { side: ONE_TILE, ..TILING } } else { TILING };
        let groups = scales.chunk_by(|a, b| a.sigma == b.sigma);
        Ok(groups.flat_map(|group| self.segment_group(rgb, (width, height), group, tiling)).collect())
    }

    /// Segments at several scales of one sigma.
    fn segment_group(
        &mut self, rgb: &[u8], sides: (usize, usize), group: &[FelzenszwalbParams], tiling: Tiling,
    ) -> Vec<LabelMap> {
        self.colours.smooth(rgb, sides, group[0].sigma);
        let top = tiling.top(sides);
        self.mergers.resize_with(group.len(), Merger::default);
        for (merger, params) in self.mergers.iter_mut().zip(group) {
            merger.reset(sides.0 * sides.1, params.scale / SCALE_UNIT, top);
        }
        self.segment_part(top, Area { x: 0, y: 0, width: sides.0, height: sides.1 }, group, tiling);
        let finish = |(merger, params): (&mut Merger, &FelzenszwalbParams)| {
            let (labels, count) = merger.finish(&self.colours, params);
            LabelMap::from_numbered(sides.0, sides.1, labels, count)
        };
        self.mergers.iter_mut().zip(group).map(finish).collect()
    }

    /// Decides what can be decided within a part of a level.
    fn segment_part(&mut self, level: usize, part: Area, group: &[FelzenszwalbParams], tiling: Tiling) {
        if level == 0 {
            return self.segment_tile(part, group, tiling);
        }
        self.mergers.iter_mut().for_each(|merger| merger.open(level));
        for inner in tiling.parts(part, level - 1) {
            self.segment_part(level - 1, inner, group, tiling);
        }
        for (merger, params) in self.mergers.iter_mut().zip(group) {
            merger.close(level, &part, &self.colours, params.scale / SCALE_UNIT);
        }
    }

    fn segment_tile(&mut self, tile: Area, group: &[FelzenszwalbParams], tiling: Tiling) {
        let (buckets, asleep) = self.edges.build(&self.colours, &tile);
        for (merger, params) in self.mergers.iter_mut().zip(group) {
            let scale = params.scale / SCALE_UNIT;
            let graph = Graph { nodes: Pixels, weights: self.colours.weights(tile), scale };
            self.forest.reset(tile.width * tile.height, scale, asleep);
            merger.hold_borders(&mut self.forest, &self.colours, &tile, tiling);
            self.forest.join_similar(&graph, &buckets);
            merger.add(&mut self.forest, &graph.weights, self.colours.width);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHARP: FelzenszwalbParams = FelzenszwalbParams { scale: 20.0, sigma: 0.0, min_size: 0 };

    #[test]
    fn two_colours_are_two_segments() {
        let rgb: Vec<u8> = (0..6 * 4).flat_map(|at| [if at % 6 < 2 { 0 } else { 90 }; 3]).collect();
        let map = felzenszwalb(&rgb, 6, 4, &SHARP).unwrap();
        assert_eq!(map.areas(), [8, 16]);
        assert_eq!(map.bounding_boxes()[1].x, 2);
        let joined = felzenszwalb(&rgb, 6, 4, &FelzenszwalbParams { min_size: 9, ..SHARP });
        assert_eq!(joined.unwrap().count(), 1);
    }

    /// "Lighter than" is strict: weight 1/255 against a limit of scale/255.
    #[test]
    fn an_edge_at_the_limit_does_not_join() {
        let count = |scale| {
            let params = FelzenszwalbParams { scale, ..SHARP };
            felzenszwalb(&[0, 7, 7, 1, 7, 7], 2, 1, &params).unwrap().count()
        };
        assert_eq!((count(1.0), count(1.001)), (2, 1));
    }

    #[test]
    fn smallest_and_thinnest_images_are_segmented() {
        for (width, height) in [(1, 1), (1, 9), (9, 1), (2, 2), (1, 2)] {
            let rgb: Vec<u8> = (0..width * height * 3).map(|at| (at * 67 % 256) as u8).collect();
            let params = FelzenszwalbParams::at_scale(500);
            let map = felzenszwalb(&rgb, width, height, &params).unwrap();
            assert_eq!((map.width(), map.height(), map.count()), (width, height, 1));
            let wide = FelzenszwalbParams { sigma: 30.0, ..SHARP };
            assert!(felzenszwalb(&rgb, width, height, &wide).is_ok());
        }
    }

    #[test]
    fn bad_input_is_named() {
        let message = |rgb: &[u8], width, height, params| {
            felzenszwalb(rgb, width, height, &params).unwrap_err().to_string()
        };
        assert!(message(&[], 0, 4, SHARP).contains("0x4"));
        let short = message(&[0; 11], 2, 2, SHARP);
        assert!(short.contains("11") && short.contains("12"), "{short}");
        assert!(message(&[0; 3], 1 << 16, 1 << 16, SHARP).contains("too large"));
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let params = FelzenszwalbParams { scale, ..SHARP };
            assert!(message(&[0; 3], 1, 1, params).starts_with("scale is"));
        }
        for sigma in [-0.1, f64::NAN, 1e9] {
            let params = FelzenszwalbParams { sigma, ..SHARP };
            assert!(message(&[0; 3], 1, 1, params).starts_with("sigma is"));
        }
        assert_eq!(felzenszwalb_scales(&[0; 3], 1, 1, &[]), Ok(vec![]));
    }

    /// The definition, with nothing shared, bucketed or skipped: integer colours, so that
    /// squared weights are exact.
    fn by_definition(rgb: &[u8], width: usize, height: usize, scale: f64, min: usize) -> LabelMap {
        let pixel = |x: usize, y: usize| y * width + x;
        let mut edges = Vec::new();
        for (order, (dx, dy)) in [(1, 0), (0, 1), (1, 1), (-1, 1)].into_iter().enumerate() {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let (Some(x1), y1) = (x.checked_add_signed(dx), y + dy) else {
                    continue;
                };
                if x1 < width && y1 < height {
                    let (a, b) = (pixel(x, y), pixel(x1, y1));
                    let colour = |at: usize, c: usize| f64::from(rgb[3 * at + c]) * (1.0 / 255.0);
                    let square = |c| (colour(b, c) - colour(a, c)).powi(2);
                    let weight = (square(0) + square(1) + square(2)).sqrt();
                    edges.push((weight, order, a, b));
                }
            }
        }
        edges.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut labels: Vec<u32> = (0..(width * height) as u32).collect();
        let mut heaviest = vec![0.0; labels.len()];
        let size = |labels: &[u32], of: u32| labels.iter().filter(|&&label| label == of).count();
        let paint = |labels: &mut [u32], from: u32, to: u32| {
            labels.iter_mut().filter(|label| **label == from).for_each(|label| *label = to);
        };
        for &(weight, _, a, b) in &edges {
            let (a, b) = (labels[a], labels[b]);
            let limit = |s: u32| heaviest[s as usize] + scale / 255.0 / size(&labels, s) as f64;
            if a != b && weight < limit(a) && weight < limit(b) {
                paint(&mut labels, b, a);
                heaviest[a as usize] = weight;
            }
        }
        for &(_, _, a, b) in &edges {
            let (a, b) = (labels[a], labels[b]);
            if a != b && size(&labels, a).min(size(&labels, b)) < min {
                paint(&mut labels, b, a);
            }
        }
        LabelMap::relabel(width, height, labels).unwrap()
    }

    fn any_image() -> impl Strategy<Value = (usize, usize, Vec<u8>)> {
        // Few colours make many equal weights; many colours make none.
        let colours = prop_oneof![Just(2u8), Just(9), Just(255)];
        (1..14usize, 1..14usize, colours).prop_flat_map(|(width, height, colours)| {
            let step = 255 / colours;
            let rgb =
                proptest::collection::vec((0..=colours).prop_map(move |c| c * step), width * height * 3);
            (Just(width), Just(height), rgb)
        })
    }

    /// A part that is put together leaves asleep what is asleep in its neighbours, whose segments
    /// are not held then.
    #[test]
    fn parts_do_not_reach_into_others() {
        let levels = "000000000000102020002100012200001021001200210020110000010000000000";
        let rgb: Vec<u8> = levels.bytes().map(|digit| (digit - b'0') * 127).collect();
        let params = FelzenszwalbParams { scale: 303.6, ..SHARP };
        let tiling = Tiling { side: 3, factor: 2 };
        let map = Felzenszwalb::new().segment_group(&rgb, (2, 11), &[params], tiling);
        assert_eq!(map, [by_definition(&rgb, 2, 11, params.scale, params.min_size)]);
    }

    /// Squares of one colour each, with noise: segments that reach over many tiles.
    fn squares(width: usize, height: usize, side: usize, noise: usize, seed: usize) -> Vec<u8> {
        let hash = |at: usize| (((at + seed) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize;
        let level = |x, y, c| hash(((y / side) * width + x / side) * 3 + c) % 200;
        let value = |at: usize| level(at / 3 % width, at / 3 / width, at % 3) + hash(at * 7) % noise;
        (0..width * height * 3).map(|at| value(at) as u8).collect()
    }

    proptest! {
        #[test]
        fn follows_the_definition(
            (width, height, rgb) in any_image(),
            scale in 1.0..2000.0f64,
            min_size in 0..30usize,
        ) {
            let params = FelzenszwalbParams { scale, sigma: 0.0, min_size };
            let map = felzenszwalb(&rgb, width, height, &params).unwrap();
            prop_assert_eq!(&map, &by_definition(&rgb, width, height, scale, min_size));
            let smallest = map.areas().into_iter().min().unwrap() as usize;
            prop_assert!(map.count() == 1 || smallest >= min_size);
        }

        #[test]
        fn sharing_and_reusing_change_nothing(
            images in proptest::collection::vec(any_image(), 1..4),
            sigmas in proptest::collection::vec(prop_oneof![Just(0.8), Just(0.0), 0.0..3.0f64], 1..4),
        ) {
            let scales: Vec<_> = sigmas
                .iter()
                .zip([30.0, 200.0, 900.0])
                .map(|(&sigma, scale)| FelzenszwalbParams { scale, sigma, min_size: 4 })
                .collect();
            let mut workspace = Felzenszwalb::new();
            for (width, height, rgb) in images {
                let shared = workspace.segment_scales(&rgb, width, height, &scales).unwrap();
                for (map, params) in shared.iter().zip(&scales) {
                    prop_assert_eq!(map, &felzenszwalb(&rgb, width, height, params).unwrap());
                }
            }
        }

        /// Parts of parts of tiles of a few pixels, at two scales at once.
        #[test]
        fn tiles_of_tiles_follow_the_definition(
            (width, height, rgb) in any_image(),
            (side, factor) in (1..6usize, 2..4usize),
            scales in (1.0..2000.0f64, 1.0..2000.0f64),
            min_size in 0..30usize,
        ) {
            let params = |scale| FelzenszwalbParams { scale, sigma: 0.0, min_size };
            let group = [params(scales.0), params(scales.1)];
            let tiling = Tiling { side, factor };
            let maps = Felzenszwalb::new().segment_group(&rgb, (width, height), &group, tiling);
            for (map, params) in maps.iter().zip(group) {
                prop_assert_eq!(map, &by_definition(&rgb, width, height, params.scale, min_size));
            }
        }

        #[test]
        fn large_segments_are_put_together(
            (width, height) in (1..90usize, 1..90usize),
            (square, noise, seed) in (1..20usize, 1..40usize, 0..1_000_000usize),
            (side, factor) in (1..20usize, 2..5usize),
            (scale, sigma) in (1.0..1500.0f64, prop_oneof![Just(0.0), Just(0.8)]),
        ) {
            let rgb = squares(width, height, square, noise, seed);
            let params = FelzenszwalbParams { scale, sigma, min_size: 20 };
            let whole = felzenszwalb(&rgb, width, height, &params).unwrap();
            let tiling = Tiling { side, factor };
            let tiled = Felzenszwalb::new().segment_group(&rgb, (width, height), &[params], tiling);
            prop_assert_eq!(&tiled, &[whole]);
        }

        /// Tiles of a few pixels leave most edges to be decided when they are merged.
        #[test]
        fn tiles_change_nothing(
            (width, height, rgb) in any_image(),
            side in 1..9usize,
            factor in 2..5usize,
            scale in 1.0..2000.0f64,
            sigma in prop_oneof![Just(0.0), Just(0.8)],
            min_size in 0..30usize,
        ) {
            let params = FelzenszwalbParams { scale, sigma, min_size };
            let whole = felzenszwalb(&rgb, width, height, &params).unwrap();
            let tiled = Felzenszwalb::new().segment_group(&rgb, (width, height), &[params], Tiling { side, factor });
            prop_assert_eq!(&tiled, &[whole]);
        }
    }
}
