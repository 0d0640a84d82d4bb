//! Measures mask refinement without a model: all logits are 0, so everything comes from prompts and
//! colours.
//!
//! `cargo run --release -p rmae-core --example refine_eval -- FOLDER… [--half tune|test|all]
//! [--clicks N] [--weights JSON] [--edges off|guided|graphcut]`
//!
//! A FOLDER has `images/*.jpg` and `masks/*.png` of the same stems: 0 is background, 128 is not
//! judged, any other value is one object each. Clicks come one after the other at the centre of the
//! largest wrong region: where the distance to what is right is greatest.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rmae_core::prompt::refine::{Edges, RefineCache, RefineInput, RefineOptions, RefineWeights, refine_with};
use rmae_core::prompt::{BoxPrompt, Click, Mask, ObjectPrompts, RgbView, WorkingImage};

type Failure = Box<dyn Error + Send + Sync>;

const NOT_JUDGED: u8 = 128;
/// Objects of fewer pixels are left out.
const LEAST_PIXELS: usize = 100;

struct Arguments {
    folders: Vec<PathBuf>,
    half: String,
    clicks: usize,
    threads: usize,
    weights: RefineWeights,
    options: RefineOptions,
}

/// One object of one photo.
struct Case {
    image: PathBuf,
    mask: PathBuf,
    value: u8,
}

/// What one object gave.
#[derive(Default)]
struct Outcome {
    clicks: Vec<f64>,
    boxed: f64,
    box_edges: f64,
    click_edges: f64,
    cache_ms: f64,
    predict_ms: Vec<f64>,
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let mut all = Vec::new();
    for folder in &arguments.folders {
        let cases = cases(folder, &arguments.half)?;
        let outcomes = measure(&cases, &arguments)?;
        report(&folder.display().to_string(), &outcomes, arguments.clicks);
        all.extend(outcomes);
    }
    if arguments.folders.len() > 1 {
        report("all", &all, arguments.clicks);
    }
    Ok(())
}

fn arguments() -> Result<Arguments, Failure> {
    let mut found = Arguments {
        folders: vec![],
        half: "all".into(),
        clicks: 20,
        threads: 1,
        weights: RefineWeights::default(),
        options: RefineOptions::default(),
    };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--half" => found.half = value()?,
            "--clicks" => found.clicks = value()?.parse()?,
            "--threads" => found.threads = value()?.parse()?,
            "--weights" => found.weights = serde_json::from_str(&value()?)?,
            "--edges" => {
                found.options.edges = match value()?.as_str() {
                    "off" => Edges::Off,
                    "guided" => Edges::Guided,
                    _ => Edges::GraphCut,
                };
            }
            _ if argument.starts_with('-') => return Err(format!("unknown option {argument}").into()),
            _ => found.folders.push(argument.into()),
        }
    }
    if found.folders.is_empty() {
        return Err("name at least one folder with images/ and masks/".into());
    }
    Ok(found)
}

/// Every object of a folder, or of every other photo.
fn cases(folder: &Path, half: &str) -> Result<Vec<Case>, Failure> {
    let list = std::fs::read_dir(folder.join("masks")).map_err(|e| format!("{}: {e}", folder.display()))?;
    let masks = list.map(|entry| Ok(entry?.path())).collect::<Result<BTreeSet<_>, std::io::Error>>()?;
    let mut cases = Vec::new();
    for (number, mask) in masks.into_iter().enumerate() {
        if half == "tune" && number % 2 == 1 || half == "test" && number % 2 == 0 {
            continue;
        }
        let stem = mask.file_stem().ok_or("a mask without a name")?;
        let image = folder.join("images").join(stem).with_extension("jpg");
        let pixels = image::open(&mask)?.into_luma8().into_raw();
        for value in 1..=255u8 {
            let area = pixels.iter().filter(|&&pixel| pixel == value).count();
            if value != NOT_JUDGED && area >= LEAST_PIXELS {
                cases.push(Case { image: image.clone(), mask: mask.clone(), value });
            }
        }
    }
    Ok(cases)
}

fn measure(cases: &[Case], arguments: &Arguments) -> Result<Vec<Outcome>, Failure> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let work = || -> Result<(), Failure> {
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = evaluate(case, arguments)?;
                outcomes.lock().map_err(|_| "a thread failed")?.push(outcome);
            }
            Ok(())
        };
        let threads: Vec<_> = (0..arguments.threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })?;
    Ok(outcomes.into_inner().map_err(|_| "a thread failed")?)
}

