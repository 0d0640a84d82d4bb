//! A look at the whole photo, once: a convolutional network says of every cell of a coarse grid what
//! may be a thing there, and which cells may be of the same one. Its trunk is EfficientNet-Lite0,
//! pre-trained on ImageNet; the way back up, and the coarser half of the trunk, were trained on masks of
//! other photos (docs/refinement.md).

use std::sync::{Arc, LazyLock};

use super::super::WorkingImage;
use super::closer::Part;
use super::convolution::{Layer, Plane, Shape, Then};
use super::decoder::{self, Asked, Decoder};
use crate::cpu::awake::during;
use crate::resample::{Window, each_pixel};

/// Pixels along a side of what the network sees.
const SIDE: usize = 192;
/// Cells along a side of what it says.
pub(super) const GRID: usize = 48;
/// Numbers for the [prior](super::prior): what kind of place a cell is, and the log odds of a thing
/// that catches the eye.
pub(super) const SEEN: usize = 25;
/// Numbers of which the squared distance is small between cells of one thing.
pub(super) const KIN: usize = 12;
const OUT: usize = SEEN + KIN;

/// Channels of the first layer.
const STEM: usize = 32;
/// Of the trunk: blocks, kernel, stride of the first block, how much wider a block is inside, outputs.
const STAGES: [[usize; 5]; 6] = [
    [1, 3, 1, 1, 16],
    [2, 3, 2, 6, 24],
    [2, 5, 2, 6, 40],
    [3, 3, 2, 6, 80],
    [3, 5, 1, 6, 112],
    [4, 5, 2, 6, 192],
];
/// Stages that the way back up sees, from coarse to fine, and its channels there.
pub(super) const UP: [(usize, usize); 3] = [(4, 80), (2, 48), (1, 32)];

/// The network, and the decoder of prompts that was trained with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Glance {
    layers: Arc<Vec<Layer>>,
    decoder: Arc<Decoder>,
}

/// A block of the trunk: it looks around in every channel, wider inside than outside.
#[derive(Clone, Copy)]
struct Block {
    kernel: usize,
    stride: usize,
    inputs: usize,
    inner: usize,
    outputs: usize,
}

/// The blocks of each stage.
fn stages() -> [Vec<Block>; STAGES.len()] {
    let mut inputs = STEM;
    STAGES.map(|[blocks, kernel, stride, wider, outputs]| {
        let block = |at: usize| {
            let block = Block {
                kernel,
                stride: if at == 0 { stride } else { 1 },
                inputs,
                inner: inputs * wider,
                outputs,
            };
            inputs = outputs;
            block
        };
        (0..blocks).map(block).collect()
    })
}

impl Block {
    fn widens(&self) -> bool {
        self.inner != self.inputs
    }

    fn shapes(&self) -> impl Iterator<Item = Shape> {
        let expand = self.widens().then(|| Shape::dense(1, 1, self.inputs, self.inner));
        let around = Shape::by_channel(self.kernel, self.stride, self.inner);
        expand.into_iter().chain([around, Shape::dense(1, 1, self.inner, self.outputs)])
    }

