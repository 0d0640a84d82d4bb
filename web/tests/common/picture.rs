//! A picture that is drawn, so that it needs no file.

/// A square RGB picture, `[S, S, 3]`, values in 0..=255.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    rgb: Vec<u8>,
}

impl Picture {
    /// Draws hills under a sun: smooth areas, edges of both kinds, and a disc that a region could
    /// cover. `side` is the picture's width and height in pixels.
    #[must_use]
    pub fn draw(side: usize) -> Self {
        Self { rgb: places(side).flat_map(|(x, y)| colour(x, y)).collect() }
    }

    /// Red, green and blue of each pixel, row by row.
    #[must_use]
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
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
