//! A photo of which samples show a part.

use std::cell::OnceCell;
use std::path::Path;

use image::RgbImage;
use image::metadata::Orientation;

use super::DataError;
use super::augment::Crop;
use super::decode::{MAX_PIXELS, decode_whole};
use super::jpeg::{self, Jpeg, NotMine, Planes};
use super::resample::{Pixels, Sums, Turn, resample, resample_pixels};

/// An image file in memory, decoded as far as is asked for.
#[derive(Debug)]
pub(super) struct Photo<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    jpeg: Option<Jpeg<'a>>,
    whole: OnceCell<RgbImage>,
}

/// Memory that is used again from one photo to the next.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    jpeg: jpeg::Buffers,
    sums: Sums,
    /// Of samples that have been copied to their batch.
    spare: Vec<Vec<f32>>,
}

impl Buffers {
    /// Most samples whose memory is kept: what one thread makes of a batch, more or less.
    const MOST: usize = 32;

    /// Takes the memory of a sample that nobody needs any more.
    pub(super) fn give_back(&mut self, sample: Vec<f32>) {
        if self.spare.len() < Self::MOST {
            self.spare.push(sample);
        }
    }
}

impl<'a> Photo<'a> {
    /// Reads the headers of the file's `bytes`, or all of it where only that tells the size.
    ///
    /// # Errors
    /// As [`decode`](super::decode()).
    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, DataError> {
        let is_small = |jpeg: &Jpeg<'_>| u64::from(jpeg.size().0) * u64::from(jpeg.size().1) <= MAX_PIXELS;
        let jpeg = Jpeg::open(bytes).ok().filter(is_small);
        let photo = Self { path, bytes, jpeg, whole: OnceCell::new() };
        if photo.jpeg.is_none() {
            photo.whole()?;
        }
        Ok(photo)
    }

    /// The file.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Columns and rows, upright.
    pub(super) fn size(&self) -> (u32, u32) {
        match (&self.jpeg, self.whole.get()) {
            (Some(jpeg), _) if turn(jpeg.orientation()).is_transposed => (jpeg.size().1, jpeg.size().0),
            (Some(jpeg), _) => jpeg.size(),
            (None, whole) => whole.map_or((0, 0), RgbImage::dimensions),
        }
    }

    /// All of it, upright.
    ///
    /// # Errors
    /// As [`decode`](super::decode()).
    pub(super) fn whole(&self) -> Result<&RgbImage, DataError> {
        if self.whole.get().is_none() {
            let _ = self.whole.set(decode_whole(self.path, self.bytes)?);
        }
        Ok(self.whole.get_or_init(RgbImage::default))
    }

    /// A crop as [`resample`] makes it. It is the same whether or not the whole photo has been asked for.
    ///
    /// # Errors
    /// As [`decode`](super::decode()).
    pub(super) fn resample(
        &self, crop: &Crop, side: usize, buffers: &mut Buffers,
    ) -> Result<Vec<f32>, DataError> {
        let decoded = self.jpeg.as_ref().map(|jpeg| resample_jpeg(jpeg, crop, side, buffers));
        if let Some(Ok(values)) = decoded {
            return Ok(values);
        }
        Ok(resample(self.whole()?, crop, side))
    }
}

/// Decodes what a crop needs, at the least scale that leaves its short side half as long again as the
/// result's: against a full decode that is 53 to 60 dB on photos; a quarter as long again, 50 to 58; as
/// long, 41 to 50.
fn resample_jpeg(
    jpeg: &Jpeg<'_>, crop: &Crop, side: usize, buffers: &mut Buffers,
) -> Result<Vec<f32>, NotMine> {
    let turn = turn(jpeg.orientation());
    let stored = stored(crop, turn, jpeg.size());
    let short = crop.width.min(crop.height) as usize;
    let scale = [8, 4, 2].into_iter().find(|scale| 2 * short >= 3 * side * scale).unwrap_or(1);
    let &Planes { width, height, ref planes } = jpeg.decode(&stored, scale, &mut buffers.jpeg)?;
    let span = |from: u32, length: u32| {
        let scale = scale as f64;
        ((f64::from(from) / scale).fract(), f64::from(length) / scale)
    };
    let pixels = Pixels {
        planes: &planes.each_ref().map(Vec::as_slice),
        stride: width,
        width,
        height,
        across: span(stored.x, stored.width),
        down: span(stored.y, stored.height),
    };
    // The crop's own mirror comes after the photo is upright.
    let turn = Turn { is_mirrored: turn.is_mirrored != crop.flip, ..turn };
    let mut out = buffers.spare.pop().unwrap_or_default();
    resample_pixels(&pixels, side, turn, &mut buffers.sums, &mut out);
    Ok(out)
}

/// The crop of stored pixels that comes to lie at `crop` when they are turned.
fn stored(crop: &Crop, turn: Turn, size: (u32, u32)) -> Crop {
    let (width, height) = if turn.is_transposed { (size.1, size.0) } else { size };
    let from_end = |at: u32, length: u32, whole: u32| whole.saturating_sub(at + length);
    let x = if turn.is_mirrored { from_end(crop.x, crop.width, width) } else { crop.x };
    let y = if turn.is_upended { from_end(crop.y, crop.height, height) } else { crop.y };
    let crop = Crop { x, y, ..*crop };
    if turn.is_transposed {
        return Crop { x: crop.y, y: crop.x, width: crop.height, height: crop.width, ..crop };
    }
    crop
}

/// What puts stored pixels upright.
fn turn(orientation: Orientation) -> Turn {
    let (is_transposed, is_mirrored, is_upended) = match orientation {
        Orientation::NoTransforms => (false, false, false),
        Orientation::FlipHorizontal => (false, true, false),
        Orientation::FlipVertical => (false, false, true),
        Orientation::Rotate180 => (false, true, true),
        Orientation::Rotate90FlipH => (true, false, false),
        Orientation::Rotate90 => (true, true, false),
        Orientation::Rotate270 => (true, false, true),
        Orientation::Rotate270FlipH => (true, true, true),
    };
    Turn { is_transposed, is_mirrored, is_upended }
}

#[cfg(test)]
#[path = "photo_tests.rs"]
mod tests;
