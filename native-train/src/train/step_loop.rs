//! The loop: batch, losses and gradients, update, record; now and then a checkpoint and a picture.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rmae_core::exec::{Params, Program};
use rmae_core::optim::{AdamW, Schedule};
use rmae_core::reconstruct::inputs;

use super::corrector::Corrector;
use super::coverage::{Baselines, Coverage};
use super::metrics::{Metrics, StepRecord};
use super::pictures::Pictures;
use super::prompts::Shown;
use super::run_dir::{SkippedList, dump_batch};
use super::setup::LOSSES;
use super::tensorboard::Events;
use super::{Event, Outcome};
use crate::checkpoint::{self, Checkpoint, TrainState};
use crate::config::PretrainConfig;
use crate::data::{Batch, DataError, Loader};
use crate::error::{Result, TrainError};
use crate::picture;

/// A run between two updates.
pub(super) struct Trainer<'a> {
    pub(super) config: &'a PretrainConfig,
    pub(super) config_text: String,
    pub(super) loader: Loader,
    pub(super) params: Params,
    pub(super) program: Program,
    pub(super) corrector: Option<Corrector>,
    pub(super) schedule: Schedule,
    pub(super) state: TrainState,
    pub(super) coverage: Option<Coverage>,
    pub(super) metrics: Metrics,
    pub(super) events: Events,
    pub(super) pictures: Pictures,
    pub(super) skipped: SkippedList,
    /// The update after which the newest checkpoint was written.
    pub(super) saved_step: Option<u64>,
}

/// Means over the batches of one update.
#[derive(Default)]
struct Sums {
    /// As [`LOSSES`].
    losses: [Option<f64>; LOSSES.len()],
    baselines: Option<Baselines>,
    wait_s: f64,
    names: Vec<PathBuf>,
}

