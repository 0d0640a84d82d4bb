//! Trains the prior of mask refinement: how likely a superpixel is inside, from what prompts and
//! colours say of it.
//!
//! `cargo run --release -p rmae-core --example refine_prior -- FOLDER… [--objects N] [--epochs N]`
//! prints the table of
//! `core/src/prompt/refine/prior_weights.rs`. Folders are those of `refine_eval`. Prompts
//! are a box, and clicks that correct what refinement makes of the clicks before.

#[path = "folders/mod.rs"]
mod folders;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rmae_core::prompt::refine::prior::{FEATURES, HIDDEN, Prior, Sample, samples, unit};
use rmae_core::prompt::refine::{RefineCache, RefineInput, RefineOptions, refine};
use rmae_core::prompt::{Mask, ObjectPrompts};

use folders::{Case, Failure, cases};

/// Superpixels taken from each prompt.
const SAMPLES: usize = 150;
const CLICKS: usize = 6;
const BATCH: usize = 512;
const RATE: f32 = 3e-3;

fn main() -> Result<(), Failure> {
    let (mut all, mut objects, mut epochs) = (Vec::new(), 1500, 12);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<usize, Failure> {
            Ok(arguments.next().ok_or(format!("{argument} needs a number"))?.parse()?)
        };
        match argument.as_str() {
            "--objects" => objects = number()?,
            "--epochs" => epochs = number()?,
            folder => all.extend(cases(folder.as_ref(), "all")?),
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    all.shuffle(&mut rng);
    let mut data = Vec::new();
    for case in all.iter().take(objects) {
        gather(case, &mut rng, &mut data)?;
    }
    eprintln!("{} objects, {} superpixels", objects.min(all.len()), data.len());
    let prior = train(&data, epochs, &mut rng);
    print!("{}", source(&prior));
    Ok(())
}

/// Superpixels of one object under a box and under every number of clicks.
fn gather(case: &Case, rng: &mut ChaCha8Rng, data: &mut Vec<Sample>) -> Result<(), Failure> {
    let (image, truth) = case.read()?;
    let cache = RefineCache::new(&image);
    let mut take = |prompts: &ObjectPrompts, rng: &mut ChaCha8Rng| {
        let mut found = samples(&cache, prompts, &truth.judgements);
        let (chosen, _) = found.partial_shuffle(rng, SAMPLES);
        data.extend_from_slice(chosen);
    };
    let boxes: Vec<_> = truth.bounding_box().into_iter().collect();
    take(&ObjectPrompts { boxes: boxes.clone(), ..Default::default() }, rng);
    let mut prompts = ObjectPrompts::default();
    if rng.random_bool(0.15) {
        prompts.boxes = boxes;
    }
    let mut mask = Mask::empty(image.width(), image.height());
    while prompts.clicks.len() < CLICKS {
        let Some(click) = truth.next_click(&mask) else { break };
        prompts.clicks.push(click);
        take(&prompts, rng);
        let area = image.area();
        let (image, cache, prompts) = (&image, &cache, &prompts);
        let input = RefineInput { image, cache, logits: &[], side: 0, area, prompts, granularity: 0.0 };
        mask = refine(&input, &RefineOptions::default());
    }
    Ok(())
}

/// Weights, gradients or their moments, as one row.
const PARAMETERS: usize = HIDDEN * (FEATURES + 1) + HIDDEN + 1;

fn train(data: &[Sample], epochs: usize, rng: &mut ChaCha8Rng) -> Prior {
    let scale = (2.0 / FEATURES as f32).sqrt();
    let mut weights: Vec<f32> = (0..PARAMETERS).map(|_| rng.random_range(-scale..scale)).collect();
    let (mut mean, mut square) = (vec![0.0f32; PARAMETERS], vec![0.0f32; PARAMETERS]);
    let mut order: Vec<usize> = (0..data.len()).collect();
    let steps = epochs * data.len().div_ceil(BATCH);
    let mut step = 0;
    for epoch in 0..epochs {
        order.shuffle(rng);
        let mut total = 0.0;
        for batch in order.chunks(BATCH) {
            step += 1;
            let (loss, gradient) = descend(&weights, batch.iter().map(|&at| &data[at]));
            total += loss;
            let rate = RATE * (1.0 - step as f32 / (steps + 1) as f32);
            let correction = (1.0 - 0.999f32.powi(step)).sqrt() / (1.0 - 0.9f32.powi(step));
            for (at, gradient) in gradient.iter().enumerate() {
                mean[at] = 0.9 * mean[at] + 0.1 * gradient;
                square[at] = 0.999 * square[at] + 0.001 * gradient * gradient;
                weights[at] -= rate * correction * mean[at] / (square[at].sqrt() + 1e-8);
            }
        }
        eprintln!("epoch {epoch}: loss {:.4}", total / data.len().div_ceil(BATCH) as f32);
    }
    prior(&weights)
}

fn prior(weights: &[f32]) -> Prior {
    let (rows, _) = weights.as_chunks::<{ FEATURES + 1 }>();
    let mut output = [0.0; HIDDEN + 1];
    output.copy_from_slice(&weights[HIDDEN * (FEATURES + 1)..]);
    let mut hidden = [[0.0; FEATURES + 1]; HIDDEN];
    hidden.copy_from_slice(&rows[..HIDDEN]);
    Prior { hidden, output }
}

/// Mean cross-entropy over a batch, and its gradient.
fn descend<'a>(weights: &[f32], batch: impl Iterator<Item = &'a Sample>) -> (f32, Vec<f32>) {
    let network = prior(weights);
    let mut gradient = vec![0.0; PARAMETERS];
    let (mut loss, mut sum) = (0.0, 0.0);
    for sample in batch {
        let odds = network.odds(&sample.features);
        let likely = 1.0 / (1.0 + (-odds).exp());
        loss += sample.weight * (odds.max(0.0) - odds * sample.inside + (-odds.abs()).exp().ln_1p());
        sum += sample.weight;
        let error = sample.weight * (likely - sample.inside);
        let (rows, output) = gradient.split_at_mut(HIDDEN * (FEATURES + 1));
        output[HIDDEN] += error;
        for (at, row) in rows.chunks_exact_mut(FEATURES + 1).enumerate() {
            let value = unit(&network.hidden[at], &sample.features);
            if value > 0.0 {
                output[at] += error * value;
                let error = error * network.output[at];
                row.iter_mut().zip(&sample.features).for_each(|(row, feature)| *row += error * feature);
                row[FEATURES] += error;
            }
        }
    }
    gradient.iter_mut().for_each(|value| *value /= sum);
    (loss / sum, gradient)
}

fn source(prior: &Prior) -> String {
    let row = |row: &[f32]| row.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(", ");
    let hidden: String = prior.hidden.iter().map(|values| format!("        [{}],\n", row(values))).collect();
    format!(
        "pub(super) static TRAINED: Prior = Prior {{\n    hidden: [\n{hidden}    ],\n    output: [{}],\n}};\n",
        row(&prior.output)
    )
}
