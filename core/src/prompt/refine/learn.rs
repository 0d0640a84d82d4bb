//! What it takes to train the [prior](super::prior): the truth about superpixels, errors, and the
//! gradient of the network's weights.

use std::sync::Arc;

use super::super::ObjectPrompts;
use super::super::simulate::Judged;
use super::RefineCache;
use super::closer::{Closer, Part};
use super::constraints::{Constraints, Known};
use super::evidence::{Evidence, FEATURES, Question, Said};
use super::geodesic::Ways;
use super::network::{CHANNELS, GLOBALS, Network, PLAN, Row, Seen, Step, View, add};
use super::pyramid::{Edge, LEVELS, Level};
use super::solve::{Earlier, Seed, Seeds, Solver};
use super::weights::RefineWeights;

/// How much overlap counts against cross-entropy.
const OVERLAP: f32 = 1.0;

/// Prompts on an image of which the object is known.
pub struct Lesson<'a> {
    cache: &'a RefineCache,
    constraints: Constraints,
    seeds: Seeds,
    features: Vec<[f32; FEATURES]>,
    ways: Option<Ways>,
    earlier: Option<&'a Earlier>,
    part: Option<Part>,
    /// Part of a superpixel that is inside, and its judged pixels.
    truth: Vec<(f32, f32)>,
}

impl<'a> Lesson<'a> {
    /// `truth` has the image's size, in raster order.
    #[must_use]
    pub fn new(
        cache: &'a RefineCache, prompts: &ObjectPrompts, truth: &[Judged], earlier: Option<&'a Earlier>,
        closer: Option<&Closer>,
    ) -> Self {
        let constraints = Constraints::new(prompts, cache.width, cache.height);
        let seeds = Seeds::new(cache, &constraints);
        let boxed = constraints.boxed;
        let whole = Question { cache, seeds: &seeds, boxed, earlier }.whole();
        let said = Said { boxed, logits: &[], trust: 0.0, earlier, whole: &whole, closer };
        let Evidence { features, ways, .. } = Evidence::new(cache, &seeds, &said);
        let mut counts = vec![(0.0f32, 0.0f32); cache.superpixels.len()];
        for (at, judged) in truth.iter().enumerate().take(cache.width * cache.height) {
            let (inside, all) = &mut counts[cache.patch_at(at % cache.width, at / cache.width)];
            *inside += f32::from(u8::from(*judged == Judged::Inside));
            *all += f32::from(u8::from(*judged != Judged::Ignored));
        }
        let truth = counts.into_iter().map(|(inside, all)| (inside / all.max(1.0), all)).collect();
        let part = closer.map(|closer| closer.part);
        Self { cache, constraints, seeds, features, ways, earlier, part, truth }
    }

