//! A compiled graph, replayed at every run.

use std::time::Duration;

use web_time::Instant;

use super::device::{GpuDevice, UNIFORM_RANGE};
use super::params::GpuParams;
use super::plan::{Leaf, Place, Plan, Step};
use super::profile::Profiler;
pub(super) use super::profile::dispatch;
use super::readback::reals;
use crate::cpu::Profile;
use crate::error::{Error, Result};
use crate::exec::Tensors;
use crate::graph::Graph;
use crate::tensor::{ElementType, HostData, HostTensor};

/// A graph ready to run on a GPU.
#[derive(Debug)]
pub struct GpuProgram {
    device: GpuDevice,
    plan: Plan,
    uniforms: wgpu::Buffer,
    slots: Vec<wgpu::Buffer>,
    scratch: Vec<wgpu::Buffer>,
    inputs: Vec<wgpu::Buffer>,
    /// Bind groups of all steps, and of a first run's, for the parameters that were used last.
    bound: Option<(u64, [Vec<wgpu::BindGroup>; 2])>,
    /// The gradient that the backward pass begins with, as it stands in the uniforms.
    seed: f32,
    profiler: Option<Profiler>,
    /// How long recording the last run's dispatches took, and handing them over.
    recording: Duration,
}

/// A part of a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub(crate) buffer: &'a wgpu::Buffer,
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
    /// Its length; to the buffer's end where it is none.
    pub(crate) bytes: Option<u64>,
}

impl<'a> From<&'a wgpu::Buffer> for Part<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self { buffer, offset: 0, bytes: None }
    }
}

/// Work in one submission: well below a second on a slow GPU, so that no watchdog bites.
const SUBMISSION_FLOPS: u64 = 20_000_000_000;
pub(crate) const SUBMISSION_STEPS: usize = 256;

impl GpuDevice {
    pub(crate) async fn compile(&self, graph: &Graph, fetch: &[&str], train: bool) -> Result<GpuProgram> {
        let plan = self.scoped("compiling kernels", 0, || Plan::new(self, graph, fetch, train)).await?;
        let need = 4 * plan.slot_len.iter().chain(&plan.scratch_len).sum::<usize>() as u64;
        self.scoped("activations", need, || GpuProgram::new(self.clone(), plan)).await
    }
}

impl GpuProgram {
    fn new(device: GpuDevice, plan: Plan) -> Result<Self> {
        let buffers = |what: &str, lens: &[usize]| -> Result<Vec<wgpu::Buffer>> {
            lens.iter().map(|&len| device.storage(what, len)).collect()
        };
        let slots = buffers("an activation", &plan.slot_len)?;
        let scratch = buffers("a scratch buffer", &plan.scratch_len)?;
        let inputs =
            plan.inputs.iter().map(|leaf| device.storage(&leaf.name, len(leaf))).collect::<Result<_>>()?;
        let uniforms = device.uniforms(plan.steps.len());
        device.queue().write_buffer(&uniforms, 0, &plan.uniforms);
        Ok(Self {
            device,
            plan,
            uniforms,
            slots,
            scratch,
            inputs,
            bound: None,
            seed: 1.0,
            profiler: None,
            recording: Duration::ZERO,
        })
    }

    /// Bytes of all buffers of its own: activations, scratch and inputs.
    #[must_use]
    pub fn buffer_bytes(&self) -> u64 {
        self.slots.iter().chain(&self.scratch).chain(&self.inputs).map(wgpu::Buffer::size).sum()
    }

    /// Number of dispatches of a run.
    #[must_use]
    pub fn dispatches(&self) -> usize {
        self.plan.steps.len()
    }

    /// How long recording the last run's dispatches took, and handing them over: the device waits meanwhile,
    /// unless it still computes. Software adapters compute while they are handed work, which does not count.
    #[must_use]
    pub fn recording(&self) -> Duration {
        self.recording
    }

    /// Measures from now on how long each kernel takes, where the adapter has a clock. The device then
    /// waits for the end of each dispatch.
    pub fn start_profile(&mut self) {
        self.profiler = self.device.profiler();
    }

    /// What was measured since [`GpuProgram::start_profile`], by kernel.
    pub fn take_profile(&mut self) -> Profile {
        self.profiler.take().map(|profiler| profiler.profile).unwrap_or_default()
    }

    pub(crate) async fn run(&mut self, params: &mut GpuParams, inputs: &Tensors) -> Result<Tensors> {
        params.check_device(&self.device)?;
        let bytes = self.input_bytes(inputs)?;
        let device = self.device.clone();
        let need = self.plan.graded.iter().map(|&i| 4 * len(&self.plan.params[i]) as u64).sum();
        let graded = self.plan.graded.iter().map(|&i| self.plan.params[i].name.as_str());
        let is_first = params.have_no_gradient(graded);
        device.scoped("a run", need, || self.submit(params, &bytes, is_first)).await?;
        if let Some(profiler) = &mut self.profiler {
            profiler.note(&device, self.plan.steps_of(is_first)).await?;
        }
        self.fetch(params).await
    }

