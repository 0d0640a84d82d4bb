//! An encoder for tests: any sampling, restart markers, codes of 2 to 16 bits.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use image::RgbImage;

/// What a file is like.
#[derive(Debug, Clone, Copy)]
pub(in crate::data) struct Kind {
    /// Whether there is chroma.
    pub(in crate::data) is_colour: bool,
    /// Blocks of luma in a unit, across and down.
    pub(in crate::data) sampling: (usize, usize),
    /// Units between restart markers; 0 for none.
    pub(in crate::data) restart: u16,
    /// The step of all coefficients.
    pub(in crate::data) step: u8,
}

/// Colour at 4:4:4.
pub(in crate::data) const PLAIN: Kind = Kind { is_colour: true, sampling: (1, 1), restart: 0, step: 3 };

/// Codes for each length from 1 to 16 bits: a few short ones, most longer than a look into a table.
const AC_COUNTS: [u8; 16] = [0, 1, 2, 1, 1, 1, 1, 1, 2, 2, 4, 8, 20, 60, 70, 82];
const DC_COUNTS: [u8; 16] = [0, 1, 2, 2, 2, 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0];

struct Codes {
    counts: [u8; 16],
    symbols: Vec<u8>,
}

impl Codes {
    /// Code and length of a symbol.
    fn of(&self, symbol: u8) -> (u32, u32) {
        let (mut code, mut index) = (0, 0);
        for (length, &count) in (1..).zip(&self.counts) {
            code <<= 1;
            for _ in 0..count {
                if self.symbols[index] == symbol {
                    return (code, length);
                }
                (code, index) = (code + 1, index + 1);
            }
        }
        panic!("symbol {symbol} has no code");
    }

    fn segment(&self, which: u8) -> Vec<u8> {
        [&[which][..], &self.counts, &self.symbols].concat()
    }
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    buffer: u32,
    count: u32,
}

impl Bits {
    fn put(&mut self, value: u32, length: u32) {
        for i in (0..length).rev() {
            self.buffer = self.buffer << 1 | (value >> i & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.buffer as u8);
                if self.buffer as u8 == 0xFF {
                    self.bytes.push(0);
                }
                (self.buffer, self.count) = (0, 0);
            }
        }
    }

    fn number(&mut self, codes: &Codes, zeros: u8, value: i32) {
        let size = 32 - value.unsigned_abs().leading_zeros();
        let (code, length) = codes.of(zeros << 4 | size as u8);
        self.put(code, length);
        self.put((if value < 0 { value - 1 } else { value }) as u32, size);
    }

    fn fill(&mut self) {
        while self.count > 0 {
            self.put(1, 1);
        }
    }
}

/// A plane with its own size, and how many blocks of it are in a unit.
struct Plane {
    levels: Vec<f64>,
    width: usize,
    height: usize,
    of_unit: (usize, usize),
}

impl Plane {
    /// Levels of a function of a pixel's colour, averaged over `shrink` pixels.
    fn new(image: &RgbImage, shrink: (usize, usize), of_unit: (usize, usize), level: [f64; 3]) -> Self {
        let size = (image.width() as usize, image.height() as usize);
        let (width, height) = (size.0.div_ceil(shrink.0), size.1.div_ceil(shrink.1));
        let at = |x: usize, y: usize| {
            let pixel = image.get_pixel(x.min(size.0 - 1) as u32, y.min(size.1 - 1) as u32);
            (0..3).map(|c| level[c] * f64::from(pixel.0[c])).sum::<f64>()
        };
        let mut levels = Vec::new();
        for (x, y) in (0..width * height).map(|i| (i % width * shrink.0, i / width * shrink.1)) {
            let places = (0..shrink.0 * shrink.1).map(|i| at(x + i % shrink.0, y + i / shrink.0));
            levels.push(places.sum::<f64>() / (shrink.0 * shrink.1) as f64);
        }
        Self { levels, width, height, of_unit }
    }

    /// The coefficients of a block, in the order of the file.
    fn block(&self, column: usize, row: usize, step: f64) -> Vec<i32> {
        let level = |x: usize, y: usize| {
            let (x, y) = ((8 * column + x).min(self.width - 1), (8 * row + y).min(self.height - 1));
            self.levels[y * self.width + x]
        };
        let cosine = |u: usize, x: usize| {
            let factor = if u == 0 { 0.5f64.sqrt() } else { 1.0 };
            factor * 0.5 * (((2 * x + 1) * u) as f64 * std::f64::consts::PI / 16.0).cos()
        };
        let coefficient = |u: usize, v: usize| {
            let terms = (0..64).map(|i| level(i % 8, i / 8) * cosine(u, i / 8) * cosine(v, i % 8));
            (terms.sum::<f64>() / step).round() as i32
        };
        let diagonals = (0..15).flat_map(|sum: usize| {
            let along = (0..=sum).filter(move |&i| i < 8 && sum - i < 8);
            along.map(move |i| if sum.is_multiple_of(2) { (sum - i, i) } else { (i, sum - i) })
        });
        diagonals.map(|(u, v)| coefficient(u, v)).collect()
    }
}