    fn view(&self) -> View<'_, FEATURES> {
        let seeds = [&self.seeds.positive[..], &self.seeds.negative[..]];
        View::new(&self.cache.levels, &self.features, seeds)
    }

    /// What the cut over superpixels makes of the network's log odds, and its mask of pixels.
    fn decided(&self, odds: &[f32]) -> (Earlier, Vec<u8>) {
        let weights = RefineWeights::default();
        let solver = Solver {
            cache: self.cache,
            seeds: &self.seeds,
            boxed: self.constraints.boxed,
            given: (vec![0.0; odds.len()], 0.0),
            logits: vec![],
            weights: &weights,
            earlier: self.earlier,
            whole: Arc::default(),
            closer: None,
            star: true,
        };
        let odds: Vec<f32> = odds.iter().map(|odds| weights.prior * odds).collect();
        let inside = solver.decide(&odds, self.ways.as_ref(), 0.0).labels;
        let pixel = |(at, known): (usize, &Known)| match known {
            Known::Free => {
                u8::from(inside[self.cache.patch_at(at % self.cache.width, at / self.cache.width)])
            }
            Known::Inside => 1,
            Known::Outside => 0,
        };
        let mask = self.constraints.map.iter().enumerate().map(pixel).collect();
        (Earlier { labels: inside, part: self.part, whole: Arc::default() }, mask)
    }

    /// Adds the gradient of the loss to `gradient`; the loss, and what comes of these prompts so
    /// far: of superpixels, and as a mask of pixels, 0 and 1.
    ///
    /// The loss is the cross-entropy, a mean over pixels, and one minus the soft intersection over
    /// union.
    pub fn descend(&self, network: &Network, gradient: &mut [Row]) -> (f32, Earlier, Vec<u8>) {
        let view = self.view();
        let mut tape: Vec<Record> = Vec::with_capacity(PLAN.len());
        let odds = view.run(network, |seen| tape.push(Record::new(seen)));
        let (loss, slope) = self.loss(&odds);
        Backward { view: &view, network, gradient, slopes: zeros(&view) }.run(&tape, &slope);
        let (earlier, mask) = self.decided(&odds);
        (loss, earlier, mask)
    }

    /// The loss and its slope for each of the log odds.
    fn loss(&self, odds: &[f32]) -> (f32, Vec<f32>) {
        let free = |at: usize| self.seeds.known[at] == Seed::Free;
        let likely = |at: usize| match self.seeds.known[at] {
            Seed::Free => 1.0 / (1.0 + (-odds[at]).exp()),
            Seed::Inside => 1.0,
            Seed::Outside => 0.0,
        };
        let (mut both, mut either, mut entropy, mut all) = (1.0f32, 1.0f32, 0.0f32, 1.0f32);
        for (at, &(inside, area)) in self.truth.iter().enumerate() {
            let p = likely(at);
            both += area * p * inside;
            either += area * (p + inside - p * inside);
            if free(at) {
                let o = odds[at];
                entropy += area * (o.max(0.0) - o * inside + (-o.abs()).exp().ln_1p());
                all += area;
            }
        }
        let slope = |(at, &(inside, area)): (usize, &(f32, f32))| {
            if !free(at) {
                return 0.0;
            }
            let p = likely(at);
            let overlap = area * (inside * either - both * (1.0 - inside)) / (either * either);
            area * (p - inside) / all - OVERLAP * overlap * p * (1.0 - p)
        };
        let slopes = self.truth.iter().enumerate().map(slope).collect();
        (entropy / all + OVERLAP * (1.0 - both / either), slopes)
    }
}

/// What a step started from.
struct Record {
    step: Step,
    here: Vec<Row>,
    inputs: Vec<Vec<Row>>,
    added: Vec<Row>,
}

impl Record {
    fn new(seen: Seen<'_>) -> Self {
        let here = match seen.step {
            Step::Round(level, _) | Step::Up(level) => seen.state[level].clone(),
            Step::Out => seen.state[0].clone(),
            Step::Embed | Step::Down(_) => Vec::new(),
        };
        Self { step: seen.step, here, inputs: seen.inputs, added: seen.added.to_vec() }
    }
}

fn zeros(view: &View<'_, FEATURES>) -> [Vec<Row>; LEVELS] {
    std::array::from_fn(|level| vec![[0.0; CHANNELS]; view.levels[level].len()])
}

/// Slopes of the loss, from the last step to the first.
struct Backward<'a> {
    view: &'a View<'a, FEATURES>,
    network: &'a Network,
    gradient: &'a mut [Row],
    /// For what regions carry.
    slopes: [Vec<Row>; LEVELS],
}

