//! Colours as the eye measures them (CIE L\*a\*b\*, D65), and a palette of an image's own colours.

use std::sync::LazyLock;

/// L, a, b; a just noticeable difference is about 2.
pub(super) type Lab = [f32; 3];

/// Colours of a palette at most.
pub(super) const COLOURS: usize = 64;
/// Bits a channel of the table from RGB to palette.
const BITS: u32 = 5;
/// Colours nearer than about this count as alike.
const KERNEL_WIDTH: f32 = 6.0;
/// Rounds of k-means.
const ROUNDS: usize = 4;
/// Samples that k-means looks at, about.
const SAMPLES: usize = 6000;

pub(super) fn distance2(a: Lab, b: Lab) -> f32 {
    let [x, y, z] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    x * x + y * y + z * z
}

/// sRGB transfer curve, and the cube root of CIE 1976 in steps of 1/4096.
struct Tables {
    linear: [f32; 256],
    root: Vec<f32>,
}

const ROOT_STEPS: f32 = 4096.0;

static TABLES: LazyLock<Tables> = LazyLock::new(|| Tables {
    linear: std::array::from_fn(|level| {
        let level = level as f32 / 255.0;
        if level <= 0.04045 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) }
    }),
    root: (0..=ROOT_STEPS as usize + 1)
        .map(|step| {
            let t = step as f32 / ROOT_STEPS;
            if t > 0.008_856 { t.cbrt() } else { 7.787 * t + 16.0 / 116.0 }
        })
        .collect(),
});

/// Turns sRGB into [`Lab`] by tables.
pub(super) struct Converter(&'static Tables);

impl Converter {
    pub(super) fn new() -> Self {
        Self(&TABLES)
    }

    pub(super) fn lab(&self, rgb: [u8; 3]) -> Lab {
        let [r, g, b] = rgb.map(|level| self.0.linear[usize::from(level)]);
        // Divided by the white point.
        let x = self.root(0.433_95 * r + 0.376_22 * g + 0.189_83 * b);
        let y = self.root(0.212_67 * r + 0.715_16 * g + 0.072_17 * b);
        let z = self.root(0.017_76 * r + 0.109_47 * g + 0.872_77 * b);
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn root(&self, t: f32) -> f32 {
        let place = t.clamp(0.0, 1.0) * ROOT_STEPS;
        let step = place as usize;
        let (low, high) = (self.0.root[step], self.0.root[step + 1]);
        low + (high - low) * (place - step as f32)
    }
}

/// The colours that an image is made of.
pub(super) struct Palette {
    /// Palette index of an RGB colour of `BITS` bits a channel.
    table: Vec<u8>,
    /// How alike two colours of the palette are, `[COLOURS, COLOURS]`, rows summing to 1.
    kernel: Vec<f32>,
    len: usize,
}

impl Palette {
    /// By k-means over every so many colours of `lab`.
    pub(super) fn new(lab: &[Lab]) -> Self {
        let stride = (lab.len() / SAMPLES).max(1);
        let samples: Vec<Lab> = lab.iter().copied().step_by(stride).collect();
        let mut centres = spread(&samples);
        for _ in 0..ROUNDS {
            move_to_means(&mut centres, &samples);
        }
        let kernel = kernel(&centres);
        Self { table: table(&centres), kernel, len: centres.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn index(&self, rgb: [u8; 3]) -> usize {
        let [r, g, b] = rgb.map(|level| usize::from(level >> (8 - BITS)));
        usize::from(self.table[(r << (2 * BITS)) | (g << BITS) | b])
    }

    /// Spreads a histogram over colours that are alike.
    pub(super) fn smooth(&self, histogram: &[f32]) -> Vec<f32> {
        let rows = self.kernel.chunks_exact(self.len);
        rows.map(|row| row.iter().zip(histogram).map(|(k, h)| k * h).sum()).collect()
    }
}

/// Starting colours far from one another: always the sample farthest from those chosen.
fn spread(samples: &[Lab]) -> Vec<Lab> {
    let Some(&first) = samples.first() else { return vec![[0.0; 3]] };
    let mut centres = vec![first];
    let mut nearest = vec![f32::INFINITY; samples.len()];
    while centres.len() < COLOURS {
        let last = centres[centres.len() - 1];
        let (mut farthest, mut most) = (0, 1.0);
        for (at, (&sample, least)) in samples.iter().zip(&mut nearest).enumerate() {
            *least = least.min(distance2(sample, last));
            if *least > most {
                (farthest, most) = (at, *least);
            }
        }
        if most <= 1.0 {
            break;
        }
        centres.push(samples[farthest]);
    }
    centres
}

fn nearest(centres: &[Lab], colour: Lab) -> usize {
    let mut best = (0, f32::INFINITY);
    for (at, &centre) in centres.iter().enumerate() {
        let distance = distance2(centre, colour);
        if distance < best.1 {
            best = (at, distance);
        }
    }
    best.0
}

fn move_to_means(centres: &mut [Lab], samples: &[Lab]) {
    let mut sums = vec![([0.0f32; 3], 0.0f32); centres.len()];
    for &sample in samples {
        let (sum, count) = &mut sums[nearest(centres, sample)];
        *count += 1.0;
        for (sum, value) in sum.iter_mut().zip(sample) {
            *sum += value;
        }
    }
    for (centre, (sum, count)) in centres.iter_mut().zip(sums) {
        if count > 0.0 {
            *centre = sum.map(|value| value / count);
        }
    }
}

fn table(centres: &[Lab]) -> Vec<u8> {
    let converter = Converter::new();
    let mask = (1usize << BITS) - 1;
    let level = |bits: usize| ((bits & mask) << (8 - BITS)) as u8 + (1 << (7 - BITS));
    let colour = |at: usize| converter.lab([level(at >> (2 * BITS)), level(at >> BITS), level(at)]);
    (0..1 << (3 * BITS)).map(|at| nearest(centres, colour(at)) as u8).collect()
}

fn kernel(centres: &[Lab]) -> Vec<f32> {
    let scale = -0.5 / (KERNEL_WIDTH * KERNEL_WIDTH);
    let mut kernel = Vec::with_capacity(centres.len() * centres.len());
    for &a in centres {
        let row: Vec<f32> = centres.iter().map(|&b| (scale * distance2(a, b)).exp()).collect();
        let sum: f32 = row.iter().sum();
        kernel.extend(row.iter().map(|value| value / sum));
    }
    kernel
}