    /// How long the first `count` dispatches take, by the device's clock where it has one; inputs are as
    /// the last run left them.
    #[cfg(feature = "training")]
    pub(super) async fn seconds_of_first(&mut self, count: usize, params: &mut GpuParams) -> Result<f64> {
        let count = count.min(SUBMISSION_STEPS);
        let (device, mut profiler) = (self.device.clone(), self.device.profiler());
        let start = Instant::now();
        let submit = || {
            self.bind(params)?;
            let Some((_, [groups, _])) = &self.bound else { return Ok(()) };
            let (steps, groups) = (&self.plan.steps[..count], &groups[..count]);
            if let Some(profiler) = &mut profiler {
                profiler.submit(&device, 0, steps, groups);
            } else {
                self.submit_steps(steps, groups);
            }
            Ok(())
        };
        device.scoped("measuring kernels", 0, submit).await?;
        if let Some(mut profiler) = profiler {
            profiler.note(&device, &self.plan.steps).await?;
            return Ok(profiler.profile.values().map(|time| time.seconds).sum());
        }
        // Reading one number waits for the end, in a browser as well.
        let waited: Vec<_> = self.slots.first().map(|buffer| (Part::from(buffer), 4)).into_iter().collect();
        device.read_buffers(&waited).await?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn submit(&mut self, params: &mut GpuParams, inputs: &[Vec<u8>], is_first: bool) -> Result<()> {
        for (buffer, bytes) in self.inputs.iter().zip(inputs) {
            self.device.queue().write_buffer(buffer, 0, bytes);
        }
        self.recording = Duration::ZERO;
        for &i in &self.plan.graded {
            params.collect_gradient(&self.plan.params[i].name)?;
        }
        self.bind(params)?;
        params.refresh_halves();
        self.write_seed(params.loss_scale().map_or(1.0, |scale| scale.factor as f32));
        let Some((_, groups)) = &self.bound else { return Ok(()) };
        let (steps, groups) = (self.plan.steps_of(is_first), &groups[usize::from(is_first)]);
        let mut first = 0;
        while first < steps.len() {
            let end = submission_end(steps, first);
            let (steps, groups) = (&steps[first..end], &groups[first..end]);
            match &mut self.profiler {
                Some(profiler) => profiler.submit(&self.device, first, steps, groups),
                None => self.recording += self.submit_steps(steps, groups),
            }
            first = end;
        }
        Ok(())
    }

    /// The factor on all gradients of a run.
    fn write_seed(&mut self, seed: f32) {
        if let Some(at) = self.plan.seed
            && self.seed != seed
        {
            self.device.queue().write_buffer(&self.uniforms, at, &seed.to_le_bytes());
            self.seed = seed;
        }
    }

    /// How long it took: see [`GpuProgram::recording`].
    fn submit_steps(&self, steps: &[Step], groups: &[wgpu::BindGroup]) -> Duration {
        let begun = Instant::now();
        let gpu = self.device.gpu();
        let mut encoder = gpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (step, group) in steps.iter().zip(groups) {
            dispatch(&mut pass, &step.pipeline, group, step.workgroups);
        }
        drop(pass);
        let commands = encoder.finish();
        let recorded = begun.elapsed();
        self.device.queue().submit([commands]);
        if self.device.report().software { recorded } else { begun.elapsed() }
    }

    /// Makes the bind groups for these parameters, unless they are there.
    fn bind(&mut self, params: &mut GpuParams) -> Result<()> {
        if self.bound.as_ref().is_some_and(|(id, _)| *id == params.id()) {
            return Ok(());
        }
        for leaf in &self.plan.params {
            params.check(&leaf.name, &leaf.shape)?;
        }
        params.make_halves(self.plan.half_params())?;
        let params = &*params;
        let groups = |steps: &[Step]| steps.iter().map(|step| self.bind_group(step, params)).collect();
        let [all, first]: [Result<Vec<_>>; 2] = [groups(&self.plan.steps), groups(&self.plan.first_steps)];
        self.bound = Some((params.id(), [all?, first?]));
        Ok(())
    }

    fn bind_group(&self, step: &Step, params: &GpuParams) -> Result<wgpu::BindGroup> {
        let buffers = step.bindings.iter().map(|&p| self.buffer(p, params)).collect::<Result<Vec<_>>>()?;
        Ok(self.device.bind_group(
            &step.pipeline.layout,
            (&self.uniforms, step.uniform, step.uniform_bytes),
            &buffers,
        ))
    }

    fn buffer<'a>(&'a self, place: Place, params: &'a GpuParams) -> Result<Part<'a>> {
        let lost = || Error::Validation(format!("no buffer for {place:?}"));
        match place {
            Place::Slot(i) => self.slots.get(i).map(Part::from).ok_or_else(lost),
            Place::Scratch(i) => self.scratch.get(i).map(Part::from).ok_or_else(lost),
            Place::Input(i) => self.inputs.get(i).map(Part::from).ok_or_else(lost),
            Place::Param(i) => params.weight(&self.plan.params[i].name),
            Place::HalfParam(i) => params.half(&self.plan.params[i].name),
            Place::GradientSum(i) => params.gradient(&self.plan.params[i].name),
        }
    }

    fn input_bytes(&self, inputs: &Tensors) -> Result<Vec<Vec<u8>>> {
        self.plan.inputs.iter().map(|leaf| upload_bytes(leaf, inputs.get(&leaf.name))).collect()
    }

    async fn fetch(&self, params: &GpuParams) -> Result<Tensors> {
        let mut sources = vec![];
        for fetched in &self.plan.fetched {
            sources.push((self.buffer(fetched.place, params)?, 4 * len(&fetched.value) as u64));
        }
        let bytes = self.device.read_buffers(&sources).await?;
        let mut results = Tensors::new();
        for (fetched, bytes) in self.plan.fetched.iter().zip(&bytes) {
            results.insert(fetched.value.name.clone(), download(&fetched.value, bytes)?);
        }
        Ok(results)
    }

    /// Fills every buffer that a run must not read before writing it with NaN: tests find kernels
    /// that do.
    #[doc(hidden)]
    pub fn poison(&self) {
        for buffer in self.slots.iter().chain(&self.scratch) {
            let nan = vec![0xff; buffer.size() as usize];
            self.device.queue().write_buffer(buffer, 0, &nan);
        }
    }
}

impl GpuDevice {
    /// Binds a range of uniforms (buffer, number, bytes) and storage buffers in order.
    pub(crate) fn bind_group(
        &self, layout: &wgpu::BindGroupLayout, (uniforms, range, bytes): (&wgpu::Buffer, u64, u64),
        parts: &[Part<'_>],
    ) -> wgpu::BindGroup {
        // Uniform structs are padded to 16 bytes in some shading languages.
        let size = wgpu::BufferSize::new(bytes.next_multiple_of(16));
        let binding = wgpu::BufferBinding { buffer: uniforms, offset: range * UNIFORM_RANGE, size };
        let mut entries =
            vec![wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::Buffer(binding) }];
        for (binding, part) in (1..).zip(parts) {
            let &Part { buffer, offset, bytes } = part;
            let size = bytes.and_then(wgpu::BufferSize::new);
            let range = wgpu::BufferBinding { buffer, offset, size };
            entries.push(wgpu::BindGroupEntry { binding, resource: wgpu::BindingResource::Buffer(range) });
        }
        self.gpu().create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: &entries })
    }
}

