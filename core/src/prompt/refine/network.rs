//! A small network over superpixels and the regions they form: messages go to neighbours, to larger
//! regions and back, and from the prompts to everywhere.

use super::pyramid::{LEVELS, Level};
use crate::cpu::gemm::{Job, Mat, run};
use crate::cpu::math::Real;

/// Numbers that a region carries.
pub const CHANNELS: usize = 32;
/// What every region carries, or weights from one input to all outputs.
pub type Row = [f32; CHANNELS];
/// What prompts tell all regions: means over positive seeds, over negative ones, over the image.
pub(super) const GLOBALS: usize = 3;

/// One step of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From features to what superpixels carry: `relu(W f + b)`.
    Embed,
    /// On a level, `h + relu(W [h, means of neighbours, means of neighbours alike] + b)`; with what
    /// prompts tell all, too.
    Round(usize, bool),
    /// The mean over the regions of a level goes to the next.
    Down(usize),
    /// `h + relu(W [h, that of the region of the next level] + b)`.
    Up(usize),
    /// To log odds.
    Out,
}

/// The steps in their order.
pub const PLAN: [Step; 13] = [
    Step::Embed,
    Step::Round(0, false),
    Step::Down(0),
    Step::Round(1, false),
    Step::Round(1, true),
    Step::Down(1),
    Step::Round(2, true),
    Step::Round(2, false),
    Step::Up(1),
    Step::Round(1, false),
    Step::Up(0),
    Step::Round(0, true),
    Step::Out,
];

impl Step {
    /// Rows of weights, the last of which is added; none where nothing is learnt.
    #[must_use]
    pub fn rows(self, features: usize) -> usize {
        match self {
            Self::Embed => features + 1,
            Self::Round(_, told) => 3 * CHANNELS + if told { GLOBALS * CHANNELS } else { 0 } + 1,
            Self::Down(_) => 0,
            Self::Up(_) => 2 * CHANNELS + 1,
            Self::Out => 2,
        }
    }
}

/// Weights of all steps, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Each step's [rows](Step::rows).
    pub rows: Vec<Row>,
    pub(super) features: usize,
}

impl Network {
    /// Rows of a network that takes so many features.
    #[must_use]
    pub fn len(features: usize) -> usize {
        PLAN.iter().map(|step| step.rows(features)).sum()
    }

    /// Of rows that are [as many](Self::len) as the features need.
    #[must_use]
    pub fn new(rows: Vec<Row>, features: usize) -> Option<Self> {
        (rows.len() == Self::len(features)).then_some(Self { rows, features })
    }

    /// From bytes: for each step 32 scales (the upper halves of floats, little-endian), then rows of
    /// 32 signed bytes.
    #[must_use]
    pub fn read(bytes: &[u8], features: usize) -> Option<Self> {
        let mut rows = Vec::with_capacity(Self::len(features));
        let mut rest = bytes;
        for count in PLAN.iter().map(|step| step.rows(features)).filter(|&count| count > 0) {
            let (scales, after) = rest.split_at_checked(2 * CHANNELS)?;
            let (weights, after) = after.split_at_checked(count * CHANNELS)?;
            rest = after;
            let scales = scales.as_chunks::<2>().0;
            let scale = |at: usize| f32::from_bits(u32::from(u16::from_le_bytes(scales[at])) << 16);
            let row = |row: &[u8; CHANNELS]| std::array::from_fn(|at| f32::from(row[at] as i8) * scale(at));
            rows.extend(weights.as_chunks::<CHANNELS>().0.iter().map(row));
        }
        if rest.is_empty() { Self::new(rows, features) } else { None }
    }
}

/// What the network looks at.
pub(super) struct View<'a, const F: usize> {
    pub(super) levels: &'a [Level; LEVELS],
    pub(super) features: &'a [[f32; F]],
    /// For each level the part of all positive and of all negative seeds in every region.
    pub(super) seeds: [Vec<[f32; 2]>; LEVELS],
}

impl<'a, const F: usize> View<'a, F> {
    /// `seeds` are superpixels, those inside and those outside.
    pub(super) fn new(levels: &'a [Level; LEVELS], features: &'a [[f32; F]], seeds: [&[u32]; 2]) -> Self {
        let mut parts: [Vec<[f32; 2]>; LEVELS] =
            std::array::from_fn(|level| vec![[0.0; 2]; levels[level].len()]);
        for (kind, seeds) in seeds.into_iter().enumerate() {
            for &seed in seeds {
                let mut region = seed;
                for (level, parts) in levels.iter().zip(&mut parts) {
                    parts[region as usize][kind] += 1.0 / seeds.len() as f32;
                    region = level.up[region as usize].0;
                }
            }
        }
        Self { levels, features, seeds: parts }
    }

