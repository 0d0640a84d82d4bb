//! Adapters, and a device with its compiled pipelines.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::errors::{ADVICE, Reports, scoped};
use super::tier::Tier;
use crate::error::{Error, Result};
use crate::ops::kernel::{Dispatch, Halves, Machine, MatrixUnits, Sizes};
use crate::ops::variant::Choices;

/// Which adapter to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The first hardware adapter, discrete ones before integrated ones.
    Hardware,
    /// The first adapter, hardware before software.
    Any,
    /// The first whose name, driver or backend contains this, in any case; software too.
    Named(String),
}

/// What is known of an adapter.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Its name, as the driver gives it.
    pub name: String,
    /// `vulkan`, `metal`, `dx12`, `webgpu`.
    pub backend: String,
    /// Driver and its version.
    pub driver: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `CPU` or `other`.
    pub kind: &'static str,
    /// Whether it computes on the processor (lavapipe, SwiftShader, WARP): never taken unasked.
    pub software: bool,
    /// How much of it is used.
    pub tier: Tier,
    /// What it offers.
    pub limits: wgpu::Limits,
    /// What it offers beyond WebGPU's core.
    pub features: wgpu::Features,
    /// Threads of a subgroup, where all subgroups have as many.
    pub subgroup: Option<u32>,
    /// Its units for products of small matrices.
    pub units: Option<MatrixUnits>,
}

impl AdapterReport {
    fn new(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let limits = adapter.limits();
        Self {
            software: is_software(&info),
            tier: Tier::of(&limits),
            backend: info.backend.to_str().into(),
            driver: format!("{} {}", info.driver, info.driver_info).trim().into(),
            kind: kind_name(info.device_type),
            subgroup: subgroup(&info),
            units: units(adapter, &info),
            name: info.name,
            limits,
            features: adapter.features(),
        }
    }

    /// What it computes with.
    #[must_use]
    pub fn machine(&self) -> Machine {
        match self.units {
            _ if self.software => Machine::Processor { lanes: self.lanes() },
            Some(units) => Machine::Cooperative(units),
            None => Machine::Gpu,
        }
    }

    /// Threads of a subgroup, where they can hand values to each other.
    #[must_use]
    pub fn lanes(&self) -> Option<u32> {
        self.subgroup.filter(|_| self.features.contains(wgpu::Features::SUBGROUP))
    }

    fn matches(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        // Mesa's software Vulkan driver is called lavapipe by everybody but itself.
        let alias = if self.name.contains("llvmpipe") { "lavapipe" } else { "" };
        [self.name.as_str(), &self.driver, &self.backend, alias]
            .iter()
            .any(|s| s.to_lowercase().contains(&text))
    }
}

fn subgroup(info: &wgpu::AdapterInfo) -> Option<u32> {
    let size = info.subgroup_min_size;
    (size == info.subgroup_max_size && (4..=64).contains(&size)).then_some(size)
}

/// The largest square matrices of f16 with sums in f32.
fn units(adapter: &wgpu::Adapter, info: &wgpu::AdapterInfo) -> Option<MatrixUnits> {
    let needed = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX
        | wgpu::Features::SHADER_F16
        | wgpu::Features::SUBGROUP;
    let metal = info.backend == wgpu::Backend::Metal;
    if !adapter.features().contains(needed) {
        return None;
    }
    // Metal does not tell; all of its GPUs that have such units work in 32.
    let lanes = subgroup(info).or(metal.then_some(32))?;
    let (half, single) = (wgpu::CooperativeScalarType::F16, wgpu::CooperativeScalarType::F32);
    let side = |found: wgpu::CooperativeMatrixProperties| {
        let square = found.m_size == found.n_size && found.n_size == found.k_size;
        (square && found.ab_type == half && found.cr_type == single).then_some(found.m_size)
    };
    let side = adapter.cooperative_matrix_properties().into_iter().filter_map(side).max()?;
    Some(MatrixUnits { side, lanes })
}

fn is_software(info: &wgpu::AdapterInfo) -> bool {
    let known = ["llvmpipe", "lavapipe", "swiftshader", "basic render driver", "warp"];
    let name = info.name.to_lowercase();
    info.device_type == wgpu::DeviceType::Cpu || known.iter().any(|k| name.contains(k))
}

