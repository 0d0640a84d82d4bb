//! The CPU executor: evaluates a graph op by op on candle tensors, on all cores, in f32 or f64.

#[cfg(target_arch = "wasm32")]
mod assembled;
pub(crate) mod awake;
pub(crate) mod gemm;
pub mod math;
#[cfg(any(test, target_arch = "wasm32"))]
mod matmul;
pub(crate) mod packed;
mod params;
pub(crate) mod pool;
pub(crate) mod rows;
pub(crate) mod slices;
mod spread;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::collections::BTreeMap;

use candle_core::{CpuStorage, DType, Device as CandleDevice, Storage, Tensor};
use web_time::Instant;

use crate::error::{Error, Result};
use crate::exec::{Precision, Tensors};
use crate::graph::{Graph, MemoryPlan, NodeId, Source};
use crate::tensor::{ElementType, HostData, HostTensor};
pub use params::CpuParams;
use pool::Pool;

/// The processor, with a precision.
#[derive(Clone, Copy, Debug)]
pub struct CpuDevice {
    precision: Precision,
}

impl CpuDevice {
    /// All cores, at a precision.
    #[must_use]
    pub fn new(precision: Precision) -> Self {
        Self { precision }
    }

    /// One line for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let bits = if self.dtype() == DType::F32 { 32 } else { 64 };
        let threads = rayon::current_num_threads();
        format!("CPU, {threads} thread{}, f{bits}", if threads == 1 { "" } else { "s" })
    }

    fn dtype(self) -> DType {
        match self.precision {
            Precision::F32 => DType::F32,
            #[cfg(feature = "training")]
            Precision::F64 => DType::F64,
        }
    }

    pub(crate) fn params(self, weights: &Tensors) -> Result<CpuParams> {
        CpuParams::new(self.dtype(), weights)
    }

    pub(crate) fn compile(self, graph: &Graph, fetch: &[&str], train: bool) -> Result<CpuProgram> {
        let mut outputs = BTreeMap::new();
        for &name in fetch {
            outputs.insert(name.to_string(), graph.output(name)?);
        }
        let gradients = if train { graph.gradients().clone() } else { BTreeMap::new() };
        let results: Vec<NodeId> = outputs.values().chain(gradients.values()).copied().collect();
        let MemoryPlan { root, last_use, needed, peak_elements, .. } = MemoryPlan::new(graph, &results);
        let dying = dying_at(&root, &last_use, &needed);
        let own = root.iter().map(|&root| graph.nodes()[root].op().is_some()).collect();
        // Lengths that are not alive together are both kept where that is little: a block's wide values
        // would push each other out, and come anew, at a page fault for every 4 KiB, in each block.
        let limit = if train { peak_elements } else { 2 * peak_elements };
        Ok(CpuProgram {
            graph: graph.clone(),
            outputs,
            gradients,
            needed,
            dying,
            own,
            pool: Pool::new(limit),
            packs: !train,
            dtype: self.dtype(),
            profile: None,
        })
    }
}

/// A graph that runs on the CPU.
#[derive(Debug)]
pub struct CpuProgram {
    graph: Graph,
    outputs: BTreeMap<String, NodeId>,
    gradients: BTreeMap<String, NodeId>,
    /// Which nodes are evaluated.
    needed: Vec<bool>,
    /// For each node, the values that nobody reads after it.
    dying: Vec<Vec<usize>>,
    /// Which nodes have memory that an op made: not inputs, weights, and other shapes of those.
    own: Vec<bool>,
    pool: Pool,
    /// Whether weights are kept as the kernels read them: not where they are trained.
    packs: bool,
    dtype: DType,
    profile: Option<Profile>,
}

/// What each kind of op took since profiling began.
pub type Profile = BTreeMap<&'static str, OpTime>;

/// What one kind of op took, and what it had to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpTime {
    /// Time in seconds.
    pub seconds: f64,
    /// How often it was evaluated.
    pub calls: usize,
    /// Floating-point operations (a multiply-add counts as two).
    pub flops: u64,
    /// Bytes read and written, at 4 bytes an element, were nothing cached.
    pub bytes: u64,
}

impl CpuProgram {
    /// Begins to measure how long each kind of op takes.
    pub fn start_profile(&mut self) {
        self.profile = Some(Profile::new());
    }

    /// What was measured since [`CpuProgram::start_profile`].
    pub fn take_profile(&mut self) -> Profile {
        self.profile.take().unwrap_or_default()
    }

    pub(crate) fn run(&mut self, params: &mut CpuParams, inputs: &Tensors) -> Result<Tensors> {
        let mut pool = std::mem::take(&mut self.pool);
        let result = awake::during(|| pool.during(|| self.run_packed(params, inputs)));
        self.pool = pool;
        result
    }

    fn run_packed(&mut self, params: &mut CpuParams, inputs: &Tensors) -> Result<Tensors> {
        if !self.packs {
            return self.run_ops(params, inputs);
        }
        let mut packed = std::mem::take(&mut params.packed);
        let result = packed.during(|| self.run_ops(params, inputs));
        params.packed = packed;
        result
    }

    fn run_ops(&mut self, params: &mut CpuParams, inputs: &Tensors) -> Result<Tensors> {
        let mut values: Vec<Option<Tensor>> = vec![None; self.graph.nodes().len()];
        for (index, node) in self.graph.nodes().iter().enumerate() {
            if !self.needed[index] {
                continue;
            }
            let start = Instant::now();
            values[index] = Some(match &node.source {
                Source::Input { name } => self.input(name, &node.shape, node.element, inputs)?,
                Source::Param { name, .. } => params.get(name, &node.shape).inspect(packed::expect)?,
                Source::Op { .. } => self.evaluate(index, &values)?,
            });
            // The page has no use for profiles, and no room.
            if let Some(profile) = self.profile.as_mut().filter(|_| cfg!(not(target_arch = "wasm32"))) {
                note(profile, &self.graph, index, start.elapsed().as_secs_f64());
            }
            self.free(index, &mut values);
        }
        self.collect(params, &values)
    }