    /// Log odds of every superpixel. `watch` sees what each step starts from.
    pub(super) fn run(&self, network: &Network, mut watch: impl FnMut(Seen<'_>)) -> Vec<f32> {
        let mut state: [Vec<Row>; LEVELS] = Default::default();
        let mut rows = &network.rows[..];
        let mut odds = Vec::new();
        for step in PLAN {
            let (weights, rest) = rows.split_at(step.rows(network.features));
            rows = rest;
            let (added, inputs) = match step {
                Step::Embed => (self.embed(weights), Vec::new()),
                Step::Round(level, told) => self.round(level, told, &state[level], weights),
                Step::Up(level) => self.up(level, &state, weights),
                Step::Down(_) | Step::Out => Default::default(),
            };
            watch(Seen { step, state: &state, inputs, added: &added });
            match step {
                Step::Embed => state[0] = added.iter().map(relu).collect(),
                Step::Down(level) => state[level + 1] = pool(&self.levels[level], &state[level]),
                Step::Round(level, _) | Step::Up(level) => {
                    state[level]
                        .iter_mut()
                        .zip(&added)
                        .for_each(|(here, added)| add(here, &relu(added), 1.0));
                }
                Step::Out => odds.extend(state[0].iter().map(|row| dot(row, &weights[0]) + weights[1][0])),
            }
        }
        odds
    }

    fn embed(&self, weights: &[Row]) -> Vec<Row> {
        let mut added = vec![weights[F]; self.features.len()];
        apply(&mut added, self.features, &weights[..F]);
        added
    }

    fn round(&self, level: usize, told: bool, here: &[Row], weights: &[Row]) -> (Vec<Row>, Vec<Vec<Row>>) {
        let globals = if told { self.globals(level, here) } else { Vec::new() };
        let mut start = weights[weights.len() - 1];
        for (value, weights) in globals.as_flattened().iter().zip(&weights[3 * CHANNELS..]) {
            add(&mut start, weights, *value);
        }
        let mut added = vec![start; here.len()];
        let [plain, alike] = neighbours(&self.levels[level], here);
        apply(&mut added, here, &weights[..CHANNELS]);
        apply(&mut added, &plain, &weights[CHANNELS..2 * CHANNELS]);
        apply(&mut added, &alike, &weights[2 * CHANNELS..3 * CHANNELS]);
        (added, vec![plain, alike, globals])
    }

    fn up(&self, level: usize, state: &[Vec<Row>; LEVELS], weights: &[Row]) -> (Vec<Row>, Vec<Vec<Row>>) {
        let above = |&(up, _): &(u32, f32)| state[level + 1][up as usize];
        let above: Vec<Row> = self.levels[level].up.iter().map(above).collect();
        let mut added = vec![weights[2 * CHANNELS]; above.len()];
        apply(&mut added, &state[level], &weights[..CHANNELS]);
        apply(&mut added, &above, &weights[CHANNELS..2 * CHANNELS]);
        (added, vec![above])
    }

    fn globals(&self, level: usize, here: &[Row]) -> Vec<Row> {
        let mut sums = vec![[0.0; CHANNELS]; GLOBALS];
        for ((row, seeds), &share) in here.iter().zip(&self.seeds[level]).zip(&self.levels[level].share) {
            add(&mut sums[0], row, seeds[0]);
            add(&mut sums[1], row, seeds[1]);
            add(&mut sums[2], row, share);
        }
        sums
    }
}

/// What a step starts from.
pub(super) struct Seen<'a> {
    pub(super) step: Step,
    /// What regions carry before a round or before going up.
    pub(super) state: &'a [Vec<Row>; LEVELS],
    /// Of neighbours and all, or of the regions above.
    pub(super) inputs: Vec<Vec<Row>>,
    /// What is added, before its rectifier.
    pub(super) added: &'a [Row],
}

pub(super) fn add(to: &mut Row, row: &Row, times: f32) {
    to.iter_mut().zip(row).for_each(|(to, value)| *to += times * value);
}

pub(super) fn dot(a: &Row, b: &Row) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn relu(row: &Row) -> Row {
    row.map(|value| value.larger(0.0))
}

/// Adds `weights` times each of the inputs.
fn apply<const K: usize>(to: &mut [Row], inputs: &[[f32; K]], weights: &[Row]) {
    let job = Job { m: to.len(), n: CHANNELS, k: K, accumulate: true, scale: 1.0, parallel: true };
    let (inputs, weights) =
        (Mat::rows(inputs.as_flattened(), K), Mat::rows(weights.as_flattened(), CHANNELS));
    run(&job, to.as_flattened_mut(), inputs, weights);
}

/// Both means over neighbours.
fn neighbours(level: &Level, here: &[Row]) -> [Vec<Row>; 2] {
    let (mut plain, mut alike) = (Vec::with_capacity(here.len()), Vec::with_capacity(here.len()));
    for at in 0..here.len() {
        let mut sums = [[0.0; CHANNELS]; 2];
        for edge in level.around(at) {
            let other = &here[edge.other as usize];
            add(&mut sums[0], other, edge.plain);
            add(&mut sums[1], other, edge.alike);
        }
        plain.push(sums[0]);
        alike.push(sums[1]);
    }
    [plain, alike]
}

fn pool(level: &Level, here: &[Row]) -> Vec<Row> {
    let count = level.up.iter().map(|&(up, _)| up as usize + 1).max().unwrap_or(0);
    let mut sums = vec![[0.0; CHANNELS]; count];
    for (row, &(up, part)) in here.iter().zip(&level.up) {
        add(&mut sums[up as usize], row, part);
    }
    sums
}
