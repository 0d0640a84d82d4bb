//! A graph as a list of dispatches over numbered buffers, made once a program.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::device::{GpuDevice, Pipeline, UNIFORM_RANGE};
use super::halves::{half_values, halves};
use crate::error::{Error, Result};
use crate::graph::{Graph, MemoryPlan, NodeId, Source, fused, needed_nodes, storage_roots};
use crate::ops::kernel::{Dispatch, Halves, Kernel, Lowering, Scalar, Slot, fields, kernel};
use crate::tensor::ElementType;

pub(crate) static ACCUMULATE: Kernel = kernel!("accumulate");

/// A buffer that a step binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A reusable buffer of the memory plan.
    Slot(usize),
    /// A buffer that lives during one op.
    Scratch(usize),
    /// The i-th of [`Plan::inputs`].
    Input(usize),
    /// The i-th of [`Plan::params`].
    Param(usize),
    /// Its copy in f16.
    HalfParam(usize),
    /// The gradient sum of the i-th of [`Plan::params`].
    GradientSum(usize),
}

/// One dispatch, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) pipeline: Pipeline,
    /// Number of its range in the uniform buffer, and the bytes used of it.
    pub(crate) uniform: u64,
    pub(crate) uniform_bytes: u64,
    pub(crate) bindings: Vec<Place>,
    pub(crate) workgroups: [u32; 3],
    /// About how much it computes: where to cut submissions.
    pub(crate) flops: u64,
    /// About how much it reads and writes.
    pub(crate) bytes: u64,
    /// The name of its kernel.
    pub(crate) kernel: &'static str,
}

/// An input or weight of a graph.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) element: ElementType,
}

/// A result that is read back.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) value: Leaf,
    pub(crate) place: Place,
}

/// Everything about a program but its buffers.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// The same where all gradient sums are empty: gradients are written to them at once, not added.
    pub(crate) first_steps: Vec<Step>,
    pub(crate) inputs: Vec<Leaf>,
    pub(crate) params: Vec<Leaf>,
    /// Indices into `params` of those that get a gradient.
    pub(crate) graded: Vec<usize>,
    pub(crate) fetched: Vec<Fetched>,
    /// 4-byte words of each reusable buffer.
    pub(crate) slot_len: Vec<usize>,
    /// 4-byte words of each scratch buffer.
    pub(crate) scratch_len: Vec<usize>,
    /// The contents of the uniform buffer.
    pub(crate) uniforms: Vec<u8>,
    /// Where in the uniform buffer the gradient stands that the backward pass begins with.
    pub(crate) seed: Option<u64>,
}

impl Plan {
    /// Plans the evaluation of the outputs named in `fetch` and, with `train`, of all gradients.
    pub(crate) fn new(device: &GpuDevice, graph: &Graph, fetch: &[&str], train: bool) -> Result<Self> {
        let graph = &*with_epilogues(device, graph, fetch, train)?;
        let outputs = fetch.iter().map(|name| graph.output(name)).collect::<Result<Vec<_>>>()?;
        let gradients = if train { graph.gradients().clone() } else { BTreeMap::new() };
        // A gradient is added to its sum at once and needs no storage after that.
        let passing: Vec<NodeId> = gradients.values().copied().collect();
        let mut planner = Planner::new(device, graph, &outputs, &passing, &gradients)?;
        planner.compile();
        for index in 0..graph.nodes().len() {
            if planner.memory.needed[index] {
                planner.node(index)?;
            }
        }
        for (&name, &id) in fetch.iter().zip(&outputs) {
            let value = leaf(graph, id.index(), name);
            planner.plan.fetched.push(Fetched { value, place: planner.place(id.index()) });
        }
        Ok(planner.plan)
    }
}

impl Plan {
    /// The steps of a run; of the first one since the gradient sums were emptied.
    pub(crate) fn steps_of(&self, is_first: bool) -> &[Step] {
        if is_first { &self.first_steps } else { &self.steps }
    }

    /// Names of the weights of which a copy in f16 is bound; some more than once.
    pub(crate) fn half_params(&self) -> impl Iterator<Item = &str> {
        let places = self.steps.iter().flat_map(|step| &step.bindings);
        places.filter_map(|place| match place {
            Place::HalfParam(i) => Some(self.params[*i].name.as_str()),
            _ => None,
        })
    }
}

/// The graph with layers joined with what comes after them; as it is where the adapter computes on the
/// processor, as compilers of such adapters repeat an epilogue for every element stored.
fn with_epilogues<'a>(
    device: &GpuDevice, graph: &'a Graph, fetch: &[&str], train: bool,
) -> Result<Cow<'a, Graph>> {
    if device.machine().is_processor() {
        return Ok(Cow::Borrowed(graph));
    }
    let mut results = fetch.iter().map(|name| graph.output(name)).collect::<Result<Vec<_>>>()?;
    if train {
        results.extend(graph.gradients().values());
    }
    Ok(Cow::Owned(fused(graph, &results)))
}

fn leaf(graph: &Graph, index: usize, name: &str) -> Leaf {
    let node = &graph.nodes()[index];
    Leaf { name: name.into(), shape: node.shape.clone(), element: node.element }
}

