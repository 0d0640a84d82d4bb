//! Trains the prior of mask refinement: how likely a superpixel is inside, from what prompts and
//! colours say of it and its surroundings.
//!
//! `cargo run --release -p rmae-core --example refine_prior -- FOLDER… --out FILE [--objects N]
//! [--each N] [--steps N] [--rate N] [--threads N] [--init FILE] [--glance FILE]` writes what belongs into
//! `core/src/prompt/refine/prior.bin`. Folders are those of `refine_eval`; of each photo at most
//! `--each` objects are taken. `--init` goes on from weights that were written
//! before; `--glance` names that of an early state of its training (docs/refinement.md). Prompts are clicks that correct what the network makes of those
//! before, boxes and scribbles.

#[path = "folders/mod.rs"]
mod folders;
#[path = "folders/lessons.rs"]
mod lessons;

use std::path::PathBuf;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use rmae_core::prompt::refine::Glance;
use rmae_core::prompt::refine::prior::{CHANNELS, FEATURES, LOGIT_FEATURES, Network, PLAN, Row, Step};

use folders::Failure;
use lessons::{Game, Object, read};

/// Objects of which each step sees one prompt.
const BATCH: usize = 8;
/// Of the decay of the mean of the squared gradient.
const SQUARE: f32 = 0.999;
const MOMENTUM: f32 = 0.9;
/// Steps between two lines of output.
const LINE: usize = 500;

struct Arguments {
    folders: Vec<PathBuf>,
    out: PathBuf,
    objects: usize,
    each: usize,
    steps: usize,
    rate: f32,
    threads: usize,
    init: Option<PathBuf>,
    glance: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let arguments = arguments()?;
    rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build_global()?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let glance = match &arguments.glance {
        Some(file) => Some(Glance::read(&std::fs::read(file)?).ok_or("--glance: not weights of one")?),
        None => None,
    };
    let objects = read(&arguments.folders, arguments.each, arguments.objects, glance.as_ref(), &mut rng)?;
    if objects.is_empty() {
        return Err("the folders hold no objects".into());
    }
    eprintln!("{} objects", objects.len());
    let rows = match &arguments.init {
        Some(file) => {
            Network::read(&std::fs::read(file)?, FEATURES).ok_or("--init: not weights of this network")?.rows
        }
        None => start(&mut rng),
    };
    let rows = train(&objects, &arguments, rows);
    std::fs::write(&arguments.out, bytes(&rows))?;
    Ok(())
}

fn arguments() -> Result<Arguments, Failure> {
    let mut found = Arguments {
        folders: vec![],
        out: PathBuf::new(),
        objects: usize::MAX,
        each: 3,
        steps: 16_000,
        rate: 3e-3,
        threads: 2,
        init: None,
        glance: None,
    };
    let mut rest = std::env::args().skip(1);
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--out" => found.out = value()?.into(),
            "--objects" => found.objects = value()?.parse()?,
            "--each" => found.each = value()?.parse()?,
            "--steps" => found.steps = value()?.parse()?,
            "--rate" => found.rate = value()?.parse()?,
            "--init" => found.init = Some(value()?.into()),
            "--glance" => found.glance = Some(value()?.into()),
            "--threads" => found.threads = value()?.parse()?,
            _ if argument.starts_with('-') => return Err(format!("unknown option {argument}").into()),
            _ => found.folders.push(argument.into()),
        }
    }
    if found.folders.is_empty() || found.out.as_os_str().is_empty() {
        return Err("name folders with images/ and masks/, and --out FILE".into());
    }
    Ok(found)
}