/// Where the submission that begins at `first` ends.
fn submission_end(steps: &[Step], first: usize) -> usize {
    let mut flops = 0;
    let mut end = first;
    while end < steps.len()
        && end - first < SUBMISSION_STEPS
        && (end == first || flops + steps[end].flops <= SUBMISSION_FLOPS)
    {
        flops += steps[end].flops;
        end += 1;
    }
    end
}

/// Number of elements of an input, weight or result.
pub(crate) fn len(leaf: &Leaf) -> usize {
    leaf.shape.iter().product()
}

fn upload_bytes(leaf: &Leaf, tensor: Option<&HostTensor>) -> Result<Vec<u8>> {
    let problem = |problem: String| Error::Tensor { name: leaf.name.clone(), problem };
    let tensor = tensor.ok_or_else(|| problem("this input was not given".into()))?;
    if tensor.shape() != leaf.shape {
        return Err(problem(format!("has shape {:?}, expected {:?}", tensor.shape(), leaf.shape)));
    }
    match (leaf.element, tensor.data()) {
        (ElementType::Index, HostData::U32(v)) => Ok(bytemuck::cast_slice(v).to_vec()),
        (ElementType::Real, HostData::F32(v)) => Ok(bytemuck::cast_slice(v).to_vec()),
        (ElementType::Real, HostData::F64(_)) => Ok(bytemuck::cast_slice(&tensor.to_f32()).to_vec()),
        (element, _) => Err(problem(format!("must hold {element:?} elements"))),
    }
}

fn download(leaf: &Leaf, bytes: &[u8]) -> Result<HostTensor> {
    match leaf.element {
        ElementType::Real => HostTensor::f32(&leaf.shape, reals(bytes)),
        ElementType::Index => {
            let ids = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            HostTensor::u32(&leaf.shape, ids)
        }
    }
}
