//! Pictures: panels of predictions, attention maps, curves, label-map overlays.

mod canvas;
mod heat;
mod labels;
mod panel;
mod plot;

pub use canvas::{Canvas, glyph_size};
pub use heat::attention_overlay;
pub use labels::overlay as label_overlay;
pub use panel::panel;
pub use plot::{Series, curve, lines};

use std::path::Path;

use image::RgbImage;

use crate::checkpoint::write_atomically;
use crate::error::{Result, TrainError};

/// An image as the bytes of a PNG file.
///
/// # Errors
/// [`TrainError::Config`] for an image without pixels.
pub fn png(image: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(vec![]);
    let written = image.write_to(&mut bytes, image::ImageFormat::Png);
    written.map_err(|e| TrainError::Config(format!("a picture cannot be made: {e}")))?;
    Ok(bytes.into_inner())
}

/// Writes a PNG file; a viewer never sees half of one.
///
/// # Errors
/// [`TrainError::Io`].
pub fn save_png(image: &RgbImage, path: &Path) -> Result<()> {
    let bytes = png(image)?;
    write_atomically(path, |temporary| std::fs::write(temporary, &bytes))
}