/// Adam, on weights that are rounded to bytes each time that the network is asked.
fn train(objects: &[Object], arguments: &Arguments, mut rows: Vec<Row>) -> Vec<Row> {
    let (mut mean, mut square) = (vec![[0.0f32; CHANNELS]; rows.len()], vec![[0.0f32; CHANNELS]; rows.len()]);
    let mut games: Vec<Game<'_>> = (0..BATCH as u64).map(|seed| Game::new(objects, seed)).collect();
    let (mut total, begun) = (0.0, Instant::now());
    for step in 1..=arguments.steps {
        let network = rounded(&rows);
        let results: Vec<(f32, Vec<Row>)> = games.par_iter_mut().map(|game| game.play(&network)).collect();
        // In the order of the games, so that the outcome does not depend on the threads.
        let mut gradient = vec![[0.0f32; CHANNELS]; rows.len()];
        for (loss, one) in &results {
            total += loss / BATCH as f32;
            gradient.as_flattened_mut().iter_mut().zip(one.as_flattened()).for_each(|(sum, one)| *sum += one);
        }
        let done = step as f32 / arguments.steps as f32;
        let rate = arguments.rate
            * (step as f32 / 200.0).min(1.0)
            * (0.5 + 0.5 * (std::f32::consts::PI * done).cos());
        let correction = (1.0 - SQUARE.powi(step as i32)).sqrt() / (1.0 - MOMENTUM.powi(step as i32));
        let moments = mean.as_flattened_mut().iter_mut().zip(square.as_flattened_mut());
        let gradient = gradient.as_flattened();
        for ((weight, (mean, square)), gradient) in
            rows.as_flattened_mut().iter_mut().zip(moments).zip(gradient)
        {
            let gradient = (gradient / BATCH as f32).clamp(-1.0, 1.0);
            *mean = MOMENTUM * *mean + (1.0 - MOMENTUM) * gradient;
            *square = SQUARE * *square + (1.0 - SQUARE) * gradient * gradient;
            *weight -= rate * correction * *mean / (square.sqrt() + 1e-6);
        }
        if step % LINE == 0 {
            eprintln!("step {step}: loss {:.4}, {:.0} s", total / LINE as f32, begun.elapsed().as_secs_f32());
            total = 0.0;
        }
    }
    rows
}

/// Small random weights; what is residual starts near 0, what the logits say at 0.
fn start(rng: &mut ChaCha8Rng) -> Vec<Row> {
    let mut rows = Vec::new();
    for step in PLAN {
        let count = step.rows(FEATURES);
        let scale = if step == Step::Embed { 1.5 } else { 1.0 } / (count as f32).sqrt();
        for at in 0..count {
            let logit = step == Step::Embed && at + 1 >= count - LOGIT_FEATURES;
            let scale = if logit || at + 1 == count { 0.0 } else { scale };
            rows.push(std::array::from_fn(|_| scale * rng.random_range(-1.0f32..1.0)));
        }
    }
    rows
}

/// The scale of each column of a step's weights: the upper half of a float.
fn scales(rows: &[Row]) -> [f32; CHANNELS] {
    std::array::from_fn(|at| {
        let most = rows.iter().map(|row| row[at].abs()).fold(1e-6, f32::max);
        f32::from_bits(((most / 127.0).to_bits() + 0x8000) & 0xffff_0000)
    })
}

fn level(value: f32, scale: f32) -> i8 {
    (value / scale).round().clamp(-127.0, 127.0) as i8
}

/// The weights as they are written.
fn bytes(rows: &[Row]) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), rows);
    for count in PLAN.iter().map(|step| step.rows(FEATURES)).filter(|&count| count > 0) {
        let (rows, after) = rest.split_at(count);
        rest = after;
        let scales = scales(rows);
        bytes.extend(scales.iter().flat_map(|scale| ((scale.to_bits() >> 16) as u16).to_le_bytes()));
        bytes.extend(rows.iter().flat_map(|row| (0..CHANNELS).map(|at| level(row[at], scales[at]) as u8)));
    }
    bytes
}

fn rounded(rows: &[Row]) -> Network {
    // What is written can be read.
    Network::read(&bytes(rows), FEATURES).unwrap_or_else(|| unreachable!())
}
