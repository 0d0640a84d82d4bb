//! Felzenszwalb and Huttenlocher, "Efficient Graph-Based Image Segmentation"
//! (IJCV 2004): the unsupervised regions of R-MAE.
//!
//! Pixels are the nodes of a graph whose edges join 8-neighbours and weigh the
//! Euclidean distance of their smoothed colours. Edges are visited from light
//! to heavy; one joins its two segments if it is lighter than both segments'
//! heaviest inner edge plus `scale / size`. Then segments below `min_size` are
//! joined to the neighbour across their lightest edge. The partition agrees with
//! that of scikit-image's `segmentation.felzenszwalb` for the same numbers.

use super::edges::{Edge, EdgeBuilder, neighbour_steps};
use super::{LabelMap, RegionError, check_buffer};

/// Colours are compared in `[0, 1]`, whereas `scale` is customarily given for `[0, 255]`.
const SCALE_UNIT: f64 = 255.0;
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
        Self {
            scale: f64::from(scale),
            sigma: Self::SIGMA,
            min_size: scale as usize,
        }
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
    RegionError::Parameter {
        name,
        value: value.to_string(),
        allowed,
    }
}

/// Segments one image: `rgb` is `[height, width, 3]`, 8 bits a channel.
///
/// For many images, keep a [`Felzenszwalb`], which reuses its buffers.
///
/// # Errors
/// A side of zero, a buffer of the wrong length, or parameters out of range.
pub fn felzenszwalb(
    rgb: &[u8],
    width: usize,
    height: usize,
    params: &FelzenszwalbParams,
) -> Result<LabelMap, RegionError> {
    Felzenszwalb::new().segment(rgb, width, height, params)
}

/// Segments one image at several scales: one map for each element of `scales`, in their order.
///
/// # Errors
/// As [`felzenszwalb`].
pub fn felzenszwalb_scales(
    rgb: &[u8],
    width: usize,
    height: usize,
    scales: &[FelzenszwalbParams],
) -> Result<Vec<LabelMap>, RegionError> {
    Felzenszwalb::new().segment_scales(rgb, width, height, scales)
}

/// A workspace for segmenting many images: allocates only when one is larger than all before.
#[derive(Debug, Default)]
pub struct Felzenszwalb {
    builder: EdgeBuilder,
    forest: Forest,
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
        &mut self,
        rgb: &[u8],
        width: usize,
        height: usize,
        params: &FelzenszwalbParams,
    ) -> Result<LabelMap, RegionError> {
        check_buffer("RGB image", width, height, 3, rgb.len())?;
        params.validate()?;
        let edges = self.builder.build(rgb, width, height, params.sigma);
        Ok(self.forest.segment(edges, width, height, params))
    }

    /// As [`felzenszwalb_scales`]. Neighbouring elements of the same sigma share smoothing
    /// and sorting, which is most of the work.
    ///
    /// # Errors
    /// As [`felzenszwalb`].
    pub fn segment_scales(
        &mut self,
        rgb: &[u8],
        width: usize,
        height: usize,
        scales: &[FelzenszwalbParams],
    ) -> Result<Vec<LabelMap>, RegionError> {
        check_buffer("RGB image", width, height, 3, rgb.len())?;
        scales.iter().try_for_each(FelzenszwalbParams::validate)?;
        let mut maps = Vec::with_capacity(scales.len());
        for group in scales.chunk_by(|a, b| a.sigma == b.sigma) {
            let edges = self.builder.build(rgb, width, height, group[0].sigma);
            for params in group {
                maps.push(self.forest.segment(edges, width, height, params));
            }
        }
        Ok(maps)
    }
}

/// Disjoint segments of pixels: a forest whose roots stand for the segments.
#[derive(Debug, Default)]
struct Forest {
    parent: Vec<u32>,
    /// Pixels of the segment, valid at roots.
    size: Vec<u32>,
    /// Weight below which an edge may still join the segment, valid at roots.
    limit: Vec<f64>,
    /// Edges that joined nothing but still may, by `min_size`.
    refused: Vec<Edge>,
}

impl Forest {
    fn segment(
        &mut self,
        edges: &[Edge],
        width: usize,
        height: usize,
        params: &FelzenszwalbParams,
    ) -> LabelMap {
        let scale = params.scale / SCALE_UNIT;
        let steps = neighbour_steps(width);
        self.reset(width * height, scale);
        self.join_similar(edges, &steps, scale);
        self.join_small(&steps, params.min_size);
        let roots = (0..self.parent.len() as u32).map(|pixel| find(&mut self.parent, pixel));
        let labels = roots.collect();
        LabelMap::from_valid_parts(width, height, labels)
    }

    fn reset(&mut self, pixels: usize, scale: f64) {
        self.parent.clear();
        self.parent.extend(0..pixels as u32);
        self.size.clear();
        self.size.resize(pixels, 1);
        self.limit.clear();
        self.limit.resize(pixels, scale);
        self.refused.clear();
    }

    /// The paper's algorithm 1. An edge inside a segment stays inside, so only refused ones
    /// are kept for [`Self::join_small`].
    fn join_similar(&mut self, edges: &[Edge], steps: &[u32; 4], scale: f64) {
        for edge in edges {
            let (a, b) = edge.ends(steps);
            let (a, b) = (find(&mut self.parent, a), find(&mut self.parent, b));
            if a == b {
                continue;
            }
            if edge.weight < self.limit[a as usize].min(self.limit[b as usize]) {
                let root = self.union(a, b);
                // Edges come in ascending order: this one is the segment's heaviest.
                let size = f64::from(self.size[root as usize]);
                self.limit[root as usize] = edge.weight + scale / size;
            } else {
                self.refused.push(*edge);
            }
        }
    }

    fn join_small(&mut self, steps: &[u32; 4], min_size: usize) {
        for at in 0..self.refused.len() {
            let (a, b) = self.refused[at].ends(steps);
            let (a, b) = (find(&mut self.parent, a), find(&mut self.parent, b));
            let smaller = self.size[a as usize].min(self.size[b as usize]);
            if a != b && (smaller as usize) < min_size {
                self.union(a, b);
            }
        }
    }

    /// Joins two roots, the smaller segment below the larger; returns the root.
    fn union(&mut self, a: u32, b: u32) -> u32 {
        let swap = self.size[a as usize] < self.size[b as usize];
        let (root, child) = if swap { (b, a) } else { (a, b) };
        self.parent[child as usize] = root;
        self.size[root as usize] += self.size[child as usize];
        root
    }
}

/// The root above `node`; halves the path on the way.
fn find(parent: &mut [u32], mut node: u32) -> u32 {
    loop {
        let above = parent[node as usize];
        let top = parent[above as usize];
        if above == top {
            return above;
        }
        parent[node as usize] = top;
        node = top;
    }
}
