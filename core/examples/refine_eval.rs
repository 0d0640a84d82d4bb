//! Measures mask refinement: without a model all logits are 0, so that everything comes from prompts
//! and colours; with one it starts from what the model says.
//!
//! `cargo run --release -p rmae-core --example refine_eval -- FOLDER… [--half tune|test|all]
//! [--clicks N] [--most OBJECTS] [--weights JSON]… [--edges off|guided|graphcut]
//! [--model FILE.safetensors] [--glance FILE|none]`
//!
//! A FOLDER has `images/*.jpg` and `masks/*.png` of the same stems: 0 is background, 128 is not
//! judged, any other value is one object each. Clicks come one after the other at the centre of the
//! largest wrong region: where the distance to what is right is greatest.

#[path = "folders/mod.rs"]
mod folders;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use pollster::block_on;
use rmae_core::checkpoint::read_model;
use rmae_core::exec::{Device, Precision};
use rmae_core::prompt::refine::{
    Earlier, Edges, Glance, RefineCache, RefineInput, RefineOptions, RefineWeights, Refined, refine_with,
};
use rmae_core::prompt::{
    ALIKE, GRANULARITIES, Mask, ObjectPrompts, PredictOptions, Predictor, PredictorOptions, WorkingImage,
};

use folders::{Case, Failure, Truth, cases};

/// Loss of overlap from which on a click counts as one that lowers it.
const FALL: f64 = 0.02;

struct Arguments {
    folders: Vec<PathBuf>,
    half: String,
    clicks: usize,
    model: Option<String>,
    weights: Vec<RefineWeights>,
    most: usize,
    options: RefineOptions,
    glance: Option<Arc<Glance>>,
}

/// What one object gave.
#[derive(Clone, Default)]
struct Outcome {
    clicks: Vec<f64>,
    boxed: f64,
    box_edges: Option<f64>,
    click_edges: Option<f64>,
    cache_ms: f64,
    predict_ms: Vec<f64>,
    /// Expected and true overlap, of the box and of every click.
    scores: Vec<[f64; 2]>,
    /// True overlaps of the masks that could be chosen from after the first click.
    choices: Vec<f64>,
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    let mut all = vec![Vec::new(); arguments.weights.len()];
    for folder in &arguments.folders {
        let mut cases = cases(folder, &arguments.half)?;
        thin(&mut cases, arguments.most);
        let outcomes = measure(&cases, &arguments)?;
        for (at, all) in all.iter_mut().enumerate() {
            let outcomes: Vec<Outcome> = outcomes.iter().map(|outcomes| outcomes[at].clone()).collect();
            report(&format!("{} [{at}]", folder.display()), &outcomes, arguments.clicks);
            all.extend(outcomes);
        }
    }
    for (at, all) in all.iter().enumerate() {
        report(&format!("all [{at}]"), all, arguments.clicks);
    }
    Ok(())
}

/// Keeps `most` cases, evenly.
fn thin(cases: &mut Vec<Case>, most: usize) {
    let (mut at, count) = (0, cases.len());
    cases.retain(|_| {
        at += 1;
        (at * most.min(count)) / count != ((at - 1) * most.min(count)) / count
    });
}

fn arguments() -> Result<Arguments, Failure> {
    let mut found = Arguments {
        folders: vec![],
        half: "all".into(),
        clicks: 20,
        model: None,
        weights: vec![],
        most: usize::MAX,
        options: RefineOptions::default(),
        glance: Glance::shipped(),
    };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--half" => found.half = value()?,
            "--clicks" => found.clicks = value()?.parse()?,
            "--most" => found.most = value()?.parse()?,
            "--model" => found.model = Some(value()?),
            "--glance" => found.glance = glance(&value()?)?,
            "--weights" => found.weights.push(serde_json::from_str(&value()?)?),
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
    if found.weights.is_empty() {
        found.weights.push(RefineWeights::default());
    }
    Ok(found)
}

/// Of a file, or none.
fn glance(name: &str) -> Result<Option<Arc<Glance>>, Failure> {
    if name == "none" {
        return Ok(None);
    }
    let read = Glance::read(&std::fs::read(name)?).ok_or("--glance: not weights of one")?;
    Ok(Some(Arc::new(read)))
}