impl Trainer<'_> {
    /// Trains to the end or until `stop`.
    pub(super) fn train(&mut self, stop: &AtomicBool, observe: &mut dyn FnMut(Event)) -> Result<Outcome> {
        let total = self.schedule.total_steps;
        while self.state.step < total && !stop.load(Ordering::SeqCst) {
            let record = self.step(observe)?;
            self.metrics.write(&record)?;
            self.write_events(&record)?;
            observe(Event::Step(record));
            let (step, every) = (self.state.step, self.config.picture_every);
            if step.is_multiple_of(self.config.checkpoint_every) {
                self.save(observe)?;
            }
            if every > 0 && (step.is_multiple_of(every) || step == total) {
                self.draw(observe)?;
            }
        }
        if self.saved_step != Some(self.state.step) {
            self.save(observe)?;
        }
        Ok(Outcome { step: self.state.step, interrupted: self.state.step < total })
    }

    /// One update.
    fn step(&mut self, observe: &mut dyn FnMut(Event)) -> Result<StepRecord> {
        let started = Instant::now();
        let lr = self.schedule.lr(self.state.step);
        let mut sums = Sums::default();
        for _ in 0..self.config.accumulate {
            let batch = self.next_batch(observe)?;
            self.forward_backward(batch, &mut sums)?;
        }
        let grad_norm = self.update(lr, &sums, observe)?;
        self.state.step += 1;
        let seconds = started.elapsed().as_secs_f64();
        let [loss, mae_loss, region_loss, dice_loss, boundary_loss] = sums.losses;
        Ok(StepRecord {
            step: self.state.step,
            epoch: self.state.position.epoch as f64
                + self.state.position.index as f64 / self.loader.len() as f64,
            loss: loss.unwrap_or(f64::NAN),
            mae_loss,
            region_loss,
            dice_loss,
            boundary_loss,
            region_baseline_loss: sums.baselines.map(|b| b.mean_coverage),
            region_patch_entropy: sums.baselines.map(|b| b.patch_entropy),
            lr,
            grad_norm,
            loss_scale: self.state.loss_scale.map(|scale| scale.factor),
            images_per_s: self.config.images_per_step() as f64 / seconds,
            data_wait_s: sums.wait_s,
            step_s: seconds,
        })
    }

    fn next_batch(&mut self, observe: &mut dyn FnMut(Event)) -> Result<Batch> {
        let (batch, skipped) = match self.loader.next_batch() {
            Ok(mut batch) => {
                let skipped = std::mem::take(&mut batch.skipped);
                (Ok(batch), skipped)
            }
            Err(DataError::TooManySkipped { looked_at, skipped }) => {
                (Err(DataError::TooManySkipped { looked_at, skipped: skipped.clone() }), skipped)
            }
            Err(other) => (Err(other), vec![]),
        };
        for image in skipped {
            if self.skipped.add(&image)? {
                observe(Event::Skipped(image));
            }
        }
        Ok(batch?)
    }

    /// Adds a batch's losses to the sums, and its gradients to those on the device.
    fn forward_backward(&mut self, batch: Batch, sums: &mut Sums) -> Result<()> {
        let share = 1.0 / self.config.accumulate as f64;
        if let Some(coverage) = &mut self.coverage {
            let new = coverage.score(&batch.regions, &batch.ids_shuffle);
            let old = sums.baselines.unwrap_or(Baselines { mean_coverage: 0.0, patch_entropy: 0.0 });
            sums.baselines = Some(Baselines {
                mean_coverage: old.mean_coverage + share * new.mean_coverage,
                patch_entropy: old.patch_entropy + share * new.patch_entropy,
            });
        }
        sums.wait_s += batch.wait.as_secs_f64();
        sums.names.extend(batch.names);
        let model = &self.config.model;
        // A place in the data belongs to one batch only, which makes it the key of the draws.
        let key = (self.config.seed, batch.position_after);
        let mut shown = match self.config.tuning {
            Some(_) => Some(Shown::draw(model, &batch.regions, key)?),
            None => None,
        };
        let mut inputs = inputs(model, batch.images, batch.regions, &batch.ids_shuffle)?;
        if let Some(shown) = &mut shown {
            inputs.extend(shown.inputs()?);
            if self.config.tuning.is_some_and(|tuning| tuning.boundary_weight > 0.0) {
                inputs.insert("region_distances".into(), shown.distances()?);
            }
            if let Some(corrector) = &mut self.corrector {
                corrector.go_on(shown, &mut self.params, &mut inputs)?;
            }
        }
        let outputs = pollster::block_on(self.program.run(&mut self.params, &inputs))?;
        for (sum, name) in sums.losses.iter_mut().zip(LOSSES) {
            if let Some(loss) = outputs.get(name) {
                *sum = Some(sum.unwrap_or(0.0) + share * loss.scalar());
            }
        }
        self.state.position = batch.position_after;
        match sums.losses[0] {
            Some(loss) if !loss.is_finite() => Err(self.non_finite("loss", loss, &sums.names)?),
            _ => Ok(()),
        }
    }

    /// Clips, updates the weights, and gives the norm of the gradients; none where one overflowed in f16,
    /// and nothing was updated.
    fn update(&mut self, lr: f64, sums: &Sums, observe: &mut dyn FnMut(Event)) -> Result<Option<f64>> {
        let skipped = self.state.loss_scale.map_or(0, |scale| scale.skipped);
        let adamw = AdamW {
            lr,
            // AdamW's moments know nothing of the steps that were skipped.
            step: self.state.step + 1 - skipped,
            grad_scale: 1.0 / self.config.accumulate as f64,
            ..self.config.adamw.clone()
        };
        let report = pollster::block_on(self.params.step(&adamw))?;
        self.state.loss_scale = self.params.loss_scale();
        if report.applied {
            return Ok(Some(report.grad_norm));
        }
        match self.state.loss_scale {
            Some(scale) if !scale.is_exhausted() => {
                let (step, factor) = (self.state.step + 1, scale.factor);
                observe(Event::Warning(format!(
                    "update {step} skipped: a gradient overflowed in f16; the loss scale is {factor} now"
                )));
                Ok(None)
            }
            _ => Err(self.non_finite("gradient norm", report.grad_norm, &sums.names)?),
        }
    }

    fn non_finite(&self, what: &'static str, value: f64, names: &[PathBuf]) -> Result<TrainError> {
        let step = self.state.step + 1;
        let dump = dump_batch(&self.config.out, step, what, value, names)?;
        Ok(TrainError::NonFinite { step, what, value, dump })
    }

    fn save(&mut self, observe: &mut dyn FnMut(Event)) -> Result<()> {
        let (coverage, count) = self.coverage.as_ref().map_or((&[][..], 0), Coverage::state);
        self.state.coverage_count = count;
        let checkpoint = Checkpoint {
            model: self.config.model.clone(),
            weights: pollster::block_on(self.params.weights())?,
            optimizer: pollster::block_on(self.params.optimizer_state())?,
            state: TrainState { seed: self.config.seed, images: self.loader.len(), ..self.state.clone() },
            coverage: coverage.to_vec(),
            config: self.config_text.clone(),
        };
        let path = checkpoint::save(&self.config.out, &checkpoint)?;
        checkpoint::prune(&self.config.out, self.config.keep)?;
        self.saved_step = Some(self.state.step);
        observe(Event::Saved(path));
        Ok(())
    }

    fn draw(&mut self, observe: &mut dyn FnMut(Event)) -> Result<()> {
        let step = self.state.step;
        let (path, image) = self.pictures.make(self.config, &mut self.params, step)?;
        self.events.image(step, "panel", image.dimensions(), &picture::png(&image)?)?;
        picture::save_png(&picture::curve(&self.metrics.curves()), &self.config.out.join("curve.png"))?;
        observe(Event::Picture(path));
        Ok(())
    }

    fn write_events(&mut self, r: &StepRecord) -> Result<()> {
        let named = [
            ("loss/total", Some(r.loss)),
            ("loss/mae", r.mae_loss),
            ("loss/region", r.region_loss),
            ("loss/dice", r.dice_loss),
            ("loss/boundary", r.boundary_loss),
            ("loss/region_mean_coverage", r.region_baseline_loss),
            ("loss/region_patch_coverage", r.region_patch_entropy),
            ("optimizer/lr", Some(r.lr)),
            ("optimizer/grad_norm", r.grad_norm),
            ("optimizer/loss_scale", r.loss_scale),
            ("speed/images_per_s", Some(r.images_per_s)),
            ("speed/data_wait_s", Some(r.data_wait_s)),
        ];
        let values: Vec<(&str, f64)> = named.into_iter().filter_map(|(tag, v)| Some((tag, v?))).collect();
        self.events.scalars(r.step, &values)
    }
}