fn kind_name(kind: wgpu::DeviceType) -> &'static str {
    match kind {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => "CPU",
        wgpu::DeviceType::Other => "other",
    }
}

/// Hardware before software, discrete before integrated.
fn rank(report: &AdapterReport) -> usize {
    let order = ["discrete GPU", "integrated GPU", "virtual GPU", "other", "CPU"];
    let kind = order.iter().position(|k| *k == report.kind).unwrap_or(order.len());
    kind + if report.software { order.len() } else { 0 }
}

/// All adapters, best first; in a browser the one that it offers, or none.
pub async fn adapters() -> Vec<AdapterReport> {
    ranked_adapters().await.into_iter().map(|(report, _)| report).collect()
}

async fn ranked_adapters() -> Vec<(AdapterReport, wgpu::Adapter)> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
    let found = instance.enumerate_adapters(wgpu::Backends::all()).await;
    let mut found: Vec<_> = found.into_iter().map(|a| (AdapterReport::new(&a), a)).collect();
    found.sort_by_key(|(report, _)| rank(report));
    found
}

/// An opened adapter. Clones share it.
#[derive(Clone)]
pub struct GpuDevice {
    inner: Arc<Inner>,
    /// Whether programs store activations as f16.
    mixed: bool,
    /// The variants of kernels that programs take.
    choices: Arc<Choices>,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    report: AdapterReport,
    limits: wgpu::Limits,
    reports: Reports,
    modules: Mutex<HashMap<ModuleKey, wgpu::ShaderModule>>,
    pipelines: Mutex<HashMap<PipelineKey, Pipeline>>,
    /// What programs' kernels are for.
    machine: Mutex<Machine>,
}