fn evaluate(case: &Case, arguments: &Arguments) -> Result<Outcome, Failure> {
    let rgb = image::open(&case.image)?.into_rgb8();
    let (width, height) = (rgb.width() as usize, rgb.height() as usize);
    let truth = image::open(&case.mask)?.into_luma8().into_raw();
    if truth.len() != width * height {
        return Err(format!("{}: mask and photo differ in size", case.mask.display()).into());
    }
    let truth = Truth { width, height, value: case.value, pixels: truth };
    let image = WorkingImage::from_rgb(RgbView::new(width, height, rgb.as_raw())?)?;
    let start = Instant::now();
    let cache = RefineCache::new(&image);
    let mut outcome = Outcome { cache_ms: milliseconds(start), ..Outcome::default() };
    let mut predict = |prompts: &ObjectPrompts| {
        let area = image.area();
        let input = RefineInput {
            image: &image,
            cache: &cache,
            logits: &[],
            side: 0,
            area,
            prompts,
            granularity: 0.0,
        };
        let start = Instant::now();
        let mask = refine_with(&input, &arguments.options, &arguments.weights);
        outcome.predict_ms.push(milliseconds(start));
        mask
    };
    let boxed =
        predict(&ObjectPrompts { boxes: truth.bounding_box().into_iter().collect(), ..Default::default() });
    (outcome.boxed, outcome.box_edges) = (truth.overlap(&boxed), truth.edge_score(&boxed));
    let mut prompts = ObjectPrompts::default();
    let mut mask = Mask::empty(width, height);
    while prompts.clicks.len() < arguments.clicks {
        let Some(click) = truth.next_click(&mask) else { break };
        prompts.clicks.push(click);
        mask = predict(&prompts);
        outcome.clicks.push(truth.overlap(&mask));
        if prompts.clicks.len() == 5 {
            outcome.click_edges = truth.edge_score(&mask);
        }
    }
    Ok(outcome)
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// The true mask.
struct Truth {
    width: usize,
    height: usize,
    value: u8,
    pixels: Vec<u8>,
}

impl Truth {
    fn inside(&self, at: usize) -> bool {
        self.pixels[at] == self.value
    }

    fn judged(&self, at: usize) -> bool {
        self.pixels[at] != NOT_JUDGED
    }

    fn bounding_box(&self) -> Option<BoxPrompt> {
        let mask = Mask::from_fn(self.width, self.height, |x, y| self.inside(y * self.width + x));
        let b = mask.bounding_box()?;
        let (x0, y0) = (b.x as f32, b.y as f32);
        Some(BoxPrompt { x0, y0, x1: x0 + b.width as f32, y1: y0 + b.height as f32 })
    }

    /// Intersection over union.
    fn overlap(&self, mask: &Mask) -> f64 {
        let (mut both, mut either) = (0usize, 0usize);
        for (at, &pixel) in mask.data().iter().enumerate().filter(|&(at, _)| self.judged(at)) {
            both += usize::from(pixel != 0 && self.inside(at));
            either += usize::from(pixel != 0 || self.inside(at));
        }
        both as f64 / either.max(1) as f64
    }

    /// The pixel farthest from all that is right, if anything is wrong.
    fn next_click(&self, mask: &Mask) -> Option<Click> {
        let farthest = |missed: bool| {
            let wrong =
                |at: usize| self.judged(at) && self.inside(at) == missed && (mask.data()[at] != 0) != missed;
            let distance = distances((0..mask.data().len()).map(|at| !wrong(at)), self.width, self.height);
            let best = distance.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
            best.map_or((0, 0.0), |(at, &distance)| (at, distance))
        };
        let (missed, extra) = (farthest(true), farthest(false));
        let positive = missed.1 >= extra.1;
        let (at, distance) = if positive { missed } else { extra };
        let (x, y) = ((at % self.width) as f32 + 0.5, (at / self.width) as f32 + 0.5);
        (distance > 0.0).then_some(Click { x, y, positive, radius: None })
    }

    /// Harmonic mean of precision and recall of the border, within 0.8 % of the diagonal.
    fn edge_score(&self, mask: &Mask) -> f64 {
        let tolerance = 0.008 * ((self.width * self.width + self.height * self.height) as f32).sqrt();
        let found = self.border(|at| mask.data()[at] != 0);
        let right = self.border(|at| self.inside(at));
        let share = |of: &[bool], near: &[bool]| {
            let distance = distances(near.iter().copied(), self.width, self.height);
            let border = || of.iter().zip(&distance).filter(|(border, _)| **border);
            let hits = border().filter(|(_, distance)| distance.sqrt() <= tolerance.ceil()).count();
            hits as f64 / border().count().max(1) as f64
        };
        let (precision, recall) = (share(&found, &right), share(&right, &found));
        2.0 * precision * recall / (precision + recall).max(1e-9)
    }

    fn border(&self, inside: impl Fn(usize) -> bool) -> Vec<bool> {
        let pixel = |at: usize| {
            let (x, y) = (at % self.width, at / self.width);
            let open = |other: usize| !inside(other) && self.judged(other);
            inside(at)
                && (x > 0 && open(at - 1)
                    || x + 1 < self.width && open(at + 1)
                    || y > 0 && open(at - self.width)
                    || y + 1 < self.height && open(at + self.width))
        };
        (0..self.pixels.len()).map(pixel).collect()
    }
}

/// Squared distance of every pixel to the nearest of `targets` or to the outside of the image, by
/// lower envelopes of parabolas along columns, then rows (Felzenszwalb and Huttenlocher 2012).
fn distances(targets: impl Iterator<Item = bool>, width: usize, height: usize) -> Vec<f32> {
    let far = (width + height).pow(2) as f32;
    let mut distance: Vec<f32> = targets.map(|target| if target { 0.0 } else { far }).collect();
    let mut line = vec![0.0; height + 2];
    for x in 0..width {
        (0..height).for_each(|y| line[y + 1] = distance[y * width + x]);
        envelope(&mut line);
        (0..height).for_each(|y| distance[y * width + x] = line[y + 1]);
        line.fill(0.0);
    }
    let mut line = vec![0.0; width + 2];
    for row in distance.chunks_exact_mut(width) {
        line[1..=width].copy_from_slice(row);
        envelope(&mut line);
        row.copy_from_slice(&line[1..=width]);
        line.fill(0.0);
    }
    distance
}

fn envelope(line: &mut [f32]) {
    let mut parabolas: Vec<(usize, f32, f32)> = Vec::with_capacity(line.len());
    for (at, &height) in line.iter().enumerate() {
        let mut from = f32::NEG_INFINITY;
        while let Some(&(other, low, start)) = parabolas.last() {
            let (a, b) = (at as f32, other as f32);
            from = ((height + a * a) - (low + b * b)) / (2.0 * (a - b));
            if from > start {
                break;
            }
            parabolas.pop();
            from = f32::NEG_INFINITY;
        }
        parabolas.push((at, height, from));
    }
    let mut current = 0;
    for (at, value) in line.iter_mut().enumerate() {
        while current + 1 < parabolas.len() && parabolas[current + 1].2 <= at as f32 {
            current += 1;
        }
        let (centre, height, _) = parabolas[current];
        *value = height + (at as f32 - centre as f32).powi(2);
    }
}

fn report(name: &str, outcomes: &[Outcome], most: usize) {
    let count = outcomes.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(value).sum::<f64>() / count;
    let after = |clicks: usize| {
        mean(&|o: &Outcome| o.clicks.get(clicks - 1).or(o.clicks.last()).copied().unwrap_or(0.0))
    };
    let needed = |goal: f64| {
        mean(&|o: &Outcome| o.clicks.iter().position(|&iou| iou >= goal).map_or(most, |at| at + 1) as f64)
    };
    let mut times: Vec<f64> = outcomes.iter().flat_map(|o| o.predict_ms.iter().copied()).collect();
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| times.get((share * times.len() as f64) as usize).copied().unwrap_or(0.0);
    println!(
        "{name}: {} objects; IoU@1,2,3,5,10 {:.3} {:.3} {:.3} {:.3} {:.3}; NoC@85/90 {:.2}/{:.2}; box IoU {:.3}; \
         boundary F box {:.3} 5 clicks {:.3}; ms median {:.1}, 95 % {:.1}; cache {:.1}",
        outcomes.len(),
        after(1),
        after(2),
        after(3),
        after(5),
        after(10),
        needed(0.85),
        needed(0.9),
        mean(&|o| o.boxed),
        mean(&|o| o.box_edges),
        mean(&|o| o.click_edges),
        quantile(0.5),
        quantile(0.95),
        mean(&|o| o.cache_ms),
    );
}