impl Backward<'_> {
    fn run(&mut self, tape: &[Record], odds: &[f32]) {
        let mut end = self.network.rows.len();
        for record in tape.iter().rev() {
            let start = end - record.step.rows(FEATURES);
            match record.step {
                Step::Out => self.out(start, record, odds),
                Step::Embed => self.embed(start, record),
                Step::Down(level) => self.down(level),
                Step::Up(level) => self.up(start, level, record),
                Step::Round(level, told) => self.round(start, level, told, record),
            }
            end = start;
        }
    }

    fn out(&mut self, start: usize, record: &Record, odds: &[f32]) {
        let weights = self.network.rows[start];
        for ((row, slope), &odds) in record.here.iter().zip(&mut self.slopes[0]).zip(odds) {
            add(slope, &weights, odds);
            add(&mut self.gradient[start], row, odds);
            self.gradient[start + 1][0] += odds;
        }
    }

    fn embed(&mut self, start: usize, record: &Record) {
        let slopes = rectified(&self.slopes[0], &record.added);
        learn(&mut self.gradient[start..], self.view.features, &slopes);
        add(&mut self.gradient[start + FEATURES], &sum(&slopes), 1.0);
    }

    fn down(&mut self, level: usize) {
        let (below, above) = self.slopes.split_at_mut(level + 1);
        for (slope, &(up, part)) in below[level].iter_mut().zip(&self.view.levels[level].up) {
            add(slope, &above[0][up as usize], part);
        }
    }

    fn up(&mut self, start: usize, level: usize, record: &Record) {
        let slopes = rectified(&self.slopes[level], &record.added);
        learn(&mut self.gradient[start..], &record.here, &slopes);
        learn(&mut self.gradient[start + CHANNELS..], &record.inputs[0], &slopes);
        add(&mut self.gradient[start + 2 * CHANNELS], &sum(&slopes), 1.0);
        let rows = &self.network.rows[start..];
        let (own, upper) = (transposed(rows), transposed(&rows[CHANNELS..]));
        let above = &self.view.levels[level].up;
        for (at, slope) in slopes.iter().enumerate() {
            add(&mut self.slopes[level][at], &back(&own, slope), 1.0);
            let to = &mut self.slopes[level + 1][above[at].0 as usize];
            add(to, &back(&upper, slope), 1.0);
        }
    }

    fn round(&mut self, start: usize, level: usize, told: bool, record: &Record) {
        let slopes = rectified(&self.slopes[level], &record.added);
        let inputs = [&record.here, &record.inputs[0], &record.inputs[1]];
        for (part, input) in inputs.into_iter().enumerate() {
            learn(&mut self.gradient[start + part * CHANNELS..], input, &slopes);
        }
        let total = sum(&slopes);
        let last = start + Step::Round(level, told).rows(FEATURES) - 1;
        add(&mut self.gradient[last], &total, 1.0);
        if told {
            self.tell(start + 3 * CHANNELS, level, &record.inputs[2], &total);
        }
        let rows = &self.network.rows[start..];
        let [own, plainly, alikely] = [0, 1, 2].map(|part| transposed(&rows[part * CHANNELS..]));
        let regions: &Level = &self.view.levels[level];
        for (at, slope) in slopes.iter().enumerate() {
            add(&mut self.slopes[level][at], &back(&own, slope), 1.0);
            let (plain_slope, alike_slope) = (back(&plainly, slope), back(&alikely, slope));
            for &Edge { other, plain, alike } in regions.around(at) {
                let to = &mut self.slopes[level][other as usize];
                add(to, &plain_slope, plain);
                add(to, &alike_slope, alike);
            }
        }
    }

    fn tell(&mut self, start: usize, level: usize, globals: &[Row], total: &Row) {
        for (gradient, &value) in self.gradient[start..].iter_mut().zip(globals.as_flattened()) {
            add(gradient, total, value);
        }
        let weights = &self.network.rows[start..];
        let slopes: [Row; GLOBALS] =
            std::array::from_fn(|part| back(&transposed(&weights[part * CHANNELS..]), total));
        let parts = self.view.seeds[level].iter().zip(&self.view.levels[level].share);
        for (slope, (seeds, &share)) in self.slopes[level].iter_mut().zip(parts) {
            add(slope, &slopes[0], seeds[0]);
            add(slope, &slopes[1], seeds[1]);
            add(slope, &slopes[2], share);
        }
    }
}

/// Slopes behind a rectifier.
fn rectified(slopes: &[Row], added: &[Row]) -> Vec<Row> {
    let row = |(slope, added): (&Row, &Row)| -> Row {
        std::array::from_fn(|at| if added[at] > 0.0 { slope[at] } else { 0.0 })
    };
    slopes.iter().zip(added).map(row).collect()
}

fn sum(rows: &[Row]) -> Row {
    let mut sum = [0.0; CHANNELS];
    rows.iter().for_each(|row| add(&mut sum, row, 1.0));
    sum
}

/// What inputs and slopes say of the weights between them.
fn learn<const K: usize>(gradient: &mut [Row], inputs: &[[f32; K]], slopes: &[Row]) {
    for (inputs, slope) in inputs.iter().zip(slopes) {
        for (gradient, &input) in gradient.iter_mut().zip(inputs) {
            add(gradient, slope, input);
        }
    }
}

/// The first weights, so that every output has a row of inputs.
fn transposed(weights: &[Row]) -> [Row; CHANNELS] {
    std::array::from_fn(|output| std::array::from_fn(|input| weights[input][output]))
}