    fn run(&self, x: &Plane, next: &mut impl FnMut(&Plane, Then<'_>) -> Plane) -> Plane {
        let wide = self.widens().then(|| next(x, Then::Relu6));
        let inner = next(wide.as_ref().unwrap_or(x), Then::Relu6);
        let beside = self.stride == 1 && self.inputs == self.outputs;
        next(&inner, if beside { Then::Add(x) } else { Then::Keep })
    }
}

/// All layers, in their order.
fn shapes() -> Vec<Shape> {
    let [.., [.., coarsest]] = STAGES;
    let (_, mut above) = UP[0];
    let mut shapes = vec![Shape::dense(3, 2, 3, STEM)];
    shapes.extend(stages().iter().flatten().flat_map(Block::shapes));
    shapes.extend([Shape::dense(1, 1, coarsest, above); 2]);
    for (stage, width) in UP {
        shapes.extend([
            Shape::dense(1, 1, above, width),
            Shape::dense(1, 1, STAGES[stage][4], width),
            Shape::dense(3, 1, width, width),
        ]);
        above = width;
    }
    shapes.push(Shape::dense(1, 1, above, OUT));
    shapes
}

/// What `glance.bin` was written for; none where it is not part of the library.
static SHIPPED: LazyLock<Option<Arc<Glance>>> = LazyLock::new(|| {
    #[cfg(feature = "glance")]
    let bytes: &[u8] = include_bytes!("glance.bin");
    #[cfg(not(feature = "glance"))]
    let bytes: &[u8] = &[];
    Glance::read(bytes).map(Arc::new)
});

impl Glance {
    /// The one that comes with the library; none without the feature `glance`.
    #[must_use]
    pub fn shipped() -> Option<Arc<Self>> {
        SHIPPED.clone()
    }

    /// From bytes: for each layer its biases (floats, little-endian), a scale for each output (upper
    /// halves of floats), and signed bytes `[kernel, kernel, inputs, outputs]`. None where the
    /// length is another.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Self> {
        let mut take = |count: usize| {
            let (taken, rest) = bytes.split_at_checked(count)?;
            bytes = rest;
            Some(taken)
        };
        let mut layers = Vec::new();
        let own = shapes();
        for &shape in own.iter().chain(&decoder::shapes()) {
            let bias =
                take(4 * shape.outputs)?.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
            let scale = |&b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16);
            let scales: Vec<f32> = take(2 * shape.outputs)?.as_chunks().0.iter().map(scale).collect();
            let levels = take(shape.terms() * shape.outputs)?;
            let weight = |(&level, scale): (&u8, &f32)| f32::from(level as i8) * scale;
            let weights = levels.iter().zip(scales.iter().cycle()).map(weight).collect();
            layers.push(Layer::new(shape, weights, bias));
        }
        let decoder = Arc::new(Decoder { layers: layers.split_off(own.len()) });
        bytes.is_empty().then_some(Self { layers: Arc::new(layers), decoder })
    }

    /// Looks at a part of a photo.
    pub(super) fn look(&self, image: &WorkingImage, part: Part) -> Seen {
        during(|| self.seen(image, part))
    }

    fn seen(&self, image: &WorkingImage, part: Part) -> Seen {
        let mut layers = self.layers.iter();
        let mut next =
            |x: &Plane, then: Then<'_>| layers.next().map_or_else(Plane::default, |layer| layer.run(x, then));
        let mut x = next(&photo(image, part), Then::Relu6);
        let ends = stages().map(|blocks| {
            for block in blocks {
                x = block.run(&x, &mut next);
            }
            x.clone()
        });
        let (top, everywhere) = (next(&x, Then::Keep), next(&x.mean(), Then::Keep));
        x = top.plus(&everywhere).relu();
        let ups = UP.map(|(stage, _)| {
            let above = next(&x, Then::Keep).twice();
            let both = next(&ends[stage], Then::AddRelu(&above));
            x = next(&both, Then::Relu);
            x.clone()
        });
        Seen { cells: next(&x, Then::Keep).values, ups, decoder: Arc::clone(&self.decoder) }
    }
}

/// Part of the photo, drawn to a square.
fn photo(image: &WorkingImage, Part { x, y, width, height }: Part) -> Plane {
    let window = Window { rgb: image.data(), image_width: image.width(), x, y, width, height };
    let mut values = vec![0.0; SIDE * SIDE * 3];
    each_pixel(&window, (SIDE, SIDE), |x, y, rgb| {
        values[3 * (y * SIDE + x)..][..3].copy_from_slice(&rgb.map(|level| (level - 127.0) / 128.0));
    });
    Plane { side: SIDE, channels: 3, values }
}

/// What the network says of every cell.
pub(super) struct Seen {
    /// `[GRID, GRID, OUT]`.
    cells: Vec<f32>,
    /// What it saw on its way back up, from coarse to fine.
    pub(super) ups: [Plane; 3],
    decoder: Arc<Decoder>,
}

