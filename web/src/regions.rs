//! Segments of the photo, fast enough for a slider.

use rmae_core::prompt::WorkingImage;
use rmae_core::regions::{FelzenszwalbParams, LabelMap, felzenszwalb};
use rmae_core::{Error, Result};

/// The most pixels that are segmented: a photo is averaged down to this.
const MOST: usize = 250_000;

/// Felzenszwalb-Huttenlocher segments of an image, of at least `scale` pixels each, on an image of at
/// most a quarter of a megapixel.
///
/// # Errors
/// [`Error::Prompt`] for a scale that is not positive.
pub fn of(image: &WorkingImage, scale: f64) -> Result<LabelMap> {
    if !(scale.is_finite() && scale >= 1.0) {
        let problem = format!("{scale} must be a number from 1 on");
        return Err(Error::Prompt { prompt: "scale of regions".into(), problem });
    }
    let (width, height, rgb) = reduced(image);
    let params = FelzenszwalbParams { scale, min_size: scale as usize, ..FelzenszwalbParams::at_scale(1) };
    felzenszwalb(&rgb, width, height, &params).map_err(|e| Error::Image(e.to_string()))
}

/// Means of blocks of pixels, as small as they may be.
fn reduced(image: &WorkingImage) -> (usize, usize, Vec<u8>) {
    let (width, height) = (image.width(), image.height());
    let block = (1..).find(|b| width.div_ceil(*b) * height.div_ceil(*b) <= MOST).unwrap_or(1);
    let (w, h) = (width.div_ceil(block), height.div_ceil(block));
    let mut rgb = Vec::with_capacity(3 * w * h);
    for at in 0..w * h {
        rgb.extend(mean(image, at % w * block, at / w * block, block));
    }
    (w, h, rgb)
}

/// Mean colour of a block, cut off at the image's edge.
fn mean(image: &WorkingImage, left: usize, top: usize, block: usize) -> [u8; 3] {
    let (right, bottom) = ((left + block).min(image.width()), (top + block).min(image.height()));
    let mut sum = [0_u32; 3];
    for y in top..bottom {
        let row = &image.data()[3 * (y * image.width() + left)..3 * (y * image.width() + right)];
        row.chunks_exact(3).for_each(|pixel| (0..3).for_each(|c| sum[c] += u32::from(pixel[c])));
    }
    let count = ((right - left) * (bottom - top)) as u32;
    sum.map(|sum| ((sum + count / 2) / count) as u8)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rmae_core::prompt::RgbView;

    use super::*;

    /// Left half dark, right half bright.
    fn halves(width: usize, height: usize) -> WorkingImage {
        let pixel = |at: usize| if at % width < width / 2 { [20, 30, 40] } else { [220, 210, 200] };
        let rgb: Vec<u8> = (0..width * height).flat_map(pixel).collect();
        WorkingImage::from_rgb(RgbView::new(width, height, &rgb).unwrap()).unwrap()
    }

    #[test]
    fn two_halves_are_two_segments_at_any_size() {
        // The blur before the segmentation makes columns of colours in between: the smallest segment
        // must be larger than a few of those, or they are rightly segments of their own.
        for (width, height, scale) in [(64, 48, 200.0), (1200, 900, 1500.0), (2000, 10, 100.0)] {
            let map = of(&halves(width, height), scale).unwrap();
            assert_eq!(map.count(), 2, "{width}x{height}");
            assert!(map.width() * map.height() <= MOST);
        }
    }

    #[test]
    fn scales_that_cannot_be_are_named() {
        for scale in [0.0, -3.0, f64::NAN] {
            assert!(of(&halves(8, 8), scale).unwrap_err().to_string().contains("scale"));
        }
    }
}