/// Everything that a shader depends on: the kernel, its bindings of f16, and its sizes.
type ModuleKey = (&'static str, Halves, Sizes);

/// Everything that a pipeline depends on: the shader, and its constants with the bits of their values.
type PipelineKey = (ModuleKey, Vec<(&'static str, u64)>);

/// A compiled kernel and the layout of its bindings.
#[derive(Clone, Debug)]
pub(crate) struct Pipeline {
    pub(crate) compute: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

impl fmt::Debug for GpuDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GpuDevice").field(&self.describe()).finish()
    }
}

impl GpuDevice {
    /// Opens the adapter of a choice.
    ///
    /// # Errors
    /// [`Error::NoAdapter`], with the adapters that there are.
    pub async fn new(choice: &AdapterChoice) -> Result<Self> {
        let found = ranked_adapters().await;
        let known = list_names(&found);
        let fits = |report: &AdapterReport| match choice {
            AdapterChoice::Hardware => !report.software,
            AdapterChoice::Any => true,
            AdapterChoice::Named(text) => report.matches(text),
        };
        let chosen = found.into_iter().find(|(report, _)| fits(report));
        let (report, adapter) = chosen.ok_or_else(|| Error::NoAdapter(no_adapter(choice, &known)))?;
        Self::open(report, &adapter).await
    }

    async fn open(report: AdapterReport, adapter: &wgpu::Adapter) -> Result<Self> {
        let limits = report.tier.limits(&report.limits);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("rmae"),
            required_features: report.tier.features(report.features),
            required_limits: limits.clone(),
            // SAFETY: what is experimental are the validation and the translation of cooperative matrices;
            // the one kernel with them keeps inside its buffers by checks of its own.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            // Programs are large and few: small blocks waste less between them.
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let opened = adapter.request_device(&descriptor).await;
        let (device, queue) =
            opened.map_err(|e| Error::NoAdapter(format!("{} cannot be opened: {e}", report.name)))?;
        let reports = Reports::default();
        reports.listen(&device);
        let (modules, pipelines) = Default::default();
        let machine = Mutex::new(report.machine());
        #[allow(clippy::arc_with_non_send_sync, reason = "on WebAssembly, wgpu's objects stay on one thread")]
        let inner = Arc::new(Inner { device, queue, report, limits, reports, modules, pipelines, machine });
        Ok(Self { inner, mixed: false, choices: Arc::default() })
    }

    /// The same device with mixed precision: programs that it compiles keep activations and copies of the
    /// weights as f16 and compute in f32; weights, their gradients' sums and AdamW's moments stay f32, and
    /// gradients are scaled by a [`LossScale`](crate::optim::LossScale) of the weights that it uploads.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] where the adapter has no f16.
    pub fn mixed(self) -> Result<Self> {
        if !self.report().features.contains(wgpu::Features::SHADER_F16) {
            let name = &self.report().name;
            return Err(Error::NoAdapter(format!("{name} has no 16-bit floats; use f32 precision")));
        }
        Ok(Self { mixed: true, ..self })
    }

    /// Whether programs store activations as f16.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.mixed
    }

    /// The same device with other variants of kernels in the programs that it compiles: those that
    /// [`GpuDevice::tune`] found.
    #[must_use]
    pub fn tuned(self, choices: Choices) -> Self {
        Self { choices: Arc::new(choices), ..self }
    }

    /// The variants of kernels that programs take.
    #[must_use]
    pub fn choices(&self) -> &Arc<Choices> {
        &self.choices
    }

    /// One line for people: name, backend and tier.
    #[must_use]
    pub fn describe(&self) -> String {
        let report = self.report();
        let software = if report.software { ", software" } else { "" };
        let mixed = if self.mixed { ", mixed precision" } else { "" };
        format!("{} ({}, {} tier{software}{mixed})", report.name, report.backend, report.tier.name())
    }

    /// What is known of the adapter.
    #[must_use]
    pub fn report(&self) -> &AdapterReport {
        &self.inner.report
    }

    /// What programs' kernels are for: units for products of f16 only where values are f16.
    pub(crate) fn machine(&self) -> Machine {
        match *self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner) {
            Machine::Cooperative(_) if !self.mixed => Machine::Gpu,
            machine => machine,
        }
    }

    /// Takes note that the device was opened with subgroups, which wgpu neither asks for nor knows of on the
    /// web: programs compiled from now on use them where they pay, on adapters that compute on the processor.
    pub fn assume_subgroups(&self) {
        let mut machine = self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Machine::Processor { lanes } = &mut *machine {
            *lanes = self.report().subgroup;
        }
    }

    /// Threads of a subgroup that hand values to each other in the programs compiled from now on.
    #[must_use]
    pub fn lanes(&self) -> Option<u32> {
        self.machine().lanes()
    }

    /// Which kernels programs compiled from now on use, whatever the adapter is: tests try all.
    #[doc(hidden)]
    pub fn use_kernels_for(&self, machine: Machine) {
        *self.inner.machine.lock().unwrap_or_else(PoisonError::into_inner) = machine;
    }

    /// Whether both are the same opened adapter.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    pub(crate) fn gpu(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Fails with what the device reported since the last call.
    pub(crate) fn check(&self) -> Result<()> {
        self.inner.reports.check()
    }

    /// Runs `work` and fails with what the device objects to in it.
    pub(crate) async fn scoped<T>(
        &self, what: &str, need: u64, work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        scoped(&self.inner.device, &self.inner.reports, what, need, work).await
    }

    /// A storage buffer of 4-byte elements, zeroed, and some more up to a multiple of four: kernels may take
    /// them in fours.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when it is over the device's limit.
    pub(crate) fn storage(&self, what: &str, elements: usize) -> Result<wgpu::Buffer> {
        let size = 4 * elements.max(1).next_multiple_of(4) as u64;
        self.check_size(what, size)?;
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        Ok(self.gpu().create_buffer(&wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        }))
    }

    fn check_size(&self, what: &str, need_bytes: u64) -> Result<()> {
        let limit_bytes =
            self.inner.limits.max_storage_buffer_binding_size.min(self.inner.limits.max_buffer_size);
        if need_bytes <= limit_bytes {
            return Ok(());
        }
        let advice = format!("this is the most that one buffer may have on {}: {ADVICE}", self.report().name);
        Err(Error::OutOfMemory { what: what.into(), need_bytes, limit_bytes, advice })
    }

    /// A uniform buffer of ranges of [`UNIFORM_RANGE`] bytes.
    pub(crate) fn uniforms(&self, ranges: usize) -> wgpu::Buffer {
        self.gpu().create_buffer(&wgpu::BufferDescriptor {
            label: Some("uniforms"),
            size: UNIFORM_RANGE * ranges.max(1) as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// The pipeline of a dispatch with these bindings of f16, compiled at most once a device.
    pub(crate) fn pipeline(&self, dispatch: &Dispatch, half: Halves) -> Pipeline {
        let key = pipeline_key(dispatch, half);
        if let Some(known) = self.pipelines().get(&key) {
            return known.clone();
        }
        // Other threads may compile meanwhile.
        let compiled = self.compile_pipeline(dispatch, half);
        self.pipelines().entry(key).or_insert(compiled).clone()
    }

    fn pipelines(&self) -> MutexGuard<'_, HashMap<PipelineKey, Pipeline>> {
        self.inner.pipelines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles pipelines that will be asked for, natively on all cores: a driver may take half a second for
    /// one. What goes wrong is among the device's reports.
    pub(crate) fn compile_pipelines(&self, wanted: &[(&Dispatch, Halves)]) {
        let mut seen = HashSet::new();
        let mut missing = wanted.to_vec();
        missing.retain(|&(dispatch, half)| {
            let key = pipeline_key(dispatch, half);
            !self.pipelines().contains_key(&key) && seen.insert(key)
        });
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(&(dispatch, half)) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.pipeline(dispatch, half);
            }
        };
        on_all_cores(missing.len(), &work);
    }

    fn compile_pipeline(&self, dispatch: &Dispatch, half: Halves) -> Pipeline {
        let module = self.module(dispatch, half);
        let compute = self.gpu().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(dispatch.kernel.name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &dispatch.constants,
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let layout = compute.get_bind_group_layout(0);
        Pipeline { compute, layout }
    }

    fn module(&self, dispatch: &Dispatch, half: Halves) -> wgpu::ShaderModule {
        let (kernel, sizes) = (dispatch.kernel, dispatch.sizes);
        let modules = || self.inner.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (kernel.name, half, sizes);
        if let Some(known) = modules().get(&key) {
            return known.clone();
        }
        let module = self.gpu().create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(kernel.name),
            source: wgpu::ShaderSource::Wgsl(kernel.text(half, sizes).into()),
        });
        modules().entry(key).or_insert(module).clone()
    }
}