fn measure(cases: &[Case], arguments: &Arguments) -> Result<Vec<Vec<Outcome>>, Failure> {
    let mut model = arguments.model.as_deref().map(load).transpose()?;
    cases.iter().map(|case| evaluate(case, arguments, model.as_mut())).collect()
}

fn load(path: &str) -> Result<Predictor, Failure> {
    let (config, weights) = read_model(&std::fs::read(path)?)?;
    let device = Device::cpu(Precision::F32);
    Ok(block_on(Predictor::new(&config, &weights, &device, PredictorOptions::default()))?)
}

/// One outcome for each set of weights.
fn evaluate(
    case: &Case, arguments: &Arguments, mut model: Option<&mut Predictor>,
) -> Result<Vec<Outcome>, Failure> {
    let (image, truth) = case.read()?;
    let start = Instant::now();
    let cache = RefineCache::new(&image, arguments.glance.as_deref());
    let cache_ms = milliseconds(start);
    if let Some(model) = model.as_deref_mut() {
        block_on(model.set_working_image(image.clone()))?;
    }
    let mut outcomes = Vec::new();
    for weights in &arguments.weights {
        let mut scene = Scene { image: &image, cache: &cache, arguments, weights, times: vec![] };
        let outcome = scene.play(&truth, model.as_deref_mut())?;
        outcomes.push(Outcome { cache_ms, predict_ms: scene.times, ..outcome });
    }
    Ok(outcomes)
}

/// One photo under one set of weights.
struct Scene<'a> {
    image: &'a WorkingImage,
    cache: &'a RefineCache,
    arguments: &'a Arguments,
    weights: &'a RefineWeights,
    times: Vec<f64>,
}

