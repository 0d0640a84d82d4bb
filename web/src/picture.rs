//! The picture that the engine check runs on: drawn, so that it needs no file and no permission.

/// A square RGB picture, `[S, S, 3]`, values in 0..=255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    side: usize,
    rgb: Vec<u8>,
}

impl Picture {
    /// Draws hills under a sun: smooth areas, edges of both kinds, and a disc that a region could
    /// cover. `side` is the picture's width and height in pixels.
    #[must_use]
    pub fn draw(side: usize) -> Self {
        let pixels = (0..side * side).map(|at| colour(at % side, at / side, side));
        Self { side, rgb: pixels.flatten().collect() }
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// `[S, S, 4]` for a canvas, opaque.
    #[must_use]
    pub fn rgba(&self) -> Vec<u8> {
        let pixels = self.rgb.chunks_exact(3);
        pixels.flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect()
    }

    /// `[3, S, S]` with each channel's mean subtracted and divided by its standard deviation, the
    /// figures (of ImageNet, as fractions of 255) that the models are trained with.
    #[must_use]
    pub fn normalised(&self) -> Vec<f32> {
        const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
        const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
        let scaled = |channel: usize, value: u8| {
            (f32::from(value) / 255.0 - MEAN[channel]) / DEVIATION[channel]
        };
        let plane = |channel: usize| {
            self.rgb.iter().skip(channel).step_by(3).map(move |&value| scaled(channel, value))
        };
        (0..3).flat_map(plane).collect()
    }
}

/// The colour at a pixel: sun, then the near hill, then the far one, then sky.
fn colour(column: usize, row: usize, side: usize) -> [u8; 3] {
    let (x, y) = (centre(column, side), centre(row, side));
    let hill = |height: f32, waves: f32, size: f32| y > height + size * (waves * x).sin();
    if hill(0.78, 7.0, 0.06) {
        shade([44, 92, 64], 1.15 - 0.4 * y)
    } else if hill(0.58, 4.5, 0.09) {
        shade([86, 138, 118], 1.1 - 0.3 * x)
    } else if (x - 0.68).hypot(y - 0.27) < 0.13 {
        [250, 214, 126]
    } else {
        shade([150, 190, 226], 0.85 + 0.3 * y)
    }
}

/// The middle of a pixel as a fraction of the side.
fn centre(index: usize, side: usize) -> f32 {
    (index as f32 + 0.5) / side as f32
}

fn shade(colour: [u8; 3], light: f32) -> [u8; 3] {
    colour.map(|value| (f32::from(value) * light).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_all_pixels_and_no_transparency() {
        let picture = Picture::draw(17);
        let rgba = picture.rgba();
        assert_eq!((picture.side(), rgba.len()), (17, 17 * 17 * 4));
        assert!(rgba.chunks_exact(4).all(|pixel| pixel[3] == 255));
    }

    #[test]
    fn shows_sky_sun_and_hills() {
        let rgba = Picture::draw(64).rgba();
        let at = |x: usize, y: usize| &rgba[(y * 64 + x) * 4..][..3];
        let places = [at(2, 2), at(43, 17), at(30, 42), at(30, 62)];
        for (index, place) in places.iter().enumerate() {
            assert!(!places[..index].contains(place), "{places:?}");
        }
    }

    #[test]
    fn planes_are_normalised_channels() {
        let picture = Picture::draw(8);
        let (planes, rgba) = (picture.normalised(), picture.rgba());
        assert_eq!(planes.len(), 3 * 64);
        let green = f32::from(rgba[4 * 9 + 1]) / 255.0;
        assert!((planes[64 + 9] * 0.224 + 0.456 - green).abs() < 1e-6);
    }
}