/// A JPEG file of an image.
pub(in crate::data) fn encode(image: &RgbImage, kind: Kind) -> Vec<u8> {
    let (across, down) = kind.sampling;
    let mut planes = vec![Plane::new(image, (1, 1), kind.sampling, [0.299, 0.587, 0.114])];
    planes[0].levels.iter_mut().for_each(|level| *level -= 128.0);
    if kind.is_colour {
        planes.push(Plane::new(image, kind.sampling, (1, 1), [-0.168_736, -0.331_264, 0.5]));
        planes.push(Plane::new(image, kind.sampling, (1, 1), [0.5, -0.418_688, -0.081_312]));
    }
    let dc = Codes { counts: DC_COUNTS, symbols: (0..12).collect() };
    let ac = Codes { counts: AC_COUNTS, symbols: (0..=255).collect() };
    let units = ((image.width() as usize).div_ceil(8 * across), (image.height() as usize).div_ceil(8 * down));
    let mut file = headers(image, kind, planes.len() as u8, &dc, &ac);
    let (mut bits, mut means) = (Bits::default(), [0; 3]);
    for unit in 0..units.0 * units.1 {
        if kind.restart > 0 && unit > 0 && unit % usize::from(kind.restart) == 0 {
            bits.fill();
            let number = (unit / usize::from(kind.restart) - 1) % 8;
            bits.bytes.extend([0xFF, 0xD0 + number as u8]);
            means = [0; 3];
        }
        for (plane, mean) in planes.iter().zip(&mut means) {
            for i in 0..plane.of_unit.0 * plane.of_unit.1 {
                let column = unit % units.0 * plane.of_unit.0 + i % plane.of_unit.0;
                let row = unit / units.0 * plane.of_unit.1 + i / plane.of_unit.0;
                put_block(&mut bits, &plane.block(column, row, f64::from(kind.step)), mean, &dc, &ac);
            }
        }
    }
    bits.fill();
    file.extend(bits.bytes);
    file.extend([0xFF, 0xD9]);
    file
}

fn put_block(bits: &mut Bits, block: &[i32], mean: &mut i32, dc: &Codes, ac: &Codes) {
    bits.number(dc, 0, block[0] - *mean);
    *mean = block[0];
    let mut zeros = 0;
    for &value in &block[1..] {
        if value == 0 {
            zeros += 1;
            continue;
        }
        for _ in 0..zeros / 16 {
            let (code, length) = ac.of(0xF0);
            bits.put(code, length);
        }
        bits.number(ac, zeros % 16, value);
        zeros = 0;
    }
    if zeros > 0 {
        let (code, length) = ac.of(0);
        bits.put(code, length);
    }
}

fn headers(image: &RgbImage, kind: Kind, count: u8, dc: &Codes, ac: &Codes) -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8];
    let mut segment = |marker: u8, content: &[u8]| {
        file.extend([0xFF, marker]);
        file.extend((content.len() as u16 + 2).to_be_bytes());
        file.extend(content);
    };
    segment(0xDB, &[&[0][..], &[kind.step; 64]].concat());
    let [h1, h0] = (image.height() as u16).to_be_bytes();
    let [w1, w0] = (image.width() as u16).to_be_bytes();
    let (across, down) = kind.sampling;
    let sampling = |id: u8| if id == 1 { (across << 4 | down) as u8 } else { 0x11 };
    let components = (1..=count).flat_map(|id| [id, sampling(id), 0]);
    segment(0xC0, &[8, h1, h0, w1, w0, count].into_iter().chain(components).collect::<Vec<_>>());
    segment(0xC4, &dc.segment(0));
    segment(0xC4, &ac.segment(0x10));
    if kind.restart > 0 {
        segment(0xDD, &kind.restart.to_be_bytes());
    }
    let components = (1..=count).flat_map(|id| [id, 0]);
    segment(0xDA, &[count].into_iter().chain(components).chain([0, 63, 0]).collect::<Vec<_>>());
    file
}