/// Slopes of the inputs of [transposed] weights.
fn back(weights: &[Row; CHANNELS], slope: &Row) -> Row {
    let mut sum = [0.0; CHANNELS];
    weights.iter().zip(slope).for_each(|(row, &slope)| add(&mut sum, row, slope));
    sum
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::{Rng, SeedableRng};

    use super::super::super::{BoxPrompt, Click, RgbView, WorkingImage};
    use super::super::superpixels::Patch;
    use super::*;

    const SIDE: usize = 60;

    /// A bright square on a ground that grows brighter, both with grain.
    fn image() -> WorkingImage {
        let level = |at: usize| {
            let (x, y) = (at % SIDE, at / SIDE);
            let grain = (x * 7 + y * 13 + x * y) % 23;
            if inside(at) { 180 + grain } else { 60 + x + grain }
        };
        let data: Vec<u8> = (0..SIDE * SIDE).flat_map(|at| [level(at) as u8, 90, 70]).collect();
        WorkingImage::from_rgb(RgbView::new(SIDE, SIDE, &data).unwrap()).unwrap()
    }

    fn inside(at: usize) -> bool {
        (15..40).contains(&(at % SIDE)) && (20..45).contains(&(at / SIDE))
    }

    fn truth() -> Vec<Judged> {
        let judge = |at: usize| match at {
            _ if at.is_multiple_of(97) => Judged::Ignored,
            _ if inside(at) => Judged::Inside,
            _ => Judged::Outside,
        };
        (0..SIDE * SIDE).map(judge).collect()
    }

    fn prompts() -> ObjectPrompts {
        let click = |x, y, positive| Click { x, y, positive, radius: None };
        let clicks = vec![click(27.5, 32.5, true), click(50.5, 30.5, false)];
        let boxes = vec![BoxPrompt { x0: 10.0, y0: 12.0, x1: 55.0, y1: 50.0 }];
        ObjectPrompts { clicks, boxes, ..ObjectPrompts::default() }
    }

    /// The left half.
    fn earlier(cache: &RefineCache) -> Earlier {
        let left = |patch: &Patch| patch.centre[0] < 0.5 * SIDE as f32;
        Earlier {
            labels: cache.superpixels.patches.iter().map(left).collect(),
            part: None,
            whole: Arc::default(),
        }
    }

    fn network() -> Network {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        let row = |_| std::array::from_fn(|_| rng.random_range(-0.15f32..0.15));
        Network::new((0..Network::len(FEATURES)).map(row).collect(), FEATURES).unwrap()
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let cache = RefineCache::new(&image(), None);
        let earlier = earlier(&cache);
        let lesson = Lesson::new(&cache, &prompts(), &truth(), Some(&earlier), None);
        let mut network = network();
        let mut gradient = vec![[0.0; CHANNELS]; network.rows.len()];
        lesson.descend(&network, &mut gradient);
        let loss = |network: &Network| lesson.loss(&lesson.view().run(network, |_| {})).0;
        let mut start = 0;
        for step in PLAN {
            // Along the step's own gradient the loss changes fastest, and rounding matters least.
            let rows = start..start + step.rows(FEATURES);
            start = rows.end;
            let slope = gradient[rows.clone()].as_flattened().iter().map(|g| g * g).sum::<f32>().sqrt();
            if rows.is_empty() {
                continue;
            }
            assert!(slope > 1e-4, "{step:?}: slope {slope}");
            let mut moved = |by: f32| {
                let before = network.rows.clone();
                for at in rows.clone() {
                    add(&mut network.rows[at], &gradient[at], by / slope);
                }
                let loss = loss(&network);
                network.rows = before;
                loss
            };
            let by = 2e-3;
            let measured = (moved(by) - moved(-by)) / (2.0 * by);
            assert!((measured - slope).abs() < 0.03 * slope, "{step:?}: {slope}, measured {measured}");
        }
        assert_eq!(start, network.rows.len());
    }

    #[test]
    fn the_mask_of_a_lesson_obeys_the_prompts() {
        let cache = RefineCache::new(&image(), None);
        let earlier = earlier(&cache);
        let lesson = Lesson::new(&cache, &prompts(), &truth(), Some(&earlier), None);
        let (_, mask) = lesson.decided(&vec![0.0; cache.superpixels.len()]);
        assert_eq!((mask[32 * SIDE + 27], mask[30 * SIDE + 50], mask[2 * SIDE + 2]), (1, 0, 0));
    }

    #[test]
    fn weights_of_another_length_are_refused() {
        let rows = PLAN.iter().map(|step| step.rows(FEATURES));
        let len: usize = rows.filter(|&rows| rows > 0).map(|rows| (rows + 2) * CHANNELS).sum();
        let mut bytes = vec![0; len];
        assert_eq!(Network::read(&bytes, FEATURES).unwrap().rows.len(), Network::len(FEATURES));
        bytes.push(0);
        assert_eq!(Network::read(&bytes, FEATURES), None);
        assert_eq!(Network::read(&bytes[..len - 1], FEATURES), None);
    }
}
