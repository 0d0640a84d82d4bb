//! The graph as text, and what it costs.

use std::fmt;

use super::{Graph, MemoryPlan, NodeId, Source};

/// What one run of a graph costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Floating-point operations (a multiply-add counts as two).
    pub flops: u64,
    /// Bytes read and written by the ops, at 4 bytes an element, were nothing cached.
    pub bytes: u64,
    /// Bytes of activations alive at the worst moment, at 4 bytes an element.
    pub peak_bytes: u64,
    /// Number of ops evaluated.
    pub ops: usize,
}

impl Graph {
    /// What it costs to compute `results`.
    #[must_use]
    pub fn cost(&self, results: &[NodeId]) -> Cost {
        let plan = MemoryPlan::new(self, results);
        let mut cost = Cost { peak_bytes: 4 * plan.peak_elements as u64, ..Cost::default() };
        for index in (0..self.nodes().len()).filter(|&i| plan.needed[i]) {
            let (flops, bytes) = self.node_cost(NodeId(index as u32));
            cost.flops += flops;
            cost.bytes += bytes;
            cost.ops += usize::from(self.nodes()[index].op().is_some());
        }
        cost
    }

    /// FLOPs and bytes moved by one node.
    #[must_use]
    pub fn node_cost(&self, id: NodeId) -> (u64, u64) {
        let node = self.node(id);
        let Source::Op { op, inputs } = &node.source else { return (0, 0) };
        if op.is_view() {
            return (0, 0);
        }
        let shapes: Vec<&[usize]> = inputs.iter().map(|&i| self.shape(i)).collect();
        let read: usize = inputs.iter().map(|&i| self.node(i).len()).sum();
        (op.flops(&shapes, &node.shape), 4 * (read + node.len()) as u64)
    }
}

impl fmt::Display for Graph {
    /// One line a node: `%7 = linear(%5, %6) [2, 17, 24]  blocks.0.attn  1.2 MFLOP`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, node) in self.nodes().iter().enumerate() {
            write!(f, "%{index} = ")?;
            match &node.source {
                Source::Input { name } => write!(f, "input {name}")?,
                Source::Param { name, trainable: true } => write!(f, "param {name}")?,
                Source::Param { name, .. } => write!(f, "table {name}")?,
                Source::Op { op, inputs } => {
                    let names: Vec<String> = inputs.iter().map(|i| format!("%{}", i.0)).collect();
                    write!(f, "{:?}({})", op, names.join(", "))?;
                }
            }
            write!(f, " {:?}", node.shape)?;
            if node.op().is_some() {
                let (flops, _) = self.node_cost(NodeId(index as u32));
                write!(f, "  @{}", node.scope)?;
                if flops > 0 {
                    write!(f, "  {:.3} MFLOP", flops as f64 / 1e6)?;
                }
            }
            writeln!(f)?;
        }
        for (name, id) in self.outputs() {
            writeln!(f, "output {name} = %{}", id.0)?;
        }
        for (name, id) in self.gradients() {
            writeln!(f, "gradient {name} = %{}", id.0)?;
        }
        Ok(())
    }
}
