//! Linear layers and the op after them as one op, for executors whose kernels do both at once.

use std::sync::Arc;

use super::{Graph, Node, NodeId, Source, needed_nodes};
use crate::ops::Op;
use crate::ops::fused::{LinearAdd, LinearGelu};

/// What of a graph is needed for some of its results, with linear layers that have a bias joined with GELU or
/// with a residual that is added to them, where nothing else reads the layer's result. Outputs, gradients and
/// seed are those of the graph, as far as they are needed.
pub(crate) fn fused(graph: &Graph, results: &[NodeId]) -> Graph {
    let needed = needed_nodes(graph, results);
    let mut uses = vec![0; needed.len()];
    results.iter().for_each(|id| uses[id.index()] += 1);
    let nodes = graph.nodes().iter().zip(&needed).filter(|(_, needed)| **needed);
    nodes.flat_map(|(node, _)| node.inputs()).for_each(|id| uses[id.index()] += 1);
    let fusion = Fusion { graph, uses };
    let joined = |(node, &needed): (&Node, &bool)| needed.then(|| fusion.joined(node)).flatten();
    let joined: Vec<Option<Joined>> = graph.nodes().iter().zip(&needed).map(joined).collect();
    let mut kept = needed;
    joined.iter().flatten().for_each(|joined| kept[joined.layer.index()] = false);
    fusion.rebuilt(&joined, &kept)
}

struct Fusion<'a> {
    graph: &'a Graph,
    /// How often each node is read by others that are needed, or is a result.
    uses: Vec<u32>,
}

/// A layer and what is read beside its result.
struct Joined {
    layer: NodeId,
    op: Arc<dyn Op>,
    residual: Option<NodeId>,
}

impl Fusion<'_> {
    /// The layer that a node is joined with.
    fn joined(&self, node: &Node) -> Option<Joined> {
        match (node.op()?.name(), node.inputs()) {
            ("gelu", &[layer]) if self.is_layer(layer) => {
                Some(Joined { layer, op: Arc::new(LinearGelu), residual: None })
            }
            ("add", &[a, b]) if self.graph.shape(a) == self.graph.shape(b) => {
                let layer = [a, b].into_iter().filter(|&id| self.is_layer(id)).max()?;
                let residual = Some(if layer == a { b } else { a });
                Some(Joined { layer, op: Arc::new(LinearAdd), residual })
            }
            _ => None,
        }
    }

    /// Whether a node is a layer with a bias whose result one other node reads.
    fn is_layer(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let layer = node.op().is_some_and(|op| op.name() == "linear") && node.inputs().len() == 3;
        layer && self.uses[id.index()] == 1
    }

    /// The graph of the nodes that are kept, some of which are joined with a layer that is not.
    fn rebuilt(&self, joined: &[Option<Joined>], kept: &[bool]) -> Graph {
        let mut all = Graph::new();
        let mut places = vec![NodeId(u32::MAX); kept.len()];
        for (at, node) in self.graph.nodes().iter().enumerate().filter(|(at, _)| kept[*at]) {
            let source = joined[at].as_ref().map_or_else(|| node.source.clone(), |one| self.source(one));
            places[at] = NodeId(all.nodes.len() as u32);
            all.nodes.push(Node { source: moved(source, &places), ..node.clone() });
        }
        let place = |id: &NodeId| kept[id.index()].then(|| places[id.index()]);
        let named = |(name, id): (&String, &NodeId)| place(id).map(|id| (name.clone(), id));
        all.outputs = self.graph.outputs.iter().filter_map(named).collect();
        all.gradients = self.graph.gradients.iter().filter_map(named).collect();
        all.seed = self.graph.seed.as_ref().and_then(place);
        all
    }

    fn source(&self, joined: &Joined) -> Source {
        let layer = self.graph.node(joined.layer).inputs().iter().copied();
        Source::Op { op: Arc::clone(&joined.op), inputs: layer.chain(joined.residual).collect() }
    }
}

/// With inputs where they are in the new graph.
fn moved(source: Source, places: &[NodeId]) -> Source {
    match source {
        Source::Op { op, inputs } => {
            Source::Op { op, inputs: inputs.into_iter().map(|id| places[id.index()]).collect() }
        }
        leaf => leaf,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::ops::elementwise::{Add, Gelu};
    use crate::ops::linear::Linear;

    /// A layer, its GELU, a second layer, to which the input is added; `read`: the first is read once more.
    fn network(read: bool) -> Graph {
        let mut graph = Graph::new();
        let x = graph.input("x", &[5, 4]);
        let (w, b) = (graph.param("w", &[4, 4], true), graph.param("b", &[4], true));
        let layer = graph.apply(Linear, &[x, w, b]).unwrap();
        let hidden = graph.apply(Gelu, &[layer]).unwrap();
        let second = graph.apply(Linear, &[hidden, w, b]).unwrap();
        let y = graph.apply(Add::same(), &[x, second]).unwrap();
        let other = graph.apply(Gelu, &[layer]).unwrap();
        let y = if read { graph.apply(Add::same(), &[y, other]).unwrap() } else { y };
        graph.set_output("y", y);
        graph.set_output("other", other);
        graph.set_output("layer", layer);
        graph
    }

    fn names(graph: &Graph, results: &[&str]) -> Vec<&'static str> {
        let results: Vec<NodeId> = results.iter().map(|name| graph.output(name).unwrap()).collect();
        let all = fused(graph, &results);
        all.nodes().iter().filter_map(|node| node.op().map(Op::name)).collect()
    }

    #[test]
    fn layers_that_nothing_else_reads_are_joined_with_what_comes_after() {
        let graph = network(false);
        assert_eq!(names(&graph, &["y"]), ["linear_gelu", "linear_add"]);
        let all = fused(&graph, &[graph.output("y").unwrap()]);
        assert_eq!(all.outputs().keys().collect::<Vec<_>>(), ["y"], "others are not needed");
    }

    #[test]
    fn layers_that_are_read_twice_or_are_results_stay() {
        assert_eq!(names(&network(true), &["y"]), ["linear", "gelu", "linear_add", "gelu", "add"]);
        assert_eq!(names(&network(false), &["y", "layer"]), ["linear", "gelu", "linear_add"]);
    }
}
