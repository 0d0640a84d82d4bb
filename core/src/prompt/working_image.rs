//! The image that everything after the decoder of the file looks at: at most ~1.5 megapixels.
//!
//! It is filled from strips of rows, so that a photo of 50 megapixels is never there as a whole.

use super::Rect;
use crate::error::{Error, Result};

/// Most pixels of a working image.
pub const MAX_WORKING_PIXELS: usize = 1_500_000;
/// Most pixels of an image: more is surely a mistake, and would keep the page busy for minutes.
const MAX_PIXELS: usize = 1 << 30;

/// A whole image as its caller holds it: 8-bit RGB, `[height, width, 3]`.
#[derive(Clone, Copy, Debug)]
pub struct RgbView<'a> {
    width: usize,
    height: usize,
    data: &'a [u8],
}

impl<'a> RgbView<'a> {
    /// Wraps the bytes.
    ///
    /// # Errors
    /// [`Error::Image`] for a side of zero or a wrong length.
    pub fn new(width: usize, height: usize, data: &'a [u8]) -> Result<Self> {
        let pixels = check_sides(width, height)?;
        if data.len() != 3 * pixels {
            let problem =
                format!("{width}x{height} pixels of RGB are {} bytes, got {}", 3 * pixels, data.len());
            return Err(Error::Image(problem));
        }
        Ok(Self { width, height, data })
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

    /// Red, green, blue of each pixel in raster order.
    #[must_use]
    pub fn data(&self) -> &'a [u8] {
        self.data
    }
}

fn check_sides(width: usize, height: usize) -> Result<usize> {
    if width == 0 || height == 0 {
        return Err(Error::Image(format!("{width}x{height} has no pixel: both sides must be at least 1")));
    }
    match width.checked_mul(height) {
        Some(pixels) if pixels <= MAX_PIXELS => Ok(pixels),
        _ => Err(Error::Image(format!("{width}x{height} is more than {MAX_PIXELS} pixels; scale it down"))),
    }
}

/// An image of at most [`MAX_WORKING_PIXELS`], and the size of the one it was made from.
///
/// An image that is no larger is kept as it is, byte for byte; a larger one is averaged by area.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkingImage {
    width: usize,
    height: usize,
    full: (usize, usize),
    data: Vec<u8>,
}

impl WorkingImage {
    /// From a whole image: as [`WorkingImageBuilder`] with all rows at once.
    ///
    /// # Errors
    /// [`Error::Image`] for an image that is too large.
    pub fn from_rgb(image: RgbView<'_>) -> Result<Self> {
        let mut builder = WorkingImageBuilder::new(image.width, image.height)?;
        builder.push_rows(image.data, 3)?;
        builder.finish()
    }

    /// The working image of an image of `full` columns and rows, from its own pixels: what
    /// [`WorkingImage::data`] of an earlier one gave.
    ///
    /// # Errors
    /// [`Error::Image`] for a size that cannot be, or pixels that are not those of its working image.
    pub fn restore(full: (usize, usize), data: Vec<u8>) -> Result<Self> {
        check_sides(full.0, full.1)?;
        let (width, height) = working_size(full.0, full.1);
        if data.len() != 3 * width * height {
            let problem = format!(
                "a working image of {}x{} has {width}x{height} pixels of RGB, not {} bytes",
                full.0,
                full.1,
                data.len()
            );
            return Err(Error::Image(problem));
        }
        Ok(Self { width, height, full, data })
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

    /// Columns and rows of the image it was made from.
    #[must_use]
    pub fn full_size(&self) -> (usize, usize) {
        self.full
    }

    /// Red, green, blue of each pixel in raster order.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Working-image pixels a full-resolution pixel, across and down; 1 where nothing was scaled.
    #[must_use]
    pub fn scale(&self) -> (f32, f32) {
        (self.width as f32 / self.full.0 as f32, self.height as f32 / self.full.1 as f32)
    }

    /// The rectangle of all of it, in its own pixels.
    #[must_use]
    pub fn area(&self) -> Rect {
        Rect::whole(self.width, self.height)
    }
}

/// Makes a [`WorkingImage`] from strips of rows, top to bottom.
#[derive(Clone, Debug)]
pub struct WorkingImageBuilder {
    full: (usize, usize),
    /// Rows taken so far.
    taken: usize,
    width: usize,
    height: usize,
    /// Shares of input columns in each output column; empty where nothing is scaled.
    across: Vec<Span>,
    /// Weighted sum of the rows of the output row under way, `[width, 3]`.
    sums: Vec<f32>,
    /// One input row averaged across, `[width, 3]`.
    row: Vec<f32>,
    /// Input rows (in output rows) that `sums` holds.
    covered: f64,
    data: Vec<u8>,
}

/// Input pixels `first..` and their shares, which add up to 1.
#[derive(Clone, Debug)]
struct Span {
    first: usize,
    shares: Vec<f32>,
}

impl WorkingImageBuilder {
    /// Begins an image of a size.
    ///
    /// # Errors
    /// [`Error::Image`] for a side of zero, or more than 2³⁰ pixels.
    pub fn new(width: usize, height: usize) -> Result<Self> {
        let pixels = check_sides(width, height)?;
        let (w, h) = working_size(width, height);
        let scaled = pixels > MAX_WORKING_PIXELS;
        let buffer = if scaled { vec![0.0; 3 * w] } else { vec![] };
        Ok(Self {
            full: (width, height),
            taken: 0,
            width: w,
            height: h,
            across: if scaled { spans(width, w) } else { vec![] },
            sums: buffer.clone(),
            row: buffer,
            covered: 0.0,
            data: Vec::with_capacity(3 * w * h),
        })
    }

