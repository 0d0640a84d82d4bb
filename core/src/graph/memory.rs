//! Liveness, and the assignment of values to reusable buffers.

use super::{Graph, NodeId, Source};

/// Which nodes have to be evaluated for the given results: themselves and all that they need.
#[must_use]
pub fn needed_nodes(graph: &Graph, results: &[NodeId]) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    for id in results {
        needed[id.index()] = true;
    }
    for index in (0..needed.len()).rev() {
        if needed[index] {
            for input in graph.nodes()[index].inputs() {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

/// Where each value lives while a graph runs: values whose lifetimes do not overlap share a buffer.
///
/// Inputs and parameters have storage of their own and take no part; ops that only give another
/// shape to their input share its storage.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    /// For each node: the node whose storage it shares (itself unless it is a reshaped view).
    pub root: Vec<usize>,
    /// For each node: its buffer, if it needs one.
    pub slot: Vec<Option<usize>>,
    /// For each node: the last node that reads its storage (results: past the end).
    pub last_use: Vec<usize>,
    /// Elements in each buffer.
    pub slot_len: Vec<usize>,
    /// Most elements alive at once.
    pub peak_elements: usize,
    /// Which nodes are evaluated.
    pub needed: Vec<bool>,
}

impl MemoryPlan {
    /// Plans the evaluation of `results`, which stay alive to the end.
    #[must_use]
    pub fn new(graph: &Graph, results: &[NodeId]) -> Self {
        Self::with_lengths(graph, results, &[], &|_, len| len)
    }

    /// Plans the evaluation of `results`, which stay alive to the end, and of `passing`, which are
    /// consumed as soon as they are computed (gradients that are added to their sums). `length` tells what
    /// a value of so many elements takes, by the node that owns it: all lengths of the plan are in its unit.
    #[must_use]
    pub fn with_lengths(
        graph: &Graph, results: &[NodeId], passing: &[NodeId], length: &dyn Fn(usize, usize) -> usize,
    ) -> Self {
        let needed = needed_nodes(graph, &[results, passing].concat());
        let root = storage_roots(graph);
        let last_use = last_uses(graph, results, &needed, &root);
        let mut plan = Self {
            root,
            slot: vec![None; needed.len()],
            last_use,
            slot_len: vec![],
            peak_elements: 0,
            needed,
        };
        plan.assign(graph, length);
        plan
    }

    /// Sum of all buffers, in elements.
    #[must_use]
    pub fn total_elements(&self) -> usize {
        self.slot_len.iter().sum()
    }

    fn assign(&mut self, graph: &Graph, length: &dyn Fn(usize, usize) -> usize) {
        let length = |index: usize| length(index, graph.nodes()[index].len());
        let dying = self.dying_at();
        let mut free: Vec<usize> = vec![];
        let mut alive = 0;
        for (index, node) in graph.nodes().iter().enumerate() {
            let owns = self.needed[index] && self.root[index] == index && node.op().is_some();
            if owns {
                self.slot[index] = Some(self.take(&mut free, length(index)));
                alive += length(index);
                self.peak_elements = self.peak_elements.max(alive);
            }
            for &dead in &dying[index] {
                if let Some(slot) = self.slot[dead] {
                    free.push(slot);
                    alive -= length(dead);
                }
            }
        }
        for index in 0..self.root.len() {
            self.slot[index] = self.slot[self.root[index]];
        }
    }

    /// For each node, the storage roots that nobody reads after it.
    fn dying_at(&self) -> Vec<Vec<usize>> {
        let mut dying = vec![vec![]; self.root.len()];
        for (index, &last) in self.last_use.iter().enumerate() {
            if self.needed[index] && self.root[index] == index && last < dying.len() {
                dying[last].push(index);
            }
        }
        dying
    }

    /// The free buffer that fits best: the smallest that is large enough, else the largest, grown.
    fn take(&mut self, free: &mut Vec<usize>, len: usize) -> usize {
        let fits = (0..free.len()).filter(|&i| self.slot_len[free[i]] >= len);
        let best = fits.min_by_key(|&i| self.slot_len[free[i]]);
        let choice = best.or_else(|| (0..free.len()).max_by_key(|&i| self.slot_len[free[i]]));
        let Some(choice) = choice else {
            self.slot_len.push(len);
            return self.slot_len.len() - 1;
        };
        let slot = free.swap_remove(choice);
        self.slot_len[slot] = self.slot_len[slot].max(len);
        slot
    }
}

/// For each node the one whose storage it shares: itself, unless it is a reshaped view.
pub(crate) fn storage_roots(graph: &Graph) -> Vec<usize> {
    let mut root: Vec<usize> = (0..graph.nodes().len()).collect();
    for (index, node) in graph.nodes().iter().enumerate() {
        if let Source::Op { op, inputs } = &node.source
            && op.is_view()
        {
            root[index] = root[inputs[0].index()];
        }
    }
    root
}

fn last_uses(graph: &Graph, results: &[NodeId], needed: &[bool], root: &[usize]) -> Vec<usize> {
    let mut last: Vec<usize> = (0..root.len()).collect();
    for (index, node) in graph.nodes().iter().enumerate() {
        if needed[index] {
            for input in node.inputs() {
                last[root[input.index()]] = index;
            }
            last[root[index]] = last[root[index]].max(index);
        }
    }
    for id in results {
        last[root[id.index()]] = usize::MAX;
    }
    last
}
