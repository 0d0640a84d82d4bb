//! What [`refine`](super::refine()) needs to know of an image whatever the prompts: worked out once.

use super::super::WorkingImage;
use super::closer::{Looks, Part};
use super::colour::{Converter, Lab, Palette};
use super::decoder::Place;
use super::glance::{Glance, KIN, SEEN, Seen};
use super::pyramid::{LEVELS, Level, levels};
use super::scene::{Grain, SCENE, describe, grain};
use super::superpixels::Superpixels;

/// Pixels of the reduced image at most, about.
const REDUCED_PIXELS: usize = 200_000;
/// Superpixels to aim at.
const SUPERPIXELS: f32 = 2000.0;
/// Share of the pixels below which a colour's frequency says nothing.
const RARE: f32 = 1e-3;
/// Least side of a superpixel.
const LEAST_STEP: f32 = 4.0;

/// Superpixels and colours of one image, for any number of prompts.
pub struct RefineCache {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Pixels of the image to one of the reduced image, along a side.
    pub(super) factor: usize,
    /// Columns of the reduced image.
    pub(super) columns: usize,
    pub(super) superpixels: Superpixels,
    /// Side of a superpixel, in reduced pixels.
    pub(super) step: f32,
    pub(super) palette: Palette,
    /// Which colours of the palette a superpixel has and how often, in compressed rows.
    pub(super) colours: Vec<(u8, f32)>,
    pub(super) colour_starts: Vec<u32>,
    /// What a glance at the photo saw at each superpixel, and what it is kin to; empty without one.
    pub(super) glance: Vec<([f32; SEEN], [f32; KIN])>,
    /// The same as cells, which the decoder is asked about; none without a glance.
    pub(super) seen: Option<Seen>,
    /// Closer looks at parts of the image; none without a glance.
    pub(super) looks: Option<Looks>,
    /// The grain of each superpixel.
    pub(super) grain: Vec<Grain>,
    /// What the image says of each superpixel.
    pub(super) scene: Vec<[f32; SCENE]>,
    /// Superpixels, and the regions they form.
    pub(super) levels: [Level; LEVELS],
}

impl RefineCache {
    /// Works it all out; about as long as a dozen masks take. Without a glance masks are worse.
    #[must_use]
    pub fn new(image: &WorkingImage, glance: Option<&Glance>) -> Self {
        let (width, height, rgb) = (image.width(), image.height(), image.data());
        let pixels = (width * height).max(1);
        let factor = (pixels as f32 / REDUCED_PIXELS as f32).sqrt().ceil().max(1.0) as usize;
        let reduced = Reduced::new(rgb, width, height, factor);
        let lab = blur(&reduced.lab(), reduced.width, reduced.height);
        let step = (lab.len() as f32 / SUPERPIXELS).sqrt().max(LEAST_STEP);
        let superpixels = Superpixels::new(&lab, reduced.width, reduced.height, step);
        let palette = Palette::new(&lab);
        let (colours, colour_starts) = count_colours(&superpixels, &palette, &reduced.rgb);
        let columns = reduced.width;
        let (scene, levels) = (Vec::new(), levels(&superpixels));
        let grain = grain(&superpixels, &lab, columns);
        let seen = glance.map(|glance| glance.look(image, Part::whole(image)));
        let mut cache = Self {
            width,
            height,
            factor,
            columns,
            superpixels,
            step,
            palette,
            colours,
            colour_starts,
            glance: Vec::new(),
            seen,
            looks: glance.map(Looks::new),
            grain,
            scene,
            levels,
        };
        let whole = Place::new(&cache, None);
        let looked = |seen: &Seen| whole.patches(&cache).map(|place| seen.at(place)).collect();
        cache.glance = cache.seen.as_ref().map(looked).unwrap_or_default();
        cache.scene = describe(&cache, &lab);
        cache
    }

    pub(super) fn colours_of(&self, patch: usize) -> &[(u8, f32)] {
        &self.colours[self.colour_starts[patch] as usize..self.colour_starts[patch + 1] as usize]
    }

    /// Mean over a superpixel's pixels of numbers of the palette's colours.
    pub(super) fn mean_odds(&self, patch: usize, odds: &[f32]) -> f32 {
        let sum: f32 = self.colours_of(patch).iter().map(|&(colour, n)| n * odds[usize::from(colour)]).sum();
        sum / self.superpixels.patches[patch].area.max(1.0)
    }

