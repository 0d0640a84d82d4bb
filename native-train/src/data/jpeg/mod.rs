//! A decoder of the JPEG files that photos are: sequential, 8 bits, Huffman codes, one scan.
//!
//! Training looks at a part of a photo, at 224 pixels: so this one decodes the part that a [`Crop`] needs,
//! at the scale that is still fine enough, and reads over the codes of the rest. Whatever it does not know
//! or finds damaged is left ([`NotMine`]) to the `image` crate, which says what is wrong.
//!
//! A file goes through `header` (segments), `bits` (stuffing and restart markers taken out of the scan),
//! `huffman` (codes to coefficients), `transform` (coefficients to samples) and `colour` (samples to
//! [`Planes`]); `layout` says which blocks a crop needs, `scan` walks over all blocks.

mod bits;
mod colour;
mod header;
mod huffman;
mod layout;
mod scan;
mod transform;

use image::metadata::Orientation;

use super::augment::Crop;
use header::Header;
use layout::Layout;

/// The file is of another kind, or damaged: another decoder may know more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotMine;

/// A JPEG file whose headers have been read.
#[derive(Debug)]
pub(crate) struct Jpeg<'a> {
    header: Header<'a>,
}

/// 8-bit red, green and blue, each `[height, width]`.
#[derive(Debug, Default)]
pub(crate) struct Planes {
    /// Columns.
    pub(crate) width: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Red, green, blue.
    pub(crate) planes: [Vec<u8>; 3],
}

/// Memory that is used again from one file to the next.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    scan: scan::Buffers,
    colour: colour::Buffers,
}

impl<'a> Jpeg<'a> {
    /// Reads the headers of a file.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, NotMine> {
        Ok(Self { header: Header::read(bytes)? })
    }

    /// Columns and rows as stored, before the orientation is applied.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.header.width as u32, self.header.height as u32)
    }

    /// How the stored pixels have to be turned.
    pub(crate) fn orientation(&self) -> Orientation {
        self.header.orientation
    }

    /// The pixels at a `scale`th (1, 2, 4 or 8) of the size that a crop of the stored picture touches:
    /// columns from `x / scale` to `(x + width) / scale`, rounded outwards; rows likewise.
    pub(crate) fn decode<'b>(
        &self, crop: &Crop, scale: usize, buffers: &'b mut Buffers,
    ) -> Result<&'b Planes, NotMine> {
        let layout = Layout::new(&self.header, crop, scale)?;
        let samples = scan::samples(&self.header, &layout, &mut buffers.scan)?;
        Ok(colour::convert(samples, &layout, &mut buffers.colour))
    }
}

#[cfg(test)]
pub(super) mod encoder;
#[cfg(test)]
mod tests;
