//! Regions: where they come from, how they are stored, how they are drawn.
//!
//! R-MAE (section 3.2 of the paper) reconstructs *region maps* beside pixels.
//! Any source of binary maps will do; the default needs no annotation:
//! [`felzenszwalb()`] splits a photo into segments at several scales and every
//! segment of every scale is one region. Ground-truth masks arrive as COCO
//! run-length codes ([`rle`]). [`sampling`] draws the `k` regions of a
//! training sample from all of them.
//!
//! Nothing here opens a file, starts a thread or knows a device.

pub mod felzenszwalb;
pub mod label_map;
pub mod rle;
pub mod sampling;

mod edges;
mod forest;
mod merge;
mod order;
mod smoothing;
mod tiles;

pub use felzenszwalb::{Felzenszwalb, FelzenszwalbParams, felzenszwalb, felzenszwalb_scales};
pub use label_map::{BoundingBox, LabelMap, adjusted_rand_index};
pub use rle::Rle;
pub use sampling::{RegionPolicy, RegionSet, SamplingOptions, crop_resize_mask, visible_patches};

/// What can be wrong with the input of the region code.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// Width or height is zero.
    #[error("a {what} of {width}x{height} pixels has no pixel: both sides must be at least 1")]
    Empty {
        /// What was given: `image`, `label map`, ...
        what: &'static str,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// More pixels than a pixel index can number.
    #[error(
        "a {what} of {width}x{height} pixels is too large: at most {limit} pixels are supported, \
         scale it down first"
    )]
    TooLarge {
        /// What was given.
        what: &'static str,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// The largest number of pixels.
        limit: usize,
    },
    /// A buffer is not as long as the sides say.
    #[error("the {what} buffer holds {actual} elements, but {width}x{height} pixels need {expected}")]
    BufferLength {
        /// What was given.
        what: &'static str,
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        actual: usize,
    },
    /// Two things that must cover the same pixels do not.
    #[error("the {what} is {width}x{height} pixels, but {expected_width}x{expected_height} is needed")]
    SizeMismatch {
        /// What was given.
        what: &'static str,
        /// Columns given.
        width: usize,
        /// Rows given.
        height: usize,
        /// Columns needed.
        expected_width: usize,
        /// Rows needed.
        expected_height: usize,
    },
    /// A number is outside its range.
    #[error("{name} is {value}: it must be {allowed}")]
    Parameter {
        /// The parameter's name.
        name: &'static str,
        /// Its value, printed.
        value: String,
        /// The range in words.
        allowed: &'static str,
    },
    /// A label map names a label without a pixel, or out of raster order.
    #[error(
        "label {label} at column {x}, row {y} is out of order: labels are numbered from 0 by first \
         occurrence, so at most {limit} was expected (use LabelMap::relabel for free numbering)"
    )]
    LabelOrder {
        /// The offending label.
        label: u32,
        /// Its column.
        x: usize,
        /// Its row.
        y: usize,
        /// The largest label that could stand there.
        limit: u32,
    },
    /// A label that the map does not have was asked for.
    #[error("label {label} does not exist: the map has {count} labels, numbered from 0")]
    NoSuchLabel {
        /// The label asked for.
        label: u32,
        /// Labels of the map.
        count: u32,
    },
    /// A run-length code is malformed.
    #[error("run-length code, {unit} {position}: {problem}")]
    Rle {
        /// What `position` counts: `character` of the string or `count` of the list, from 0.
        unit: &'static str,
        /// Where it went wrong.
        position: usize,
        /// What went wrong.
        problem: String,
    },
}

/// Most pixels of an image: a pixel's index and an edge's direction share 32 bits.
pub(crate) const MAX_PIXELS: usize = 1 << 30;

/// Checks the sides and the length of a buffer of `channels` elements a pixel;
/// returns the number of pixels.
pub(crate) fn check_buffer(
    what: &'static str, width: usize, height: usize, channels: usize, actual: usize,
) -> Result<usize, RegionError> {
    let pixels = check_sides(what, width, height)?;
    let expected = pixels.saturating_mul(channels);
    if actual != expected {
        return Err(RegionError::BufferLength { what, width, height, expected, actual });
    }
    Ok(pixels)
}

/// Checks that there is a pixel and that there are not too many; returns their number.
pub(crate) fn check_sides(what: &'static str, width: usize, height: usize) -> Result<usize, RegionError> {
    if width == 0 || height == 0 {
        return Err(RegionError::Empty { what, width, height });
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(pixels),
        _ => Err(RegionError::TooLarge { what, width, height, limit: MAX_PIXELS }),
    }
}