impl Seen {
    /// At a place of the image, in parts of its sides: between the four cells around.
    pub(super) fn at(&self, place: [f32; 2]) -> ([f32; SEEN], [f32; KIN]) {
        let all: [f32; OUT] = between(&self.cells, place);
        (std::array::from_fn(|at| all[at]), std::array::from_fn(|at| all[SEEN + at]))
    }

    /// The numbers of kin of a cell.
    pub(super) fn kin(&self, cell: usize) -> &[f32; KIN] {
        self.cells[cell * OUT + SEEN..].first_chunk().unwrap_or(&[0.0; KIN])
    }

    /// What it saw at a cell on its finest scale.
    pub(super) fn finest(&self, cell: usize) -> &[f32] {
        let [.., finest] = &self.ups;
        &finest.values[cell * finest.channels..][..finest.channels]
    }

    /// Log odds that places of the image, in parts of its sides, belong to what is asked for.
    pub(super) fn answer(&self, asked: &Asked, places: impl Iterator<Item = [f32; 2]>) -> Vec<f32> {
        let odds = self.decoder.answer(self, asked);
        places.map(|place| between::<1>(&odds, place)[0]).collect()
    }
}

/// Numbers of cells `[GRID, GRID, N]` between the four around a place.
fn between<const N: usize>(cells: &[f32], place: [f32; 2]) -> [f32; N] {
    let mut all = [0.0; N];
    let [(x, u), (y, v)] = place.map(|part| {
        let at = (part * GRID as f32 - 0.5).clamp(0.0, (GRID - 1) as f32);
        (at as usize, at.fract())
    });
    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let share = (if dx == 1 { u } else { 1.0 - u }) * (if dy == 1 { v } else { 1.0 - v });
        let cell = (y + dy).min(GRID - 1) * GRID + (x + dx).min(GRID - 1);
        all.iter_mut().zip(&cells[cell * N..]).for_each(|(sum, value)| *sum += share * value);
    }
    all
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::RgbView;
    use super::super::RefineCache;
    use super::super::scene::SCENE;
    use super::*;

    /// Bytes of a network with weights by chance, small enough that nothing overflows.
    fn bytes() -> Vec<u8> {
        let mut level = 1u32;
        let mut next = move || {
            level = level.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (level >> 24) as u8
        };
        let mut bytes = Vec::new();
        for shape in shapes().into_iter().chain(decoder::shapes()) {
            let scale = 0.02 / (shape.terms() as f32).sqrt();
            (0..shape.outputs).for_each(|at| bytes.extend((0.01 * at as f32).to_le_bytes()));
            (0..shape.outputs).for_each(|_| bytes.extend(((scale.to_bits() >> 16) as u16).to_le_bytes()));
            bytes.extend((0..shape.terms() * shape.outputs).map(|_| next()));
        }
        bytes
    }

    fn image(width: usize, height: usize) -> WorkingImage {
        let pixel = |at: usize| {
            [(at % width * 255 / width) as u8, (at / width * 255 / height) as u8, (at * 7 % 251) as u8]
        };
        let data: Vec<u8> = (0..width * height).flat_map(pixel).collect();
        WorkingImage::from_rgb(RgbView::new(width, height, &data).unwrap()).unwrap()
    }

    #[test]
    fn any_photo_can_be_looked_at() {
        let glance = Glance::read(&bytes()).unwrap();
        for (width, height) in [(1, 1), (3, 400), (200, 150)] {
            let seen = {
                let image = image(width, height);
                glance.look(&image, Part::whole(&image))
            };
            assert_eq!(seen.cells.len(), GRID * GRID * OUT);
            assert!(seen.cells.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn between_cells_lies_what_is_between() {
        let cells =
            (0..GRID * GRID * OUT).map(|at| (at / OUT % GRID) as f32 + 100.0 * (at / OUT / GRID) as f32);
        let seen = Seen { cells: cells.collect(), ups: Default::default(), decoder: Arc::default() };
        let at = |x: f32, y: f32| seen.at([(x + 0.5) / GRID as f32, (y + 0.5) / GRID as f32]).0[0];
        assert!((at(3.0, 7.0) - 703.0).abs() < 1e-2 && (at(3.25, 7.5) - 753.25).abs() < 1e-2);
        let last = 101.0 * (GRID - 1) as f32;
        assert_eq!((seen.at([-1.0, 0.0]).0[0], seen.at([2.0, 2.0]).1[0]), (0.0, last));
    }

    #[test]
    fn bytes_of_another_length_are_refused() {
        let mut bytes = bytes();
        bytes.push(0);
        assert_eq!(Glance::read(&bytes), None);
        assert_eq!(Glance::read(&bytes[..bytes.len() - 2]), None);
        assert_eq!(Glance::read(&[]), None);
    }

    /// A bright disc on a ground that grows brighter.
    fn drawn() -> WorkingImage {
        let pixel = |at: usize| {
            let (x, y) = (at % SIDE, at / SIDE);
            let disc = x.abs_diff(80).pow(2) + y.abs_diff(110).pow(2) < 50 * 50;
            if disc { [220, 150, 40] } else { [x as u8, y as u8, ((x + y) / 2) as u8] }
        };
        let data: Vec<u8> = (0..SIDE * SIDE).flat_map(pixel).collect();
        WorkingImage::from_rgb(RgbView::new(SIDE, SIDE, &data).unwrap()).unwrap()
    }

    /// The numbers are those that `native-train/glance/check.py` prints for the same weights.
    #[test]
    #[cfg(feature = "glance")]
    fn the_shipped_one_sees_and_answers_as_in_pytorch() {
        let glance = Glance::shipped().unwrap();
        let seen = glance.look(&drawn(), Part { x: 0, y: 0, width: SIDE, height: SIDE });
        let left = (0..GRID * GRID).map(|cell| if cell % GRID < GRID / 2 { 1.0 } else { -1.0 });
        let asked = Asked {
            marks: [vec![27 * GRID + 20], vec![8 * GRID + 40]],
            boxed: Some([6.0, 14.0, 34.0, 41.0]),
            earlier: left.collect(),
        };
        let odds = glance.decoder.answer(&seen, &asked);
        let right = [
            ((3, 5), [0.262, -3.2032, 1.0191], 3.9369),
            ((27, 20), [-1.6642, 2.3618, -0.07], 8.5171),
            ((40, 44), [0.6753, -3.4663, 1.1137], -7.6627),
        ];
        for ((row, column), numbers, answer) in right {
            let cell = row * GRID + column;
            let made = [0, 24, 36].map(|at: usize| seen.cells[cell * OUT + at]);
            let off = made.iter().zip(numbers).map(|(a, b): (&f32, f32)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 2e-3, "{row}, {column}: {made:?} instead of {numbers:?}");
            assert!(
                (odds[cell] - answer).abs() < 2e-3,
                "{row}, {column}: {} instead of {answer}",
                odds[cell]
            );
        }
    }

    #[test]
    #[cfg(feature = "glance")]
    fn what_the_shipped_one_sees_reaches_the_prior() {
        let image = image(120, 90);
        let [with, without] =
            [Glance::shipped(), None].map(|glance| RefineCache::new(&image, glance.as_deref()));
        assert!(without.glance.is_empty() && with.glance.len() == with.superpixels.len());
        let seen = |cache: &RefineCache, at: usize| cache.scene[at][SCENE - SEEN - 1..].to_vec();
        for at in 0..with.superpixels.len() {
            assert_eq!(seen(&without, at), [0.0; SEEN + 1]);
            let there = seen(&with, at);
            assert_eq!((there[0], &there[1..]), (1.0, &with.glance[at].0[..]));
        }
        assert!(with.glance.windows(2).any(|pair| pair[0] != pair[1]), "all is seen alike");
    }
}