struct Planner<'a> {
    device: &'a GpuDevice,
    graph: &'a Graph,
    memory: MemoryPlan,
    /// The dispatches of each node that is evaluated.
    lowered: Vec<Vec<Dispatch>>,
    /// Which nodes own something stored as f16.
    half: Vec<bool>,
    /// Nodes whose storage holds the gradient of one parameter and is read for nothing else.
    gradient_only: BTreeMap<usize, &'a str>,
    /// The parameters whose gradient a node is.
    gradient_of: BTreeMap<usize, Vec<&'a str>>,
    /// Where inputs and parameters stand, by node.
    leaves: BTreeMap<usize, Place>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn new(
        device: &'a GpuDevice, graph: &'a Graph, outputs: &[NodeId], passing: &[NodeId],
        gradients: &'a BTreeMap<String, NodeId>,
    ) -> Result<Self> {
        let whole = [outputs, passing].concat();
        let needed = needed_nodes(graph, &whole);
        let lowered = (0..needed.len())
            .map(|index| if needed[index] { lower(device, graph, index) } else { Ok(vec![]) })
            .collect::<Result<Vec<_>>>()?;
        let half = match device.is_mixed() {
            true => half_values(graph, &storage_roots(graph), &lowered, &whole),
            false => vec![false; needed.len()],
        };
        let words = |index: usize, len: usize| if half[index] { len.div_ceil(2) } else { len };
        let memory = MemoryPlan::with_lengths(graph, outputs, passing, &words);
        let mut gradient_of: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for (name, id) in gradients {
            gradient_of.entry(id.index()).or_default().push(name);
        }
        let gradient_only = gradient_only(&memory, outputs, &gradient_of);
        let plan = Plan {
            steps: vec![],
            first_steps: vec![],
            inputs: vec![],
            params: vec![],
            graded: vec![],
            fetched: vec![],
            slot_len: memory.slot_len.clone(),
            scratch_len: vec![],
            uniforms: vec![],
            seed: None,
        };
        let leaves = BTreeMap::new();
        Ok(Self { device, graph, memory, lowered, half, gradient_only, gradient_of, leaves, plan })
    }

    /// Has the device compile all kernels at once.
    fn compile(&self) {
        let nodes = self.lowered.iter().enumerate();
        let all = nodes.flat_map(|(index, dispatches)| dispatches.iter().map(move |one| (index, one)));
        let half = |index, dispatch| halves(self.graph, &self.memory.root, &self.half, index, dispatch);
        let wanted: Vec<_> = all.map(|(index, dispatch)| (dispatch, half(index, dispatch))).collect();
        self.device.compile_pipelines(&wanted);
    }

    fn node(&mut self, index: usize) -> Result<()> {
        match &self.graph.nodes()[index].source {
            Source::Input { name } => {
                self.leaves.insert(index, Place::Input(self.plan.inputs.len()));
                self.plan.inputs.push(leaf(self.graph, index, name));
            }
            Source::Param { name, .. } => {
                let at = self.plan.params.len();
                self.leaves
                    .insert(index, if self.half[index] { Place::HalfParam(at) } else { Place::Param(at) });
                self.plan.params.push(leaf(self.graph, index, name));
            }
            Source::Op { inputs, .. } => self.op(index, inputs),
        }
        self.accumulate(index)
    }

    fn op(&mut self, index: usize, inputs: &[NodeId]) {
        let (flops, bytes) = self.graph.node_cost(NodeId(index as u32));
        let dispatches = std::mem::take(&mut self.lowered[index]);
        let share = dispatches.len() as u64;
        for dispatch in &dispatches {
            let bindings: Vec<Place> =
                dispatch.bindings.iter().map(|&slot| self.bind(slot, inputs, index)).collect();
            let mut first = bindings.clone();
            if let Some(sum) = self.sum_for(index) {
                let outputs =
                    dispatch.bindings.iter().zip(&mut first).filter(|(slot, _)| **slot == Slot::Output);
                outputs.for_each(|(_, place)| *place = sum);
            }
            let half = halves(self.graph, &self.memory.root, &self.half, index, dispatch);
            if self.graph.seed() == Some(NodeId(index as u32)) {
                self.plan.seed = real_field(dispatch).map(|at| self.plan.uniforms.len() as u64 + at);
            }
            self.push(dispatch, half, [bindings, first], (flops / share, bytes / share));
        }
    }

    /// The gradient sum that a node's result may be written to at once.
    fn sum_for(&self, index: usize) -> Option<Place> {
        let name = self.gradient_only.get(&self.memory.root[index])?;
        let param = self.plan.params.iter().position(|p| p.name == *name)?;
        Some(Place::GradientSum(param))
    }

    fn bind(&mut self, slot: Slot, inputs: &[NodeId], output: usize) -> Place {
        match slot {
            Slot::Input(i) => self.place(inputs[i].index()),
            Slot::Output => self.place(output),
            Slot::Scratch(i, len) => {
                let scratch = &mut self.plan.scratch_len;
                if scratch.len() <= i {
                    scratch.resize(i + 1, 0);
                }
                scratch[i] = scratch[i].max(len);
                Place::Scratch(i)
            }
        }
    }

    /// Where the value of a node is stored.
    fn place(&self, index: usize) -> Place {
        let root = self.memory.root[index];
        match (self.leaves.get(&root), self.memory.slot[root]) {
            (Some(&leaf), _) => leaf,
            (None, Some(slot)) => Place::Slot(slot),
            // Every needed op has a slot; without one, binding would fail in validation.
            (None, None) => Place::Slot(usize::MAX),
        }
    }

    /// Adds a gradient to the sums of the parameters that it is for.
    fn accumulate(&mut self, index: usize) -> Result<()> {
        let names = self.gradient_of.get(&index).cloned().unwrap_or_default();
        for name in names {
            let found = self.plan.params.iter().position(|p| p.name == name);
            let param = found.ok_or_else(|| unknown_parameter(name))?;
            let len = self.graph.nodes()[index].len();
            let bindings = vec![self.place(index), Place::GradientSum(param)];
            // Where the sum is written at once, there is nothing to add the first time.
            let first = if self.sum_for(index).is_some() { vec![] } else { bindings.clone() };
            self.push(
                &Dispatch::elements(&ACCUMULATE, fields![len], &[], len),
                Halves::default(),
                [bindings, first],
                (len as u64, 12 * len as u64),
            );
            self.plan.graded.push(param);
        }
        Ok(())
    }

    /// Adds a step, with its bindings in all runs but the first, and in that; none leave it out there.
    fn push(
        &mut self, dispatch: &Dispatch, half: Halves, [bindings, first]: [Vec<Place>; 2],
        (flops, bytes): (u64, u64),
    ) {
        let uniform = push_uniform(&mut self.plan.uniforms, dispatch);
        let step = Step {
            pipeline: self.device.pipeline(dispatch, half),
            uniform,
            uniform_bytes: 4 * dispatch.params.len() as u64,
            bindings,
            workgroups: dispatch.workgroups,
            flops,
            bytes,
            kernel: dispatch.kernel.name,
        };
        if !first.is_empty() {
            self.plan.first_steps.push(Step { bindings: first, ..step.clone() });
        }
        self.plan.steps.push(step);
    }
}

