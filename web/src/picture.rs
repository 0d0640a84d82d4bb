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
        Self { side, rgb: places(side).flat_map(|(x, y)| colour(x, y)).collect() }
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

    /// Two regions of the picture, the sun and the near hill: `[2, S, S]` of 0 and 1.
    #[must_use]
    pub fn regions(&self) -> Vec<f32> {
        let map = |wanted| places(self.side).map(move |(x, y)| f32::from(u8::from(thing(x, y) == wanted)));
        [Thing::Sun, Thing::NearHill].into_iter().flat_map(map).collect()
    }

    /// `[3, S, S]` with each channel's mean subtracted and divided by its standard deviation, the
    /// figures (of ImageNet, as fractions of 255) that the models are trained with.
    #[must_use]
    pub fn normalised(&self) -> Vec<f32> {
        const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
        const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
        let scaled =
            |channel: usize, value: u8| (f32::from(value) / 255.0 - MEAN[channel]) / DEVIATION[channel];
        let plane = |channel: usize| {
            self.rgb.iter().skip(channel).step_by(3).map(move |&value| scaled(channel, value))
        };
        (0..3).flat_map(plane).collect()
    }
}

/// What a pixel belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thing {
    NearHill,
    FarHill,
    Sun,
    Sky,
}

/// What is seen at a place, nearest first; `x` and `y` are fractions of the side.
fn thing(x: f32, y: f32) -> Thing {
    let hill = |height: f32, waves: f32, size: f32| y > height + size * (waves * x).sin();
    if hill(0.78, 7.0, 0.06) {
        Thing::NearHill
    } else if hill(0.58, 4.5, 0.09) {
        Thing::FarHill
    } else if (x - 0.68).hypot(y - 0.27) < 0.13 {
        Thing::Sun
    } else {
        Thing::Sky
    }
}

fn colour(x: f32, y: f32) -> [u8; 3] {
    match thing(x, y) {
        Thing::NearHill => shade([44, 92, 64], 1.15 - 0.4 * y),
        Thing::FarHill => shade([86, 138, 118], 1.1 - 0.3 * x),
        Thing::Sun => [250, 214, 126],
        Thing::Sky => shade([150, 190, 226], 0.85 + 0.3 * y),
    }
}

/// The middle of every pixel of a square picture, row by row, as fractions of the side.
fn places(side: usize) -> impl Iterator<Item = (f32, f32)> {
    (0..side * side).map(move |at| (centre(at % side, side), centre(at / side, side)))
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
    fn regions_cover_what_they_name() {
        let regions = Picture::draw(64).regions();
        let covered = |map: usize, x: usize, y: usize| regions[map * 64 * 64 + y * 64 + x] == 1.0;
        assert_eq!(regions.len(), 2 * 64 * 64);
        assert!(covered(0, 43, 17) && !covered(1, 43, 17));
        assert!(covered(1, 30, 62) && !covered(0, 30, 62));
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