impl Scene<'_> {
    /// A box, then one click after the other.
    fn play(&mut self, truth: &Truth, mut model: Option<&mut Predictor>) -> Result<Outcome, Failure> {
        let boxes = truth.bounding_box().into_iter().collect();
        let boxed =
            self.predict(&ObjectPrompts { boxes, ..Default::default() }, model.as_deref_mut(), None)?;
        let mut outcome = Outcome {
            boxed: truth.overlap(&boxed.mask),
            box_edges: truth.edge_score(&boxed.mask),
            ..Outcome::default()
        };
        outcome.scores.extend(boxed.score.map(|score| [f64::from(score), outcome.boxed]));
        let mut prompts = ObjectPrompts::default();
        let (mut mask, mut earlier) = (Mask::empty(self.image.width(), self.image.height()), None);
        while prompts.clicks.len() < self.arguments.clicks {
            let Some(click) = truth.next_click(&mask) else { break };
            prompts.clicks.push(click);
            if prompts.clicks.len() == 1 {
                outcome.choices = self.choices(&prompts, truth);
            }
            let refined = self.predict(&prompts, model.as_deref_mut(), earlier.as_ref())?;
            (mask, earlier) = (refined.mask, refined.earlier);
            let overlap = truth.overlap(&mask);
            outcome.scores.extend(refined.score.map(|score| [f64::from(score), overlap]));
            outcome.clicks.push(overlap);
            if prompts.clicks.len() == 5 {
                outcome.click_edges = truth.edge_score(&mask);
            }
        }
        Ok(outcome)
    }

    /// Masks of other granularities, each clearly unlike the one before, without a model.
    fn choices(&self, prompts: &ObjectPrompts, truth: &Truth) -> Vec<f64> {
        let (image, cache, area) = (self.image, self.cache, self.image.area());
        let mut masks: Vec<Mask> = Vec::new();
        for granularity in GRANULARITIES {
            let input =
                RefineInput { image, cache, logits: &[], side: 0, area, prompts, granularity, earlier: None };
            let mask = refine_with(&input, &self.arguments.options, self.weights).mask;
            if masks.last().is_none_or(|last| last.overlap(&mask) <= ALIKE) {
                masks.push(mask);
            }
        }
        masks.iter().map(|mask| truth.overlap(mask)).collect()
    }

    fn predict(
        &mut self, prompts: &ObjectPrompts, model: Option<&mut Predictor>, earlier: Option<&Earlier>,
    ) -> Result<Refined, Failure> {
        let refine = RefineOptions { edges: Edges::Off, ..RefineOptions::default() };
        let options = PredictOptions { refine, ..PredictOptions::default() };
        let predicted = match model {
            Some(model) => block_on(model.predict(std::slice::from_ref(prompts), &options))?,
            None => vec![],
        };
        let logits = predicted.first().map_or(&[][..], |prediction| &prediction.logits);
        let (image, cache, area, side) = (self.image, self.cache, self.image.area(), logits.len().isqrt());
        let input = RefineInput { image, cache, logits, side, area, prompts, granularity: 0.0, earlier };
        let start = Instant::now();
        let refined = refine_with(&input, &self.arguments.options, self.weights);
        self.times.push(milliseconds(start));
        Ok(refined)
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn mean_gap(pairs: &[[f64; 2]]) -> f64 {
    pairs.iter().map(|[a, b]| (a - b).abs()).sum::<f64>() / pairs.len() as f64
}

fn correlation(pairs: &[[f64; 2]]) -> f64 {
    let count = pairs.len() as f64;
    let mean = |side: usize| pairs.iter().map(|pair| pair[side]).sum::<f64>() / count;
    let means = [mean(0), mean(1)];
    let product = |a: usize, b: usize| {
        pairs.iter().map(|pair| (pair[a] - means[a]) * (pair[b] - means[b])).sum::<f64>()
    };
    product(0, 1) / (product(0, 0) * product(1, 1)).sqrt()
}

fn report(name: &str, outcomes: &[Outcome], most: usize) {
    let count = outcomes.len().max(1) as f64;
    let mean = |value: &dyn Fn(&Outcome) -> f64| outcomes.iter().map(value).sum::<f64>() / count;
    let mean_of = |value: &dyn Fn(&Outcome) -> Option<f64>| {
        let values: Vec<f64> = outcomes.iter().filter_map(value).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let after = |clicks: usize| {
        mean(&|o: &Outcome| o.clicks.get(clicks - 1).or(o.clicks.last()).copied().unwrap_or(0.0))
    };
    let needed = |goal: f64| {
        mean(&|o: &Outcome| o.clicks.iter().position(|&iou| iou >= goal).map_or(most, |at| at + 1) as f64)
    };
    let mut times: Vec<f64> = outcomes.iter().flat_map(|o| o.predict_ms.iter().copied()).collect();
    times.sort_by(f64::total_cmp);
    let quantile = |share: f64| times.get((share * times.len() as f64) as usize).copied().unwrap_or(0.0);
    let falls = |o: &Outcome| o.clicks.windows(2).filter(|pair| pair[1] < pair[0] - FALL).count() as f64;
    let further: f64 = outcomes.iter().map(|o| o.clicks.len().saturating_sub(1) as f64).sum();
    let scores: Vec<[f64; 2]> = outcomes.iter().flat_map(|o| o.scores.iter().copied()).collect();
    println!(
        "{name}: {} objects; IoU@1,2,3,5,10 {:.3} {:.3} {:.3} {:.3} {:.3}; NoC@85/90 {:.2}/{:.2}; clicks that lower it {:.1} %; box IoU {:.3}; \
         boundary F box {:.3} 5 clicks {:.3}; expected overlap: off by {:.3}, correlation {:.2}; best of {:.1} choices {:.3}; ms median {:.1}, 95 % {:.1}; cache {:.1}",
        outcomes.len(),
        after(1),
        after(2),
        after(3),
        after(5),
        after(10),
        needed(0.85),
        needed(0.9),
        100.0 * outcomes.iter().map(falls).sum::<f64>() / further.max(1.0),
        mean(&|o| o.boxed),
        mean_of(&|o| o.box_edges),
        mean_of(&|o| o.click_edges),
        mean_gap(&scores),
        correlation(&scores),
        mean(&|o| o.choices.len() as f64),
        mean(&|o| o.choices.iter().copied().fold(0.0, f64::max)),
        quantile(0.5),
        quantile(0.95),
        mean(&|o| o.cache_ms),
    );
}
