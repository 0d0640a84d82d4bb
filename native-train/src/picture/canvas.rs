//! Drawing on an RGB image: rectangles, lines, small text.

use image::{Rgb, RgbImage, imageops};

/// Rows of the letters' 3×5 pixels, three bits each from the left.
#[rustfmt::skip]
const GLYPHS: &[(char, [u8; 5])] = &[
    ('0', [7, 5, 5, 5, 7]), ('1', [2, 6, 2, 2, 7]), ('2', [7, 1, 7, 4, 7]), ('3', [7, 1, 7, 1, 7]),
    ('4', [5, 5, 7, 1, 1]), ('5', [7, 4, 7, 1, 7]), ('6', [7, 4, 7, 5, 7]), ('7', [7, 1, 1, 1, 1]),
    ('8', [7, 5, 7, 5, 7]), ('9', [7, 5, 7, 1, 7]),
    ('A', [2, 5, 7, 5, 5]), ('B', [6, 5, 6, 5, 6]), ('C', [3, 4, 4, 4, 3]), ('D', [6, 5, 5, 5, 6]),
    ('E', [7, 4, 6, 4, 7]), ('F', [7, 4, 6, 4, 4]), ('G', [3, 4, 5, 5, 3]), ('H', [5, 5, 7, 5, 5]),
    ('I', [7, 2, 2, 2, 7]), ('J', [1, 1, 1, 5, 2]), ('K', [5, 5, 6, 5, 5]), ('L', [4, 4, 4, 4, 7]),
    ('M', [5, 7, 7, 5, 5]), ('N', [6, 5, 5, 5, 5]), ('O', [2, 5, 5, 5, 2]), ('P', [6, 5, 6, 4, 4]),
    ('Q', [2, 5, 5, 6, 3]), ('R', [6, 5, 6, 5, 5]), ('S', [3, 4, 2, 1, 6]), ('T', [7, 2, 2, 2, 2]),
    ('U', [5, 5, 5, 5, 7]), ('V', [5, 5, 5, 5, 2]), ('W', [5, 5, 7, 7, 5]), ('X', [5, 5, 2, 5, 5]),
    ('Y', [5, 5, 2, 2, 2]), ('Z', [7, 1, 2, 4, 7]),
    ('.', [0, 0, 0, 0, 2]), ('-', [0, 0, 7, 0, 0]), (':', [0, 2, 0, 2, 0]), ('/', [1, 1, 2, 4, 4]),
    ('%', [5, 1, 2, 4, 5]), ('\'', [2, 2, 0, 0, 0]), ('(', [1, 2, 2, 2, 1]), (')', [4, 2, 2, 2, 4]),
];

/// Width and height in pixels of a text drawn at a scale.
#[must_use]
pub fn glyph_size(text: &str, scale: u32) -> (u32, u32) {
    (4 * scale * text.chars().count() as u32, 5 * scale)
}

/// An image to draw on. What falls outside is cut off.
#[derive(Clone, Debug)]
pub struct Canvas {
    image: RgbImage,
}

impl Canvas {
    /// A canvas of one colour.
    #[must_use]
    pub fn new(width: u32, height: u32, colour: [u8; 3]) -> Self {
        Self { image: RgbImage::from_pixel(width, height, Rgb(colour)) }
    }

    /// A canvas with an image on it.
    #[must_use]
    pub fn from_image(image: RgbImage) -> Self {
        Self { image }
    }

    /// What was drawn.
    #[must_use]
    pub fn into_image(self) -> RgbImage {
        self.image
    }

    /// Colours one pixel.
    pub fn dot(&mut self, x: i64, y: i64, colour: [u8; 3]) {
        if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y))
            && let Some(pixel) = self.image.get_pixel_mut_checked(x, y)
        {
            *pixel = Rgb(colour);
        }
    }

    /// Puts another image with its top left corner at a place.
    pub fn paste(&mut self, image: &RgbImage, x: u32, y: u32) {
        imageops::replace(&mut self.image, image, i64::from(x), i64::from(y));
    }

    /// The border of a rectangle, `thickness` pixels inwards.
    pub fn frame(&mut self, (x, y, width, height): (i64, i64, i64, i64), thickness: i64, colour: [u8; 3]) {
        for row in y..y + height {
            for column in x..x + width {
                let inset = (column - x).min(x + width - 1 - column).min(row - y).min(y + height - 1 - row);
                if inset < thickness {
                    self.dot(column, row, colour);
                }
            }
        }
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), thickness: i64, colour: [u8; 3]) {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let count = dx.abs().max(dy.abs()).ceil().max(1.0) as u32;
        for i in 0..=count {
            let t = f64::from(i) / f64::from(count);
            let (x, y) = ((from.0 + t * dx).round() as i64, (from.1 + t * dy).round() as i64);
            for across in 0..thickness {
                self.dot(x, y + across, colour);
                self.dot(x + across, y, colour);
            }
        }
    }

    /// Text with its top left corner at a place; letters become capitals, unknown signs gaps.
    pub fn text(&mut self, text: &str, (x, y): (i64, i64), scale: u32, colour: [u8; 3]) {
        let size = i64::from(scale);
        for (at, letter) in text.chars().enumerate() {
            let letter = letter.to_ascii_uppercase();
            let Some((_, rows)) = GLYPHS.iter().find(|(known, _)| *known == letter) else { continue };
            for (row, bits) in rows.iter().enumerate() {
                for column in (0..3).filter(|c| bits >> (2 - c) & 1 == 1) {
                    let left = x + size * (4 * at as i64 + column);
                    let top = y + size * row as i64;
                    self.frame((left, top, size, size), size, colour);
                }
            }
        }
    }
}
