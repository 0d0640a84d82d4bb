//! The list of ops that the model code builds, and its gradient.
//!
//! A [`Graph`] is plain data: nodes in the order of their evaluation, each with a known shape. It
//! knows nothing of devices; [`crate::exec`] runs it on the CPU or on a GPU.

#[cfg(feature = "gpu")]
mod fuse;
#[cfg(feature = "training")]
mod gradient;
mod memory;
mod print;

use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(feature = "gpu")]
pub(crate) use fuse::fused;
#[cfg(feature = "training")]
pub use gradient::{Recompute, gradient};
#[cfg(feature = "gpu")]
pub(crate) use memory::storage_roots;
pub use memory::{MemoryPlan, needed_nodes};
pub use print::Cost;

use crate::error::{Error, Result};
use crate::ops::Op;
use crate::tensor::ElementType;

/// Index of a node in its graph; nodes are evaluated in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// Position in [`Graph::nodes`].
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where the value of a node comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Handed in at every run.
    Input {
        /// Its name.
        name: String,
    },
    /// A weight or fixed table, kept by the executor between runs.
    Param {
        /// Its name in checkpoints.
        name: String,
        /// Whether it has a gradient.
        trainable: bool,
    },
    /// Computed from earlier nodes.
    Op {
        /// What computes it.
        op: Arc<dyn Op>,
        /// From what.
        inputs: Vec<NodeId>,
    },
}

/// One value of the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Reals or indices.
    pub element: ElementType,
    /// Where it comes from.
    pub source: Source,
    /// Where in the model it stands, e.g. `blocks.3.attn`; gradients have `grad/` before it.
    pub scope: String,
    /// The stretch of the model that may be computed again in the backward pass.
    pub(crate) segment: Option<u32>,
}

impl Node {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes it is computed from; none for inputs and parameters.
    #[must_use]
    pub fn inputs(&self) -> &[NodeId] {
        match &self.source {
            Source::Op { inputs, .. } => inputs,
            _ => &[],
        }
    }

    /// What computes it, if an op does.
    #[must_use]
    pub fn op(&self) -> Option<&dyn Op> {
        match &self.source {
            Source::Op { op, .. } => Some(op.as_ref()),
            _ => None,
        }
    }
}

/// A typed, shape-checked list of ops in the order of evaluation.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    outputs: BTreeMap<String, NodeId>,
    gradients: BTreeMap<String, NodeId>,
    seed: Option<NodeId>,
    scope: String,
    segment: Option<u32>,
    segments: u32,
}

impl Graph {
    /// An empty graph.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All nodes in the order of evaluation.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The shape of a node.
    #[must_use]
    pub fn shape(&self, id: NodeId) -> &[usize] {
        &self.node(id).shape
    }

    /// Named results.
    #[must_use]
    pub fn outputs(&self) -> &BTreeMap<String, NodeId> {
        &self.outputs
    }

    /// Gradients by parameter name; empty before [`gradient`].
    #[must_use]
    pub fn gradients(&self) -> &BTreeMap<String, NodeId> {
        &self.gradients
    }

    /// Names a node as a result.
    pub fn set_output(&mut self, name: &str, id: NodeId) {
        self.outputs.insert(name.into(), id);
    }

    /// The node of a named result.
    ///
    /// # Errors
    /// [`Error::UnknownName`], with the names there are.
    pub fn output(&self, name: &str) -> Result<NodeId> {
        self.outputs.get(name).copied().ok_or_else(|| Error::UnknownName {
            kind: "output",
            name: name.into(),
            known: self.outputs.keys().cloned().collect::<Vec<_>>().join(", "),
        })
    }

