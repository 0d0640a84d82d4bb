//! AdamW with clipping by the norm of all gradients, entirely on the device.

use super::arena::{Kind, Place, Run};
use super::device::{GpuDevice, Pipeline, UNIFORM_RANGE};
use super::params::GpuParams;
use super::plan::{ACCUMULATE, push_uniform};
use super::program::Part;
use crate::error::Result;
use crate::ops::kernel::{Dispatch, Halves, Kernel, Slot, fields, kernel};
use crate::optim::{AdamW, StepReport, decays};

pub(crate) static SUM_SQUARES: Kernel = kernel!("sum_squares");
pub(crate) static CLIP_FACTOR: Kernel = kernel!("clip_factor");
pub(crate) static ADAMW: Kernel = kernel!("adamw");

/// Elements of one partial sum of squares; SPAN in `sum_squares.wgsl`.
const SPAN: usize = 4096;

/// The buffers and bind groups of a step for one set of weights.
#[derive(Debug)]
pub(super) struct Optimizer {
    /// What the step updates.
    runs: Vec<Run>,
    uniforms: wgpu::Buffer,
    verdict: wgpu::Buffer,
    /// Pipelines and bindings, in the order of [`dispatches`].
    steps: Vec<(Pipeline, wgpu::BindGroup)>,
}

/// Elements of weights that are updated together, and whether they decay.
type Updated = (usize, bool);

/// What a step computes: sums of squares, the verdict, the updates.
fn dispatches(adamw: &AdamW, updated: &[Updated]) -> Vec<Dispatch> {
    let mut all = vec![];
    let mut partials = 0;
    for &(len, _) in updated {
        let groups = len.div_ceil(SPAN);
        all.push(Dispatch::new(
            &SUM_SQUARES,
            fields![len, partials],
            &[Slot::Input(0), Slot::Output],
            groups,
        ));
        partials += groups;
    }
    let clip = fields![partials, adamw.grad_scale, adamw.clip_norm.unwrap_or(0.0)];
    all.push(Dispatch::new(&CLIP_FACTOR, clip, &[Slot::Input(0), Slot::Output], 1));
    all.extend(updated.iter().map(|&(len, decays)| update(adamw, len, decays)));
    all
}

fn update(adamw: &AdamW, len: usize, decays: bool) -> Dispatch {
    let (c1, c2) = adamw.bias_corrections();
    let decay = if decays { adamw.weight_decay } else { 0.0 };
    let AdamW { lr, beta1, beta2, eps, .. } = *adamw;
    let fours = len.div_ceil(4);
    let params = fields![
        fours,
        beta1,
        beta2,
        1.0 - beta1,
        1.0 - beta2,
        eps,
        lr / c1,
        1.0 / c2.sqrt(),
        1.0 - lr * decay
    ];
    let bindings = [Slot::Input(0), Slot::Input(1), Slot::Input(2), Slot::Input(3), Slot::Output];
    Dispatch::elements(&ADAMW, params, &bindings, fours)
}

/// One dispatch of each of the executor's own kernels, for the tests of the shaders.
#[doc(hidden)]
#[must_use]
pub fn sample_dispatches() -> Vec<Dispatch> {
    let mut all = dispatches(&AdamW::default(), &[(15, true)]);
    all.push(Dispatch::elements(&ACCUMULATE, fields![7usize], &[Slot::Input(0), Slot::Output], 7));
    all
}

impl GpuParams {
    pub(crate) async fn step(&mut self, adamw: &AdamW) -> Result<StepReport> {
        let device = self.device.clone();
        // The sums are of scaled gradients: nothing but this factor has to know it.
        let scale = self.loss_scale.map_or(1.0, |scale| scale.factor);
        let adamw = &AdamW { grad_scale: adamw.grad_scale / scale, ..adamw.clone() };
        let collected = self.weights.values().filter(|w| w.collected);
        let need = collected.map(|w| 8 * w.len() as u64).sum();
        let verdict = device.scoped("AdamW's moments", need, || self.submit_step(adamw)).await?;
        let bytes = device.read_buffers(&[((&verdict).into(), VERDICT_BYTES)]).await?;
        let words: Vec<u32> =
            bytes[0].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let applied = words[2] == 1;
        if let Some(scale) = &mut self.loss_scale {
            scale.update(applied);
        }
        Ok(StepReport { grad_norm: f64::from(f32::from_bits(words[0])), applied })
    }