    /// Takes the next rows: whole ones, of 3 (RGB) or 4 (RGBA) bytes a pixel. Transparency is laid
    /// over white.
    ///
    /// # Errors
    /// [`Error::Image`] for another number of channels, a part of a row, or more rows than announced.
    pub fn push_rows(&mut self, rows: &[u8], channels: usize) -> Result<()> {
        if !matches!(channels, 3 | 4) {
            return Err(Error::Image(format!(
                "{channels} bytes a pixel: only RGB (3) and RGBA (4) are read"
            )));
        }
        let row_len = self.full.0 * channels;
        if !rows.len().is_multiple_of(row_len) {
            let problem = format!("{} bytes are no whole number of rows of {row_len} bytes", rows.len());
            return Err(Error::Image(problem));
        }
        let (count, left) = (rows.len() / row_len, self.full.1 - self.taken);
        if count > left {
            return Err(Error::Image(format!("{count} more rows, but only {left} are missing")));
        }
        for row in rows.chunks_exact(row_len) {
            match channels {
                3 => self.push_row(row),
                _ => self.push_row(&over_white(row)),
            }
        }
        Ok(())
    }

    /// The image, when every row has been taken.
    ///
    /// # Errors
    /// [`Error::Image`] when rows are missing.
    pub fn finish(self) -> Result<WorkingImage> {
        if self.taken < self.full.1 {
            return Err(Error::Image(format!("only {} of {} rows were given", self.taken, self.full.1)));
        }
        let Self { width, height, full, data, .. } = self;
        Ok(WorkingImage { width, height, full, data })
    }

    fn push_row(&mut self, rgb: &[u8]) {
        self.taken += 1;
        if self.across.is_empty() {
            self.data.extend_from_slice(rgb);
            return;
        }
        average_across(&self.across, rgb, &mut self.row);
        // What an input row covers, in output rows; it is shared between two where it straddles an edge.
        let mut left = self.height as f64 / self.full.1 as f64;
        let last = self.taken == self.full.1;
        while left > 0.0 {
            let part = left.min(1.0 - self.covered);
            add_scaled(&mut self.sums, &self.row, part as f32);
            self.covered += part;
            left -= part;
            // Rounding must leave neither a sliver of a row behind nor a row unfinished at the end.
            if self.covered > 1.0 - 1e-9 || (last && left <= 0.0) {
                self.finish_row();
            }
            if left < 1e-9 {
                left = 0.0;
            }
        }
    }