fn pipeline_key(dispatch: &Dispatch, half: Halves) -> PipelineKey {
    let bits = dispatch.constants.iter().map(|&(name, value)| (name, value.to_bits())).collect();
    ((dispatch.kernel.name, half, dispatch.sizes), bits)
}

/// Runs `work` on as many threads as there are cores, but no more than `most`.
#[cfg(not(target_arch = "wasm32"))]
fn on_all_cores(most: usize, work: &(impl Fn() + Sync)) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(most);
    std::thread::scope(|scope| {
        (1..threads).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
}

/// In a browser: on its one thread.
#[cfg(target_arch = "wasm32")]
fn on_all_cores(_: usize, work: &impl Fn()) {
    work();
}

/// Distance of uniform ranges: what every WebGPU device aligns them to.
pub(crate) const UNIFORM_RANGE: u64 = 256;

fn list_names(found: &[(AdapterReport, wgpu::Adapter)]) -> String {
    let names: Vec<String> = found
        .iter()
        .map(|(r, _)| format!("{} ({}{})", r.name, r.backend, if r.software { ", software" } else { "" }))
        .collect();
    if names.is_empty() {
        "there is none at all; is a Vulkan, Metal or DX12 driver installed?".into()
    } else {
        names.join("; ")
    }
}

fn no_adapter(choice: &AdapterChoice, known: &str) -> String {
    match choice {
        AdapterChoice::Hardware => format!("no hardware adapter; found: {known}"),
        AdapterChoice::Any => format!("found: {known}"),
        AdapterChoice::Named(text) => format!("none whose name contains `{text}`; found: {known}"),
    }
}
