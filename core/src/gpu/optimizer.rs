//! AdamW with clipping by the norm of all gradients, entirely on the device.

use super::device::{GpuDevice, Pipeline, UNIFORM_RANGE};
use super::params::{GpuParams, Moments, Weight};
use super::plan::{ACCUMULATE, push_uniform};
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
    /// The weights that the step updates.
    names: Vec<String>,
    uniforms: wgpu::Buffer,
    verdict: wgpu::Buffer,
    /// Pipelines and bindings, in the order of [`dispatches`].
    steps: Vec<(Pipeline, wgpu::BindGroup)>,
}

/// What a step computes, for weights of these shapes: sums of squares, the verdict, the updates.
fn dispatches(adamw: &AdamW, shapes: &[&[usize]]) -> Vec<Dispatch> {
    let lens: Vec<usize> = shapes.iter().map(|s| s.iter().product()).collect();
    let mut all = vec![];
    let mut partials = 0;
    for &len in &lens {
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
    all.extend(shapes.iter().zip(&lens).map(|(shape, &len)| update(adamw, shape, len)));
    all
}

fn update(adamw: &AdamW, shape: &[usize], len: usize) -> Dispatch {
    let (c1, c2) = adamw.bias_corrections();
    let decay = if decays(shape) { adamw.weight_decay } else { 0.0 };
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
    let mut all = dispatches(&AdamW::default(), &[&[3, 5]]);
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
        let bytes = device.read_buffers(&[(&verdict, VERDICT_BYTES)]).await?;
        let words: Vec<u32> =
            bytes[0].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let applied = words[2] == 1;
        if let Some(scale) = &mut self.loss_scale {
            scale.update(applied);
        }
        Ok(StepReport { grad_norm: f64::from(f32::from_bits(words[0])), applied })
    }

    fn submit_step(&mut self, adamw: &AdamW) -> Result<wgpu::Buffer> {
        let names: Vec<String> =
            self.weights.iter().filter(|(_, w)| w.collected).map(|(n, _)| n.clone()).collect();
        self.make_moments(&names)?;
        let shapes: Vec<&[usize]> = names.iter().map(|n| self.weights[n].shape.as_slice()).collect();
        let work = dispatches(adamw, &shapes);
        if self.optimizer.as_ref().is_none_or(|o| o.names != names) {
            let weights: Vec<&Weight> = names.iter().map(|n| &self.weights[n]).collect();
            let made = Optimizer::new(&self.device, names.clone(), &weights, &work)?;
            self.optimizer = Some(made);
        }
        for name in &names {
            if let Some(weight) = self.weights.get_mut(name) {
                weight.collected = false;
            }
        }
        let Some(optimizer) = &self.optimizer else { return self.device.storage("verdict", 4) };
        optimizer.submit(&self.device, &work);
        self.copies.outdate();
        Ok(optimizer.verdict.clone())
    }

    fn make_moments(&mut self, names: &[String]) -> Result<()> {
        for name in names {
            let Some(weight) = self.weights.get_mut(name).filter(|w| w.moments.is_none()) else {
                continue;
            };
            let len = weight.len();
            let (mean, square) = (self.device.storage(name, len)?, self.device.storage(name, len)?);
            weight.moments = Some(Moments { mean, square });
            self.optimizer = None;
        }
        Ok(())
    }
}

/// `norm`, `factor`, `applied`.
const VERDICT_BYTES: u64 = 12;

impl Optimizer {
    fn new(device: &GpuDevice, names: Vec<String>, weights: &[&Weight], work: &[Dispatch]) -> Result<Self> {
        let count: usize = weights.iter().map(|w| w.len().div_ceil(SPAN)).sum();
        let partials = device.storage("sums of squares", count)?;
        let verdict = device.storage("verdict", 4)?;
        let uniforms = device.uniforms(work.len());
        let mut bindings: Vec<Vec<&wgpu::Buffer>> = vec![];
        bindings.extend(weights.iter().filter_map(|w| Some(vec![w.gradient.as_ref()?, &partials])));
        bindings.push(vec![&partials, &verdict]);
        bindings.extend(weights.iter().filter_map(|w| {
            let moments = w.moments.as_ref()?;
            Some(vec![&verdict, w.gradient.as_ref()?, &moments.mean, &moments.square, &w.value])
        }));
        let bind = |(i, (dispatch, buffers)): (usize, (&Dispatch, &Vec<&wgpu::Buffer>))| {
            let pipeline = device.pipeline(dispatch, Halves::default());
            let bytes = 4 * dispatch.params.len() as u64;
            let group = device.bind_group(&pipeline.layout, (&uniforms, i as u64, bytes), buffers);
            (pipeline, group)
        };
        let steps = work.iter().zip(&bindings).enumerate().map(bind).collect();
        Ok(Self { names, uniforms, verdict, steps })
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