    fn finish_row(&mut self) {
        if self.data.len() < 3 * self.width * self.height {
            let scale = 1.0 / self.covered as f32;
            self.data.extend(self.sums.iter().map(|sum| (sum * scale + 0.5) as u8));
        }
        self.sums.fill(0.0);
        self.covered = 0.0;
    }
}

/// The largest size of the same aspect within [`MAX_WORKING_PIXELS`], no larger than the image.
fn working_size(width: usize, height: usize) -> (usize, usize) {
    let pixels = width * height;
    if pixels <= MAX_WORKING_PIXELS {
        return (width, height);
    }
    let scale = (MAX_WORKING_PIXELS as f64 / pixels as f64).sqrt();
    let w = ((width as f64 * scale) as usize).max(1);
    let h = ((height as f64 * scale) as usize).max(1);
    // A line of pixels keeps its one pixel across: then the long side gives way.
    let h = h.min(MAX_WORKING_PIXELS / w);
    (w.min(MAX_WORKING_PIXELS / h), h)
}

fn spans(input: usize, output: usize) -> Vec<Span> {
    let scale = input as f64 / output as f64;
    (0..output)
        .map(|o| {
            let (start, end) = (o as f64 * scale, ((o + 1) as f64 * scale).min(input as f64));
            let first = (start as usize).min(input - 1);
            let last = (end.ceil() as usize).clamp(first + 1, input);
            let overlap = |i: usize| (end.min((i + 1) as f64) - start.max(i as f64)).max(0.0);
            let shares = (first..last).map(|i| (overlap(i) / (end - start)) as f32).collect();
            Span { first, shares }
        })
        .collect()
}

fn average_across(spans: &[Span], rgb: &[u8], out: &mut [f32]) {
    for (span, out) in spans.iter().zip(out.chunks_exact_mut(3)) {
        let mut sum = [0.0f32; 3];
        for (share, pixel) in span.shares.iter().zip(rgb[3 * span.first..].chunks_exact(3)) {
            for c in 0..3 {
                sum[c] += share * f32::from(pixel[c]);
            }
        }
        out.copy_from_slice(&sum);
    }
}

fn add_scaled(sums: &mut [f32], row: &[f32], weight: f32) {
    for (sum, value) in sums.iter_mut().zip(row) {
        *sum += weight * value;
    }
}

fn over_white(rgba: &[u8]) -> Vec<u8> {
    let blend = |value: u8, alpha: u8| {
        let (value, alpha) = (u32::from(value), u32::from(alpha));
        ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8
    };
    let pixels = rgba.as_chunks::<4>().0;
    pixels.iter().flat_map(|&[r, g, b, a]| [blend(r, a), blend(g, a), blend(b, a)]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn noise(width: usize, height: usize) -> Vec<u8> {
        (0..3 * width * height).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    #[test]
    fn a_small_image_stays_as_it_is() {
        let data = noise(31, 17);
        let image = WorkingImage::from_rgb(RgbView::new(31, 17, &data).unwrap()).unwrap();
        assert_eq!((image.width(), image.height(), image.data()), (31, 17, &data[..]));
        assert_eq!(image.scale(), (1.0, 1.0));
    }

    #[test]
    fn strips_give_the_same_as_the_whole() {
        let (w, h) = (2003, 1507);
        let data = noise(w, h);
        let whole = WorkingImage::from_rgb(RgbView::new(w, h, &data).unwrap()).unwrap();
        assert!(whole.width() * whole.height() <= MAX_WORKING_PIXELS);
        assert!(whole.width() * whole.height() > MAX_WORKING_PIXELS * 99 / 100);
        let mut builder = WorkingImageBuilder::new(w, h).unwrap();
        for strip in data.chunks(3 * w * 100) {
            builder.push_rows(strip, 3).unwrap();
        }
        assert_eq!(builder.finish().unwrap(), whole);
        let again = WorkingImage::restore((w, h), whole.data().to_vec()).unwrap();
        assert_eq!(again, whole);
        assert!(WorkingImage::restore((w, h), data).is_err());
    }

    #[test]
    fn halving_averages_four_pixels() {
        // 2000x3000 is four times the limit.
        let (w, h) = (2000, 3000);
        let data = noise(w, h);
        let image = WorkingImage::from_rgb(RgbView::new(w, h, &data).unwrap()).unwrap();
        assert_eq!((image.width(), image.height()), (1000, 1500));
        for (x, y) in [(0, 0), (999, 1499), (123, 777)] {
            let at = |dx: usize, dy: usize| u32::from(data[3 * ((2 * y + dy) * w + 2 * x + dx)]);
            let sum = at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1);
            assert_eq!(u32::from(image.data()[3 * (y * 1000 + x)]), (sum + 2) / 4);
        }
    }

    #[test]
    fn a_plain_image_stays_plain() {
        for (w, h) in [(1_000_003, 3), (3, 1_000_003), (1999, 1009), (20_000, 10), (1, 2_000_001)] {
            let data = vec![200; 3 * w * h];
            let image = WorkingImage::from_rgb(RgbView::new(w, h, &data).unwrap()).unwrap();
            assert_eq!(image.data().len(), 3 * image.width() * image.height(), "{w}x{h}");
            assert!(image.width() * image.height() <= MAX_WORKING_PIXELS);
            assert!(image.data().iter().all(|&v| v == 200), "{w}x{h}");
        }
    }

    #[test]
    fn transparency_lies_over_white() {
        let mut builder = WorkingImageBuilder::new(2, 1).unwrap();
        builder.push_rows(&[0, 0, 0, 0, 10, 20, 30, 255], 4).unwrap();
        assert_eq!(builder.finish().unwrap().data(), [255, 255, 255, 10, 20, 30]);
    }

    #[test]
    fn wrong_rows_are_named() {
        assert!(WorkingImageBuilder::new(0, 4).is_err());
        assert!(WorkingImageBuilder::new(usize::MAX, 4).is_err());
        let mut builder = WorkingImageBuilder::new(2, 2).unwrap();
        let problem = |r: Result<()>| r.unwrap_err().to_string();
        assert!(problem(builder.push_rows(&[0; 7], 3)).contains("7 bytes"));
        assert!(problem(builder.push_rows(&[0; 6], 2)).contains("2 bytes a pixel"));
        assert!(problem(builder.push_rows(&[0; 18], 3)).contains("only 2"));
        builder.push_rows(&[0; 6], 3).unwrap();
        assert!(builder.finish().unwrap_err().to_string().contains("1 of 2"));
    }
}
