//! Reverse-mode differentiation: appends the backward ops to a graph.

use std::collections::{BTreeMap, HashMap};

use super::{Graph, NodeId, Source};
use crate::error::{Error, Result};
use crate::ops::Vjp;
use crate::ops::elementwise::{Add, Fill};

/// Whether forward activations are kept for the backward pass or computed again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// Keep every activation that a backward op reads: fastest.
    #[default]
    Nothing,
    /// Keep only what crosses the border of a segment (a transformer block) and compute the inside
    /// again when the backward pass reaches it: about a third more work, far less memory.
    Segments,
}

/// Appends ops that compute the gradient of `loss` with respect to every trainable parameter that
/// it depends on. The results stand in [`Graph::gradients`] under the parameters' names.
///
/// # Errors
/// [`Error::Shape`] when `loss` is not a scalar; [`Error::NoGradient`] when an op on the way has none.
pub fn gradient(graph: &mut Graph, loss: NodeId, recompute: Recompute) -> Result<()> {
    if graph.node(loss).len() != 1 {
        let shapes = vec![graph.shape(loss).to_vec()];
        let problem = "the loss must be a single number".into();
        return Err(Error::Shape { op: "gradient", at: graph.node(loss).scope.clone(), shapes, problem });
    }
    let mut pass = Backward::new(graph, loss, recompute);
    let seed = pass.run(graph, loss)?;
    let gradients = pass.parameter_gradients(graph);
    graph.set_gradients(seed, gradients);
    graph.set_scope(String::new());
    Ok(())
}

struct Backward {
    /// Whether a trainable parameter is upstream of a node.
    depends: Vec<bool>,
    /// Forward nodes that stay in memory anyway.
    kept: Vec<bool>,
    /// Copies of forward nodes made for the backward pass.
    clones: HashMap<NodeId, NodeId>,
    /// The gradient collected so far for each node.
    grads: HashMap<NodeId, NodeId>,
}

impl Backward {
    fn new(graph: &Graph, loss: NodeId, recompute: Recompute) -> Self {
        let kept = match recompute {
            Recompute::Nothing => vec![true; graph.nodes().len()],
            Recompute::Segments => kept_across_segments(graph),
        };
        let depends = depends_on_trainable(graph, loss);
        Self { depends, kept, clones: HashMap::new(), grads: HashMap::new() }
    }

    /// Appends all backward ops; the gradient that they begin with.
    fn run(&mut self, graph: &mut Graph, loss: NodeId) -> Result<NodeId> {
        graph.set_scope("grad".into());
        let seed = graph.apply(Fill { shape: graph.shape(loss).to_vec(), value: 1.0 }, &[])?;
        self.grads.insert(loss, seed);
        for index in (0..=loss.index()).rev() {
            let id = NodeId(index as u32);
            if let Some(&grad) = self.grads.get(&id) {
                self.step(graph, id, grad)?;
            }
        }
        Ok(seed)
    }

    /// Sends the gradient of one node on to its inputs.
    fn step(&mut self, graph: &mut Graph, id: NodeId, grad: NodeId) -> Result<()> {
        let node = graph.node(id).clone();
        let Source::Op { op, inputs } = &node.source else { return Ok(()) };
        graph.set_scope(format!("grad/{}", node.scope));
        let needs: Vec<bool> = inputs.iter().map(|i| self.depends[i.index()]).collect();
        let used = op.vjp_uses();
        let mut resolved = Vec::with_capacity(inputs.len());
        for (i, &input) in inputs.iter().enumerate() {
            let id = if used.inputs.contains(&i) { self.resolve(graph, input)? } else { input };
            resolved.push(id);
        }
        let output = if used.output { self.resolve(graph, id)? } else { id };
        let mut cx = Vjp { graph, inputs: &resolved, output, grad, needs: &needs };
        let grads = op.vjp(&mut cx)?;
        for (i, (&input, grad)) in inputs.iter().zip(&grads).enumerate() {
            match grad {
                Some(grad) if needs[i] => self.add(graph, input, *grad)?,
                None if needs[i] => {
                    return Err(Error::NoGradient { op: op.name(), at: node.scope.clone(), input: i });
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, graph: &mut Graph, id: NodeId, grad: NodeId) -> Result<()> {
        let total = match self.grads.get(&id) {
            Some(&have) => graph.apply(Add::same(), &[have, grad])?,
            None => grad,
        };
        self.grads.insert(id, total);
        Ok(())
    }

    /// The node to read in the backward pass for a forward node: itself, or a copy computed again.
    fn resolve(&mut self, graph: &mut Graph, id: NodeId) -> Result<NodeId> {
        if self.kept[id.index()] {
            return Ok(id);
        }
        if let Some(&copy) = self.clones.get(&id) {
            return Ok(copy);
        }
        let Source::Op { op, inputs } = graph.node(id).source.clone() else { return Ok(id) };
        let inputs = inputs.iter().map(|&i| self.resolve(graph, i)).collect::<Result<Vec<_>>>()?;
        let copy = graph.apply_shared(op, &inputs)?;
        self.clones.insert(id, copy);
        Ok(copy)
    }

    fn parameter_gradients(&self, graph: &Graph) -> BTreeMap<String, NodeId> {
        let mut found = BTreeMap::new();
        for (index, node) in graph.nodes().iter().enumerate() {
            let Source::Param { name, trainable: true } = &node.source else { continue };
            if let Some(&grad) = self.grads.get(&NodeId(index as u32)) {
                found.insert(name.clone(), grad);
            }
        }
        found
    }
}

/// For each node: does the loss depend on it, and it on a trainable parameter?
fn depends_on_trainable(graph: &Graph, loss: NodeId) -> Vec<bool> {
    let mut depends = vec![false; graph.nodes().len()];
    for (index, node) in graph.nodes().iter().enumerate().take(loss.index() + 1) {
        depends[index] = match &node.source {
            Source::Param { trainable, .. } => *trainable,
            Source::Input { .. } => false,
            Source::Op { inputs, .. } => inputs.iter().any(|i| depends[i.index()]),
        };
    }
    depends
}

/// Nodes outside any segment, results, and those read from another segment than their own.
fn kept_across_segments(graph: &Graph) -> Vec<bool> {
    let mut kept: Vec<bool> = graph.nodes().iter().map(|n| n.segment.is_none() || n.op().is_none()).collect();
    for node in graph.nodes() {
        for input in node.inputs() {
            if graph.node(*input).segment != node.segment {
                kept[input.index()] = true;
            }
        }
    }
    for id in graph.outputs().values() {
        kept[id.index()] = true;
    }
    kept
}
