//! From a file to 8-bit RGB, upright.

use std::fs;
use std::io::{Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

use super::DataError;

/// Largest number of pixels decoded: a header may promise more than memory holds.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Largest file read, bytes.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Decodes an image file: EXIF orientation applied; grey, CMYK, 16-bit and
/// palette images converted; transparency laid over white.
///
/// The format is told from the content, so a PNG named `.jpg` is read. A JPEG
/// whose end is missing counts as truncated, even where a part of the picture
/// could be shown: training on half-grey images is worse than one image fewer.
///
/// # Errors
/// The file cannot be read, is no image, is damaged, or is larger than
/// [`MAX_PIXELS`]; each names the path.
pub fn decode(path: &Path) -> Result<RgbImage, DataError> {
    let mut bytes = Vec::new();
    read(path, &mut bytes)?;
    decode_whole(path, &bytes)
}

/// As [`decode`], of the bytes of the file.
pub(super) fn decode_whole(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    // Decoders meet hostile bytes here; a panic in one is a damaged image,
    // not the end of the run.
    catch_unwind(AssertUnwindSafe(|| decode_bytes(path, bytes)))
        .unwrap_or_else(|_| Err(damaged(path, "its decoder failed on it")))
}

/// Reads an image file into `bytes`.
pub(super) fn read(path: &Path, bytes: &mut Vec<u8>) -> Result<(), DataError> {
    let io = |e| DataError::io(path, e);
    let mut file = fs::File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size > MAX_FILE_BYTES {
        return Err(damaged(path, "the file is larger than 512 MiB"));
    }
    bytes.clear();
    bytes.reserve(size as usize + 1);
    file.read_to_end(bytes).map_err(io)?;
    Ok(())
}

fn decode_bytes(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    if bytes.is_empty() {
        return Err(damaged(path, "the file is empty"));
    }
    let format = image::guess_format(bytes).map_err(|_| damaged(path, "not an image"))?;
    let wrong = |e: image::ImageError| damaged(path, &e.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(wrong)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let (path, limit) = (path.to_path_buf(), MAX_PIXELS);
        return Err(DataError::TooLarge { path, width, height, limit });
    }
    if width == 0 || height == 0 {
        return Err(damaged(path, "the image has no pixels"));
    }
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        return Err(damaged(path, "truncated: the end of the JPEG data is missing"));
    }
    // A damaged orientation tag is no reason to lose the image.
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(wrong)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(to_rgb8(image))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    // Twice the largest 16-bit RGBA image that passes the pixel limit.
    limits.max_alloc = Some(MAX_PIXELS * 16);
    limits
}

fn damaged(path: &Path, reason: &str) -> DataError {
    DataError::Decode { path: path.to_path_buf(), reason: reason.to_string() }
}

/// 8-bit RGB, with any transparency composited over white.
fn to_rgb8(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    let over_white = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0;
        Rgb([r, g, b].map(|value| over_white(value, a)))
    })
}

/// Whether the marker that ends a JPEG follows its scans.
///
/// Walks the segments, so that the end marker of an embedded thumbnail (inside
/// an APP segment) is not taken for the end of the image.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    let mut at = 2;
    while let Some(found) = bytes.get(at..).and_then(next_marker) {
        at += found + 2;
        match bytes[at - 1] {
            END => return true,
            // Markers without a length: restart markers and TEM.
            0x01 | 0xD0..=0xD8 => {}
            // A segment, skipped by its length. Entropy-coded data after a
            // start of scan is passed over by the search for a marker.
            _ => match bytes.get(at..at + 2) {
                Some(&[high, low]) => at += usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

/// Offset of the next marker: 0xFF followed by neither stuffing nor fill.
fn next_marker(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair[0] == 0xFF && pair[1] != 0x00 && pair[1] != 0xFF)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
