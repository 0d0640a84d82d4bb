//! A segment of an image.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::regions::{BoundingBox, Rle};

/// A binary mask, `[height, width]` in raster order.
///
/// As JSON it is a COCO run-length code: `{"size": [height, width], "counts": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Coded", into = "Coded")]
pub struct Mask {
    width: usize,
    height: usize,
    data: Vec<u8>,
}

impl Mask {
    /// From one byte a pixel; anything but 0 is inside.
    ///
    /// # Errors
    /// [`Error::Image`] for a side of zero or a wrong length.
    pub fn new(width: usize, height: usize, mut data: Vec<u8>) -> Result<Self> {
        check_size(width, height, data.len())?;
        data.iter_mut().for_each(|v| *v = u8::from(*v != 0));
        Ok(Self { width, height, data })
    }

    /// A mask without a pixel inside. A side of zero becomes 1.
    #[must_use]
    pub fn empty(width: usize, height: usize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        Self { width, height, data: vec![0; width * height] }
    }

    /// The mask of the pixels for which `inside(x, y)` holds. A side of zero becomes 1.
    #[must_use]
    pub fn from_fn(width: usize, height: usize, mut inside: impl FnMut(usize, usize) -> bool) -> Self {
        let mut mask = Self::empty(width, height);
        for (y, row) in mask.data.chunks_exact_mut(mask.width).enumerate() {
            row.iter_mut().enumerate().for_each(|(x, v)| *v = u8::from(inside(x, y)));
        }
        mask
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

    /// 0 or 1 for each pixel, in raster order.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// The pixels, taken out.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.data
    }

    /// The pixels, taken out: 255 inside, 0 outside, as grey images have them.
    #[must_use]
    pub fn into_grey(mut self) -> Vec<u8> {
        self.data.iter_mut().for_each(|v| *v *= 255);
        self.data
    }

    /// Whether a pixel is inside; no pixel beyond the sides is.
    #[must_use]
    pub fn get(&self, x: usize, y: usize) -> bool {
        x < self.width && y < self.height && self.data[y * self.width + x] != 0
    }

    /// Puts a pixel inside or outside; beyond the sides nothing happens.
    pub fn set(&mut self, x: usize, y: usize, inside: bool) {
        if x < self.width && y < self.height {
            self.data[y * self.width + x] = u8::from(inside);
        }
    }

    /// Pixels inside.
    #[must_use]
    pub fn area(&self) -> usize {
        count(&self.data)
    }

    /// The smallest box around the pixels inside; none without one.
    #[must_use]
    pub fn bounding_box(&self) -> Option<BoundingBox> {
        let rows = || self.data.chunks_exact(self.width);
        let top = rows().position(|row| row.contains(&1))?;
        let bottom = rows().rposition(|row| row.contains(&1))?;
        let mut columns = vec![0; self.width];
        for row in rows().take(bottom + 1).skip(top) {
            columns.iter_mut().zip(row).for_each(|(any, inside)| *any |= inside);
        }
        let left = columns.iter().position(|&v| v != 0)?;
        let right = columns.iter().rposition(|&v| v != 0)?;
        let (width, height) = (right - left + 1, bottom - top + 1);
        Some(BoundingBox { x: left as u32, y: top as u32, width: width as u32, height: height as u32 })
    }

    /// The nearest pixels at another size. A side of zero becomes 1.
    #[must_use]
    pub fn resized(&self, width: usize, height: usize) -> Self {
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let (width, height) = (width.max(1), height.max(1));
        // The pixel under the middle of each new one.
        let from = |at: usize, have: usize, want: usize| (2 * at + 1) * have / (2 * want);
        let columns: Vec<usize> = (0..width).map(|x| from(x, self.width, width)).collect();
        let mut data = Vec::with_capacity(width * height);
        for y in 0..height {
            let row = &self.data[from(y, self.height, height) * self.width..][..self.width];
            data.extend(columns.iter().map(|&x| row[x]));
        }
        Self { width, height, data }
    }

    /// Share of pixels in both masks among those in either (intersection over union); 1 when both
    /// are empty, 0 when their sizes differ.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> f64 {
        if (self.width, self.height) != (other.width, other.height) {
            return 0.0;
        }
        let pairs = || self.data.iter().zip(&other.data);
        let both = pairs().filter(|&(&a, &b)| a & b != 0).count();
        let either = pairs().filter(|&(&a, &b)| a | b != 0).count();
        if either == 0 { 1.0 } else { both as f64 / either as f64 }
    }
}

/// How many of bytes that are 0 or 1 are 1.
pub(super) fn count(of: &[u8]) -> usize {
    // As many as can be added up in a byte: so sixteen or more are at a time.
    of.chunks(255).map(|part| usize::from(part.iter().sum::<u8>())).sum()
}

fn check_size(width: usize, height: usize, len: usize) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::Image(format!("a mask of {width}x{height} has no pixel")));
    }
    if width.checked_mul(height) != Some(len) {
        return Err(Error::Image(format!("a mask of {width}x{height} needs one byte a pixel, got {len}")));
    }
    Ok(())
}

/// COCO's form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Coded {
    size: [usize; 2],
    counts: String,
}

impl TryFrom<Coded> for Mask {
    type Error = String;

    fn try_from(coded: Coded) -> std::result::Result<Self, String> {
        let [height, width] = coded.size;
        let rle = Rle::from_compressed(width, height, &coded.counts).map_err(|e| e.to_string())?;
        Self::new(width, height, rle.decode()).map_err(|e| e.to_string())
    }
}

impl From<Mask> for Coded {
    fn from(mask: Mask) -> Self {
        // A mask's length is known to be right, so the code always exists.
        let counts = Rle::encode(&mask.data, mask.width, mask.height).map(|rle| rle.to_compressed());
        Self { size: [mask.height, mask.width], counts: counts.unwrap_or_default() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn corner() -> Mask {
        Mask::from_fn(7, 5, |x, y| x >= 3 && (2..4).contains(&y))
    }

    #[test]
    fn area_and_box() {
        let mask = corner();
        assert_eq!(mask.area(), 8);
        assert_eq!(mask.bounding_box(), Some(BoundingBox { x: 3, y: 2, width: 4, height: 2 }));
        assert_eq!(Mask::empty(3, 3).bounding_box(), None);
    }

    #[test]
    fn wrong_sizes_are_named() {
        assert!(Mask::new(0, 3, vec![]).unwrap_err().to_string().contains("0x3"));
        assert!(Mask::new(2, 2, vec![0; 3]).unwrap_err().to_string().contains("got 3"));
        assert!(Mask::new(usize::MAX, 2, vec![0; 3]).is_err());
    }

    #[test]
    fn json_is_cocos_code() {
        let text = serde_json::to_string(&corner()).unwrap();
        assert!(text.contains("\"size\":[5,7]"), "{text}");
        assert_eq!(serde_json::from_str::<Mask>(&text).unwrap(), corner());
        assert!(serde_json::from_str::<Mask>(r#"{"size":[5,7],"counts":"zz"}"#).is_err());
    }

    #[test]
    fn twice_the_size_and_back() {
        let large = corner().resized(14, 10);
        assert_eq!(large.area(), 32);
        assert_eq!(large.resized(7, 5), corner());
        assert!((corner().overlap(&corner()) - 1.0).abs() < 1e-12);
        assert!(corner().overlap(&Mask::empty(7, 5)).abs() < 1e-12);
    }
}