/// The owners of storage that only ever holds the gradient of one parameter, and that parameter.
fn gradient_only<'a>(
    memory: &MemoryPlan, outputs: &[NodeId], gradient_of: &BTreeMap<usize, Vec<&'a str>>,
) -> BTreeMap<usize, &'a str> {
    let mut found: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for (&index, names) in gradient_of {
        found.entry(memory.root[index]).or_default().extend(names);
    }
    let alone = |(root, names): (usize, Vec<&'a str>)| {
        let &[name] = names.as_slice() else { return None };
        let owns = memory.slot[root].is_some();
        // Views have it read as late as they stand themselves.
        let last =
            (0..memory.root.len()).rev().find(|&index| memory.root[index] == root && memory.needed[index]);
        let is_read = Some(memory.last_use[root]) != last;
        let is_output = outputs.iter().any(|id| memory.root[id.index()] == root);
        (owns && !is_read && !is_output).then_some((root, name))
    };
    found.into_iter().filter_map(alone).collect()
}

/// The dispatches of a node: none for one that is stored or another's view.
pub(super) fn lower(device: &GpuDevice, graph: &Graph, index: usize) -> Result<Vec<Dispatch>> {
    let node = &graph.nodes()[index];
    let Source::Op { op, inputs } = &node.source else { return Ok(vec![]) };
    if op.is_view() || node.is_empty() {
        return Ok(vec![]);
    }
    let shapes = inputs.iter().map(|&i| graph.shape(i).to_vec()).collect();
    let (machine, choices) = (device.machine(), Arc::clone(device.choices()));
    let io = Lowering { inputs: shapes, output: node.shape.clone(), machine, choices };
    let dispatches = op.lower(&io);
    if dispatches.is_empty() {
        let problem = "has no GPU kernel for these shapes (heads wider than 128 channels?); use --device cpu";
        return Err(Error::Validation(format!("op {} at {}: {problem}", op.name(), node.scope)));
    }
    Ok(dispatches)
}

/// Where in its `Params` a dispatch has its first real number, in bytes.
fn real_field(dispatch: &Dispatch) -> Option<u64> {
    let field = dispatch.params.iter().position(|p| matches!(p, Scalar::F32(_)));
    field.map(|at| 4 * at as u64)
}

fn unknown_parameter(name: &str) -> Error {
    Error::UnknownName {
        kind: "parameter",
        name: name.into(),
        known: "(not needed for its own gradient)".into(),
    }
}

/// Appends the `Params` of a dispatch to the contents of a uniform buffer; the number of its range.
pub(crate) fn push_uniform(uniforms: &mut Vec<u8>, dispatch: &Dispatch) -> u64 {
    let range = uniforms.len() as u64 / UNIFORM_RANGE;
    uniforms.extend(dispatch.params.iter().flat_map(|p| p.bytes()));
    uniforms.resize((range as usize + 1) * UNIFORM_RANGE as usize, 0);
    range
}
