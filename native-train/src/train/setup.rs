//! From a configuration to a trainer at its first update, or where a checkpoint left off.

use std::path::Path;

use rmae_core::config::ModelConfig;
use rmae_core::exec::{Device, Tensors};
use rmae_core::graph::{Graph, Recompute};
use rmae_core::model::{self, TuningOptions};

use super::corrector::Corrector;
use super::coverage::Coverage;
use super::metrics::Metrics;
use super::pictures::Pictures;
use super::prompts;
use super::run_dir::{self, SkippedList};
use super::step_loop::Trainer;
use super::tensorboard::Events;
use super::{Event, Start};
use crate::autotune::{self, Said};
use crate::checkpoint::{self, Checkpoint, TrainState};
use crate::config::{PretrainConfig, TrainPrecision, Tuning};
use crate::data::{Loader, LoaderPosition, scan};
use crate::error::{Result, TrainError};

/// Losses that a training graph may have.
pub(super) const LOSSES: [&str; 5] = ["loss", "mae_loss", "region_loss", "dice_loss", "boundary_loss"];

/// Builds everything a run needs.
pub(super) fn prepare<'a>(
    config: &'a PretrainConfig, resume: bool, device: &Device, observe: &mut dyn FnMut(Event),
) -> Result<Trainer<'a>> {
    let graph = graph(config)?;
    let device = &with_precision(config, device)?;
    run_dir::open(&config.out, resume)?;
    let files = scan(&config.images)?;
    let mut start = start(config, resume, files.len(), observe)?;
    let config_text = run_dir::write_config(config)?;
    let fetch: Vec<&str> = LOSSES.into_iter().filter(|name| graph.outputs().contains_key(*name)).collect();
    let mut params = pollster::block_on(device.params(&start.weights))?;
    if !start.optimizer.is_empty() {
        pollster::block_on(params.set_optimizer_state(&start.optimizer))?;
    }
    if let Some(scale) = start.state.loss_scale {
        params.set_loss_scale(scale);
    }
    let device = &tuned(config, device, &graph, &start.state, observe)?;
    start.state.kernels = autotune::chosen(device);
    let program = pollster::block_on(device.compile(&graph, &fetch, true))?;
    let corrector = match config.tuning.filter(|tuning| tuning.corrective > 0.0) {
        Some(tuning) => Some(Corrector::new(tuning.corrective, &graph, device)?),
        None => None,
    };
    let mut coverage = Coverage::new(&config.model);
    if let Some(coverage) = &mut coverage {
        coverage.restore(&start.coverage, start.state.coverage_count);
    }
    let schedule = config.schedule(files.len());
    observe(Event::Started(Start {
        device: device.describe(),
        images: files.len(),
        parameters: trained(config)?,
        images_per_step: config.images_per_step(),
        first_step: start.state.step,
        total_steps: schedule.total_steps,
    }));
    Ok(Trainer {
        config,
        config_text,
        pictures: Pictures::new(config, device, &files),
        metrics: Metrics::open(&config.out, start.state.step)?,
        events: Events::create(&config.out)?,
        skipped: SkippedList::open(&config.out),
        saved_step: resume.then_some(start.state.step),
        loader: Loader::new(files, config.loader.clone(), start.state.position)?,
        state: start.state,
        schedule,
        params,
        program,
        corrector,
        coverage,
    })
}

fn with_precision(config: &PretrainConfig, device: &Device) -> Result<Device> {
    match config.precision {
        TrainPrecision::F32 => Ok(device.clone()),
        TrainPrecision::Mixed => Ok(device.clone().mixed()?),
    }
}

/// A run that goes on keeps the kernels that it began with, so that it goes on to the same bits.
fn tuned(
    config: &PretrainConfig, device: &Device, graph: &Graph, state: &TrainState,
    observe: &mut dyn FnMut(Event),
) -> Result<Device> {
    if let Some(device) = state.kernels.as_ref().and_then(|chosen| autotune::with_choices(device, chosen)) {
        return Ok(device);
    }
    let wish = if state.step > 0 { config.autotune.or(Some(false)) } else { config.autotune };
    autotune::tuned(device, graph, wish, &mut |said| {
        observe(match said {
            Said::Note(line) => Event::Note(line),
            Said::Warning(line) => Event::Warning(line),
        });
    })
}