    /// How much more often each colour of the palette comes in superpixels that are inside (`share`
    /// of 1) than in those that are not (0), as logarithms.
    pub(super) fn palette_odds(&self, share: impl Fn(usize) -> f32) -> Vec<f32> {
        let len = self.palette.len();
        let (mut object, mut rest) = (vec![0.0f32; len], vec![0.0f32; len]);
        for at in 0..self.superpixels.len() {
            let share = share(at);
            for &(colour, count) in self.colours_of(at) {
                object[usize::from(colour)] += share * count;
                rest[usize::from(colour)] += (1.0 - share) * count;
            }
        }
        let (object, rest) = (self.palette.smooth(&object), self.palette.smooth(&rest));
        let sums = (object.iter().sum::<f32>().max(1.0), rest.iter().sum::<f32>().max(1.0));
        let odds = |(o, r): (&f32, &f32)| ((o / sums.0 + RARE) / (r / sums.1 + RARE)).ln();
        object.iter().zip(&rest).map(odds).collect()
    }

    /// The lowest and the highest column and row of some superpixels; infinite where there are none.
    pub(super) fn extent(&self, among: impl Fn(usize) -> bool) -> [[f32; 2]; 2] {
        let mut ends = [[f32::INFINITY, f32::NEG_INFINITY]; 2];
        for (_, patch) in self.superpixels.patches.iter().enumerate().filter(|(at, _)| among(*at)) {
            for (ends, place) in ends.iter_mut().zip(patch.centre) {
                *ends = [ends[0].min(place), ends[1].max(place)];
            }
        }
        ends
    }

    /// The superpixel that holds a pixel of the image.
    pub(super) fn patch_at(&self, x: usize, y: usize) -> usize {
        self.superpixels.labels[y / self.factor * self.columns + x / self.factor] as usize
    }
}

/// The image made smaller by a whole number.
struct Reduced {
    rgb: Vec<[u8; 3]>,
    width: usize,
    height: usize,
}

impl Reduced {
    /// Means of blocks of `factor × factor` pixels, smaller ones at the right and lower border.
    fn new(rgb: &[u8], width: usize, height: usize, factor: usize) -> Self {
        let (pixels, _) = rgb.as_chunks::<3>();
        let pixel = |x: usize, y: usize| pixels.get(y * width + x).copied().unwrap_or_default();
        let (columns, rows) = (width.div_ceil(factor), height.div_ceil(factor));
        let mut reduced = Vec::with_capacity(columns * rows);
        for row in 0..rows {
            for column in 0..columns {
                let (mut sum, mut count) = ([0u32; 3], 0);
                for y in row * factor..((row + 1) * factor).min(height) {
                    for x in column * factor..((column + 1) * factor).min(width) {
                        count += 1;
                        for (sum, level) in sum.iter_mut().zip(pixel(x, y)) {
                            *sum += u32::from(level);
                        }
                    }
                }
                reduced.push(sum.map(|sum| (sum / count.max(1)) as u8));
            }
        }
        Self { rgb: reduced, width: columns, height: rows }
    }

    fn lab(&self) -> Vec<Lab> {
        let converter = Converter::new();
        self.rgb.iter().map(|&rgb| converter.lab(rgb)).collect()
    }
}

/// Weighs every pixel with its neighbours, 1 : 2 : 1 along both sides.
fn blur(lab: &[Lab], width: usize, height: usize) -> Vec<Lab> {
    let mean = |a: Lab, b: Lab, c: Lab| std::array::from_fn(|at| 0.25 * (a[at] + 2.0 * b[at] + c[at]));
    let mut across = Vec::with_capacity(lab.len());
    for line in lab.chunks_exact(width.max(1)) {
        for (x, &here) in line.iter().enumerate() {
            across.push(mean(line[x.saturating_sub(1)], here, line[(x + 1).min(width - 1)]));
        }
    }
    let mut both = Vec::with_capacity(lab.len());
    for y in 0..height {
        let line = |y: usize| &across[y * width..(y + 1) * width];
        let (above, below) = (line(y.saturating_sub(1)), line((y + 1).min(height - 1)));
        both.extend(line(y).iter().zip(above).zip(below).map(|((&here, &a), &b)| mean(a, here, b)));
    }
    both
}

fn count_colours(
    superpixels: &Superpixels, palette: &Palette, rgb: &[[u8; 3]],
) -> (Vec<(u8, f32)>, Vec<u32>) {
    let len = palette.len();
    let mut counts = vec![0.0f32; superpixels.len() * len];
    for (&label, &rgb) in superpixels.labels.iter().zip(rgb) {
        counts[label as usize * len + palette.index(rgb)] += 1.0;
    }
    let mut colours = Vec::new();
    let mut starts = vec![0];
    for row in counts.chunks_exact(len) {
        colours.extend((0u8..).zip(row).filter(|(_, count)| **count > 0.0).map(|(at, &count)| (at, count)));
        starts.push(colours.len() as u32);
    }
    (colours, starts)
}