    fn submit_step(&mut self, adamw: &AdamW) -> Result<wgpu::Buffer> {
        self.make_moments()?;
        let collected = self.weights.values().filter(|weight| weight.collected);
        let runs = Place::runs(collected.map(|weight| (weight.place, decays(&weight.shape))).collect());
        let updated: Vec<Updated> = runs.iter().map(|run| (run.len(), run.decays)).collect();
        let work = dispatches(adamw, &updated);
        if self.optimizer.as_ref().is_none_or(|optimizer| optimizer.runs != runs) {
            self.optimizer = Some(Optimizer::new(self, runs, &work)?);
        }
        self.weights.values_mut().for_each(|weight| weight.collected = false);
        let Some(optimizer) = &self.optimizer else { return self.device.storage("verdict", 4) };
        optimizer.submit(&self.device, &work);
        self.copies.outdate();
        Ok(optimizer.verdict.clone())
    }

    /// Moments of 0 for weights with gradients that have none.
    fn make_moments(&mut self) -> Result<()> {
        for (name, weight) in self.weights.iter_mut().filter(|(_, w)| w.collected && !w.has_moments) {
            let arena = &mut self.arenas[weight.place.arena];
            arena.make(&self.device, Kind::Mean, name)?;
            arena.make(&self.device, Kind::Square, name)?;
            weight.has_moments = true;
            self.optimizer = None;
        }
        Ok(())
    }
}

/// `norm`, `factor`, `applied`.
const VERDICT_BYTES: u64 = 12;

impl Optimizer {
    fn new(params: &GpuParams, runs: Vec<Run>, work: &[Dispatch]) -> Result<Self> {
        let device = &params.device;
        let count: usize = runs.iter().map(|run| run.len().div_ceil(SPAN)).sum();
        let partials = device.storage("sums of squares", count)?;
        let verdict = device.storage("verdict", 4)?;
        let uniforms = device.uniforms(work.len());
        let part = |run: &Run, kind| params.arenas[run.arena()].part(kind, run.place);
        let mut bindings: Vec<Vec<Part>> = vec![];
        bindings
            .extend(runs.iter().filter_map(|run| Some(vec![part(run, Kind::Gradient)?, (&partials).into()])));
        bindings.push(vec![(&partials).into(), (&verdict).into()]);
        bindings.extend(runs.iter().filter_map(|run| {
            let of_run = [Kind::Gradient, Kind::Mean, Kind::Square, Kind::Value].map(|kind| part(run, kind));
            let of_run = of_run.into_iter().collect::<Option<Vec<_>>>()?;
            Some([vec![(&verdict).into()], of_run].concat())
        }));
        let bind = |(i, (dispatch, buffers)): (usize, (&Dispatch, &Vec<Part>))| {
            let pipeline = device.pipeline(dispatch, Halves::default());
            let bytes = 4 * dispatch.params.len() as u64;
            let group = device.bind_group(&pipeline.layout, (&uniforms, i as u64, bytes), buffers);
            (pipeline, group)
        };
        let steps = work.iter().zip(&bindings).enumerate().map(bind).collect();
        Ok(Self { runs, uniforms, verdict, steps })
    }

    fn submit(&self, device: &GpuDevice, work: &[Dispatch]) {
        let mut bytes = Vec::with_capacity(work.len() * UNIFORM_RANGE as usize);
        for dispatch in work {
            push_uniform(&mut bytes, dispatch);
        }
        device.queue().write_buffer(&self.uniforms, 0, &bytes);
        let mut encoder = device.gpu().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (dispatch, (pipeline, group)) in work.iter().zip(&self.steps) {
            pass.set_pipeline(&pipeline.compute);
            pass.set_bind_group(0, group, &[]);
            let [x, y, z] = dispatch.workgroups;
            pass.dispatch_workgroups(x, y, z);
        }
        drop(pass);
        device.queue().submit([encoder.finish()]);
    }
}