    /// Frees the values that nobody reads after node `index`.
    fn free(&self, index: usize, values: &mut [Option<Tensor>]) {
        for &dead in &self.dying[index] {
            if let (Some(value), true) = (values[dead].take(), self.own[dead]) {
                pool::recycle(&value);
            }
        }
    }

    fn evaluate(&self, index: usize, values: &[Option<Tensor>]) -> Result<Tensor> {
        let node = &self.graph.nodes()[index];
        let Source::Op { op, inputs } = &node.source else {
            return Err(missing("(internal)", "only ops are evaluated"));
        };
        let tensors: Option<Vec<Tensor>> = inputs.iter().map(|i| values[i.index()].clone()).collect();
        let tensors = tensors.ok_or_else(|| missing(&node.scope, "an input was freed too early"))?;
        let y = op.cpu(&tensors).map_err(|e| e.context(format!("{} at {}", op.name(), node.scope)))?;
        // Constants have no input to take the precision from.
        let y = if y.dtype() == self.dtype { y } else { y.to_dtype(self.dtype)? };
        // Memory of an input must not be freed, and used again, as that of the result.
        let y = if !op.is_view() && shares_memory(&y, &tensors) { y.copy()? } else { y };
        debug_assert_eq!(y.dims(), node.shape, "{} at {}", op.name(), node.scope);
        Ok(y)
    }

    fn input(&self, name: &str, shape: &[usize], element: ElementType, inputs: &Tensors) -> Result<Tensor> {
        let tensor = inputs.get(name).ok_or_else(|| missing(name, "this input was not given"))?;
        check_shape(name, tensor, shape)?;
        if (element == ElementType::Index) != matches!(tensor.data(), HostData::U32(_)) {
            return Err(missing(name, &format!("must hold {element:?} elements")));
        }
        to_candle(tensor, self.dtype)
    }

    fn collect(&self, params: &mut CpuParams, values: &[Option<Tensor>]) -> Result<Tensors> {
        for (name, id) in &self.gradients {
            let grad =
                values[id.index()].as_ref().ok_or_else(|| missing(name, "no gradient was computed"))?;
            params.accumulate(name, grad)?;
        }
        let mut fetched = Tensors::new();
        for (name, id) in &self.outputs {
            let value = values[id.index()].as_ref().ok_or_else(|| missing(name, "was not computed"))?;
            fetched.insert(name.clone(), from_candle(value)?);
        }
        Ok(fetched)
    }
}

/// Adds the evaluation of a node to a profile.
fn note(profile: &mut Profile, graph: &Graph, index: usize, seconds: f64) {
    let Some(op) = graph.nodes()[index].op() else { return };
    let (flops, bytes) = graph.node_cost(NodeId(index as u32));
    let time = profile.entry(op.name()).or_default();
    time.seconds += seconds;
    time.calls += 1;
    time.flops += flops;
    time.bytes += bytes;
}

/// Whether a tensor lies in the memory of one of the others.
fn shares_memory(tensor: &Tensor, others: &[Tensor]) -> bool {
    let place = |tensor: &Tensor| match &*tensor.storage_and_layout().0 {
        Storage::Cpu(CpuStorage::F32(v)) => v.as_ptr() as usize,
        Storage::Cpu(CpuStorage::F64(v)) => v.as_ptr() as usize,
        _ => 0,
    };
    let own = place(tensor);
    own != 0 && others.iter().any(|other| place(other) == own)
}

/// For each node, the values, views of the same storage included, that nobody reads after it.
fn dying_at(root: &[usize], last_use: &[usize], needed: &[bool]) -> Vec<Vec<usize>> {
    let mut dying = vec![vec![]; root.len()];
    for index in 0..root.len() {
        let last = last_use[root[index]];
        if needed[index] && last < dying.len() {
            dying[last].push(index);
        }
    }
    dying
}

fn missing(name: &str, problem: &str) -> Error {
    Error::Tensor { name: name.into(), problem: problem.into() }
}

/// Checks the shape of a tensor handed in.
pub(crate) fn check_shape(name: &str, tensor: &HostTensor, shape: &[usize]) -> Result<()> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(missing(name, &format!("has shape {:?}, expected {shape:?}", tensor.shape())))
}

pub(crate) fn to_candle(tensor: &HostTensor, dtype: DType) -> Result<Tensor> {
    let shape = tensor.shape().to_vec();
    let device = &CandleDevice::Cpu;
    let t = match (tensor.data(), dtype) {
        (HostData::U32(v), _) => Tensor::from_vec(v.clone(), shape, device)?,
        (HostData::F32(v), DType::F32) => Tensor::from_vec(v.clone(), shape, device)?,
        (_, DType::F32) => Tensor::from_vec(tensor.to_f32(), shape, device)?,
        _ => Tensor::from_vec(tensor.to_f64(), shape, device)?,
    };
    Ok(t)
}

pub(crate) fn from_candle(tensor: &Tensor) -> Result<HostTensor> {
    let flat = tensor.flatten_all()?;
    let data = match tensor.dtype() {
        DType::F32 => HostData::F32(flat.to_vec1()?),
        DType::F64 => HostData::F64(flat.to_vec1()?),
        _ => HostData::U32(flat.to_vec1()?),
    };
    HostTensor::new(tensor.dims(), data)
}