    /// Adds an input of reals.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> NodeId {
        self.typed_input(name, shape, ElementType::Real)
    }

    /// Adds an input of indices.
    pub fn index_input(&mut self, name: &str, shape: &[usize]) -> NodeId {
        self.typed_input(name, shape, ElementType::Index)
    }

    fn typed_input(&mut self, name: &str, shape: &[usize], element: ElementType) -> NodeId {
        let source = Source::Input { name: name.into() };
        self.push(source, shape.to_vec(), element, None)
    }

    /// Adds a parameter, or finds it where the graph already has one of that name.
    pub fn param(&mut self, name: &str, shape: &[usize], trainable: bool) -> NodeId {
        let known = self
            .nodes
            .iter()
            .position(|n| matches!(&n.source, Source::Param { name: have, .. } if have == name));
        if let Some(index) = known {
            return NodeId(index as u32);
        }
        let source = Source::Param { name: name.into(), trainable };
        self.push(source, shape.to_vec(), ElementType::Real, None)
    }

    /// Takes parameters out of training: [`gradient`] then leaves them out, and all that only leads to them.
    #[cfg(feature = "training")]
    pub fn freeze(&mut self, frozen: impl Fn(&str) -> bool) {
        for node in &mut self.nodes {
            if let Source::Param { name, trainable } = &mut node.source {
                *trainable = *trainable && !frozen(name);
            }
        }
    }

    /// Adds an op.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes or types of the inputs do not fit it.
    pub fn apply(&mut self, op: impl Op + 'static, inputs: &[NodeId]) -> Result<NodeId> {
        self.apply_shared(Arc::new(op), inputs)
    }

    /// Adds an op that other graphs or nodes have as well.
    ///
    /// # Errors
    /// As [`Graph::apply`].
    pub fn apply_shared(&mut self, op: Arc<dyn Op>, inputs: &[NodeId]) -> Result<NodeId> {
        let shapes: Vec<&[usize]> = inputs.iter().map(|&i| self.shape(i)).collect();
        let checked = self.check_elements(op.as_ref(), inputs).and_then(|()| op.infer(&shapes));
        let shape = checked.map_err(|problem| Error::Shape {
            op: op.name(),
            at: self.scope.clone(),
            shapes: shapes.iter().map(|s| s.to_vec()).collect(),
            problem,
        })?;
        let source = Source::Op { op, inputs: inputs.to_vec() };
        Ok(self.push(source, shape, ElementType::Real, self.segment))
    }

    fn check_elements(&self, op: &dyn Op, inputs: &[NodeId]) -> std::result::Result<(), String> {
        for (i, &id) in inputs.iter().enumerate() {
            let wanted = if op.index_inputs().contains(&i) { ElementType::Index } else { ElementType::Real };
            if self.node(id).element != wanted {
                return Err(format!("input {i} must be {wanted:?}"));
            }
        }
        Ok(())
    }

    fn push(
        &mut self, source: Source, shape: Vec<usize>, element: ElementType, segment: Option<u32>,
    ) -> NodeId {
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Node { shape, element, source, scope: self.scope.clone(), segment });
        id
    }

    /// Runs `build` with `name` appended to the scope of the nodes that it adds.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn scoped<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outer = self.scope.clone();
        if !self.scope.is_empty() {
            self.scope.push('.');
        }
        self.scope.push_str(name);
        let result = build(self);
        self.scope = outer;
        result
    }

    /// Like [`Graph::scoped`]; the nodes form a segment that [`Recompute::Segments`] computes again.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn segment<T>(&mut self, name: &str, build: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outer = self.segment;
        self.segment = Some(self.segments);
        self.segments += 1;
        let result = self.scoped(name, build);
        self.segment = outer;
        result
    }

    /// The full name of something in the current scope, e.g. a parameter.
    #[must_use]
    pub fn full_name(&self, name: &str) -> String {
        if self.scope.is_empty() { name.into() } else { format!("{}.{name}", self.scope) }
    }

    pub(crate) fn set_scope(&mut self, scope: String) {
        self.scope = scope;
        self.segment = None;
    }

    pub(crate) fn set_gradients(&mut self, seed: NodeId, gradients: BTreeMap<String, NodeId>) {
        self.seed = Some(seed);
        self.gradients = gradients;
    }

    /// The gradient of the loss with respect to itself, 1, with which the backward pass begins.
    #[must_use]
    pub fn seed(&self) -> Option<NodeId> {
        self.seed
    }
}