fn graph(config: &PretrainConfig) -> Result<Graph> {
    let (model, batch) = (&config.model, config.loader.batch);
    let (frozen, recompute) = (config.frozen, recompute(config));
    let graph = match config.tuning {
        None => model::training_graph_but(model, batch, frozen, recompute)?,
        Some(Tuning { whole_image, dice_weight, boundary_weight, .. }) => {
            let keep = prompts::seen(model);
            let options = TuningOptions { keep, whole_image, dice_weight, boundary_weight, frozen };
            model::tuning_graph(model, batch, &options, recompute)?
        }
    };
    if graph.gradients().is_empty() {
        let problem = "freeze: nothing is left to train for what is learnt; freeze fewer parts".into();
        return Err(TrainError::Config(problem));
    }
    Ok(graph)
}

fn recompute(config: &PretrainConfig) -> Recompute {
    if config.recompute { Recompute::Segments } else { Recompute::Nothing }
}

fn trained(config: &PretrainConfig) -> Result<usize> {
    let specs = model::param_specs(&config.model)?;
    let trained = specs.iter().filter(|s| s.trainable && !config.frozen.holds(&s.name));
    Ok(trained.map(|s| s.shape.iter().product::<usize>()).sum())
}

/// Fresh weights, or those of the newest readable checkpoint.
fn start(
    config: &PretrainConfig, resume: bool, images: usize, observe: &mut dyn FnMut(Event),
) -> Result<Checkpoint> {
    if !resume {
        return fresh(config, images);
    }
    let newest = checkpoint::newest(&config.out)?;
    for problem in newest.broken {
        observe(Event::Warning(format!("{problem}; going back to the one before it")));
    }
    let found = newest.checkpoint;
    same_model(&newest.path, &found.model, &config.model)?;
    if found.state.images != images {
        let before = found.state.images;
        observe(Event::Warning(format!(
            "the folders hold {images} images, when the run began they held {before}: the order is another one now"
        )));
    }
    if found.state.seed != config.seed {
        let before = found.state.seed;
        observe(Event::Warning(format!(
            "seed {} instead of {before}: crops, masks and order are others from here on",
            config.seed
        )));
    }
    Ok(found)
}

fn fresh(config: &PretrainConfig, images: usize) -> Result<Checkpoint> {
    let position = LoaderPosition::default();
    Ok(Checkpoint {
        model: config.model.clone(),
        weights: first_weights(config)?,
        optimizer: Tensors::new(),
        state: TrainState {
            step: 0,
            position,
            seed: config.seed,
            images,
            coverage_count: 0,
            loss_scale: None,
            kernels: None,
        },
        coverage: vec![],
        config: String::new(),
    })
}

/// Random weights, or those of `init`. What that file leaves out (a decoder) begins at random; position
/// tables of another image side are made for this one.
fn first_weights(config: &PretrainConfig) -> Result<Tensors> {
    let mut weights = model::init_params(&config.model, config.seed)?;
    let Some(file) = &config.init else { return Ok(weights) };
    let (trained, stored) = checkpoint::load_model(file)?;
    let stored = model::tables_at(&trained, config.model.grid(), &stored)?;
    let mut used = 0;
    for (name, tensor) in stored {
        let Some(weight) = weights.get_mut(&name) else { continue };
        if weight.shape() != tensor.shape() {
            let (have, want) = (tensor.shape(), weight.shape());
            let problem = format!("its tensor {name} has shape {have:?}, this model's has {want:?}");
            return Err(TrainError::checkpoint(file, problem));
        }
        *weight = tensor;
        used += 1;
    }
    if used == 0 {
        return Err(TrainError::checkpoint(file, "has no weight of this model"));
    }
    Ok(weights)
}

/// Names the fields in which the model asked for differs from the checkpoint's.
fn same_model(path: &Path, found: &ModelConfig, asked: &ModelConfig) -> Result<()> {
    if found == asked {
        return Ok(());
    }
    let fields = |model: &ModelConfig| match serde_json::to_value(model) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let asked = fields(asked);
    let differ = fields(found).into_iter().filter_map(|(name, value)| {
        let other = asked.get(&name).filter(|other| **other != value)?;
        Some(format!("{name} is {value} there and {other} here"))
    });
    let problem = format!("is of another model: {}", differ.collect::<Vec<_>>().join(", "));
    Err(TrainError::checkpoint(path, problem))
}
