//! Minimum cut of a graph with two terminals, by the augmenting trees of Boykov and Kolmogorov
//! (2004): one tree grows from the source, one from the sink; where they meet flow is pushed, and
//! the nodes cut off by it look for a new parent.
//!
//! Capacities are integers, so that the search ends exactly.

/// No arc, no node.
const NONE: u32 = u32::MAX;
/// Parent of a node that hangs on its terminal.
const TERMINAL: u32 = u32::MAX - 1;
/// Parent of a node whose parent was cut off.
const ORPHAN: u32 = u32::MAX - 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Free,
    Source,
    Sink,
}

#[derive(Clone, Copy)]
struct Node {
    /// Arc to the parent, or one of the constants above.
    parent: u32,
    /// When `distance` was last known to be right.
    time: u32,
    /// Arcs to the terminal.
    distance: u32,
    /// What is left of the terminal's capacity: from the source if positive, to the sink if negative.
    terminal: i32,
    tree: Tree,
    active: bool,
}

#[derive(Clone, Copy, Default)]
struct Arc {
    head: u32,
    /// The arc the other way.
    reverse: u32,
    /// What it can still carry.
    left: i32,
    /// What its reverse can still carry: kept here, too, so that a look at a node's arcs stays with them.
    back: i32,
}

impl Arc {
    /// What it can still carry away from the terminal of the tree of the node that it leaves.
    fn outward(&self, tree: Tree) -> i32 {
        if tree == Tree::Source { self.left } else { self.back }
    }

    /// What can still come along it the other way, from the terminal of that tree.
    fn inward(&self, tree: Tree) -> i32 {
        if tree == Tree::Source { self.back } else { self.left }
    }
}

#[derive(Clone, Copy)]
struct Edge {
    ends: [u32; 2],
    forth: i32,
    back: i32,
}

/// A flow network.
#[derive(Default)]
pub(super) struct Network {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// Arcs by the node that they leave: those of node `a` are `first[a]..first[a + 1]`.
    arcs: Vec<Arc>,
    first: Vec<u32>,
    active: std::collections::VecDeque<u32>,
    orphans: std::collections::VecDeque<u32>,
    time: u32,
}

impl Network {
    /// `nodes` unconnected nodes.
    pub(super) fn new(nodes: usize) -> Self {
        let node = Node { parent: NONE, time: 0, distance: 0, terminal: 0, tree: Tree::Free, active: false };
        Self { nodes: vec![node; nodes], ..Self::default() }
    }

    /// What it costs to cut `node` off the source (positive) or the sink (negative).
    pub(super) fn add_terminal(&mut self, node: usize, capacity: i32) {
        let terminal = &mut self.nodes[node].terminal;
        *terminal = terminal.saturating_add(capacity);
    }

    /// Joins two nodes: `forth` is paid when `from` is on the source's side and `to` is not.
    pub(super) fn add_edge(&mut self, from: usize, to: usize, forth: i32, back: i32) {
        self.edges.push(Edge { ends: [from as u32, to as u32], forth, back });
    }

    /// Whether `node` is on the source's side, after [`Self::solve`].
    pub(super) fn at_source(&self, node: usize) -> bool {
        self.nodes[node].tree == Tree::Source
    }

    /// Finds the minimum cut.
    pub(super) fn solve(&mut self) {
        self.sort_arcs();
        self.plant();
        let mut current = NONE;
        loop {
            if current == NONE || self.nodes[current as usize].parent == NONE {
                let Some(node) = self.next_active() else { return };
                current = node;
            }
            if let Some(bridge) = self.grow(current) {
                self.time += 1;
                self.augment(bridge);
                self.adopt();
            } else {
                current = NONE;
            }
        }
    }

    /// Lays the arcs out by the node that they leave: looking at a node's arcs is most of the work.
    fn sort_arcs(&mut self) {
        self.first.clear();
        self.first.resize(self.nodes.len() + 1, 0);
        for end in self.edges.iter().flat_map(|edge| edge.ends) {
            self.first[end as usize + 1] += 1;
        }
        for at in 1..self.first.len() {
            self.first[at] += self.first[at - 1];
        }
        self.arcs.resize(2 * self.edges.len(), Arc::default());
        let mut free = self.first.clone();
        for &Edge { ends: [from, to], forth, back } in &self.edges {
            let [out, home] = [from, to].map(|end| {
                let at = free[end as usize];
                free[end as usize] += 1;
                at
            });
            self.arcs[out as usize] = Arc { head: to, reverse: home, left: forth, back };
            self.arcs[home as usize] = Arc { head: from, reverse: out, left: back, back: forth };
        }
    }

    /// The arcs that leave a node.
    fn leaving(&self, at: u32) -> std::ops::Range<u32> {
        self.first[at as usize]..self.first[at as usize + 1]
    }

    fn carry(&mut self, arc: u32, flow: i32) {
        let forth = &mut self.arcs[arc as usize];
        forth.left -= flow;
        forth.back += flow;
        let reverse = forth.reverse;
        let home = &mut self.arcs[reverse as usize];
        home.left += flow;
        home.back -= flow;
    }

    fn plant(&mut self) {
        for at in 0..self.nodes.len() {
            let node = &mut self.nodes[at];
            if node.terminal == 0 {
                continue;
            }
            node.tree = if node.terminal > 0 { Tree::Source } else { Tree::Sink };
            node.parent = TERMINAL;
            node.distance = 1;
            self.activate(at as u32);
        }
    }

    fn activate(&mut self, node: u32) {
        if !std::mem::replace(&mut self.nodes[node as usize].active, true) {
            self.active.push_back(node);
        }
    }

    fn next_active(&mut self) -> Option<u32> {
        while let Some(node) = self.active.pop_front() {
            self.nodes[node as usize].active = false;
            if self.nodes[node as usize].parent != NONE {
                return Some(node);
            }
        }
        None
    }

    /// Takes free neighbours into the tree of `at`; returns an arc from the source's tree to the sink's.
    fn grow(&mut self, at: u32) -> Option<u32> {
        let Node { tree, time, distance, .. } = self.nodes[at as usize];
        for arc in self.leaving(at) {
            let Arc { head, reverse, .. } = self.arcs[arc as usize];
            if self.arcs[arc as usize].outward(tree) == 0 {
                continue;
            }
            let other = &mut self.nodes[head as usize];
            if other.tree == Tree::Free || other.parent == NONE {
                (other.tree, other.parent, other.time, other.distance) = (tree, reverse, time, distance + 1);
                self.activate(head);
            } else if other.tree != tree {
                return Some(if tree == Tree::Source { arc } else { reverse });
            } else if other.time <= time && other.distance > distance && other.parent != TERMINAL {
                // A shorter way to the terminal.
                (other.parent, other.time, other.distance) = (reverse, time, distance + 1);
            }
        }
        None
    }

    /// Pushes what fits through source, `bridge` and sink.
    fn augment(&mut self, bridge: u32) {
        let Arc { head: to, reverse, left, .. } = self.arcs[bridge as usize];
        let from = self.arcs[reverse as usize].head;
        let flow = self.bottleneck(to, self.bottleneck(from, left));
        self.carry(bridge, flow);
        self.push(from, flow);
        self.push(to, flow);
    }

    fn bottleneck(&self, mut at: u32, mut flow: i32) -> i32 {
        loop {
            let node = &self.nodes[at as usize];
            if node.parent == TERMINAL {
                return flow.min(node.terminal.abs());
            }
            // From the root to the node in the source's tree, the other way round in the sink's.
            let arc = self.arcs[node.parent as usize];
            flow = flow.min(arc.inward(node.tree));
            at = arc.head;
        }
    }

    fn push(&mut self, mut at: u32, flow: i32) {
        loop {
            let Node { parent, tree, .. } = self.nodes[at as usize];
            if parent == TERMINAL {
                let terminal = &mut self.nodes[at as usize].terminal;
                *terminal -= if tree == Tree::Source { flow } else { -flow };
                if *terminal == 0 {
                    self.orphan(at);
                }
                return;
            }
            let Arc { head, reverse, .. } = self.arcs[parent as usize];
            self.carry(if tree == Tree::Source { reverse } else { parent }, flow);
            if self.arcs[parent as usize].inward(tree) == 0 {
                self.orphan(at);
            }
            at = head;
        }
    }

    fn orphan(&mut self, at: u32) {
        self.nodes[at as usize].parent = ORPHAN;
        self.orphans.push_back(at);
    }

    /// Finds every orphan a new parent in its tree, or sets it free.
    fn adopt(&mut self) {
        while let Some(at) = self.orphans.pop_front() {
            let tree = self.nodes[at as usize].tree;
            match self.find_parent(at, tree) {
                Some((arc, distance)) => {
                    let node = &mut self.nodes[at as usize];
                    (node.parent, node.time, node.distance) = (arc, self.time, distance + 1);
                }
                None => self.release(at, tree),
            }
        }
    }

    /// The arc to the neighbour nearest to the terminal.
    fn find_parent(&mut self, at: u32, tree: Tree) -> Option<(u32, u32)> {
        let before = self.nodes[at as usize].distance;
        let mut best = None;
        for arc in self.leaving(at) {
            let Arc { head, .. } = self.arcs[arc as usize];
            if self.arcs[arc as usize].inward(tree) != 0
                && self.nodes[head as usize].tree == tree
                && let Some(distance) = self.origin(head)
            {
                if best.is_none_or(|(_, least)| distance < least) {
                    best = Some((arc, distance));
                }
                self.stamp(head, distance);
                if distance < before {
                    // As near as it was: trees only grow longer.
                    break;
                }
            }
        }
        best
    }

    /// Arcs from `at` to its terminal, if it still hangs on one.
    fn origin(&self, mut at: u32) -> Option<u32> {
        let mut distance = 0;
        loop {
            let node = &self.nodes[at as usize];
            if node.parent == ORPHAN || node.parent == NONE {
                return None;
            }
            if node.time == self.time {
                return Some(distance + node.distance);
            }
            distance += 1;
            if node.parent == TERMINAL {
                return Some(distance);
            }
            at = self.arcs[node.parent as usize].head;
        }
    }

    /// Notes the distances along the way that [`Self::origin`] took.
    fn stamp(&mut self, mut at: u32, mut distance: u32) {
        while self.nodes[at as usize].time != self.time {
            let node = &mut self.nodes[at as usize];
            (node.time, node.distance) = (self.time, distance);
            if node.parent == TERMINAL {
                return;
            }
            distance -= 1;
            at = self.arcs[node.parent as usize].head;
        }
    }

    fn release(&mut self, at: u32, tree: Tree) {
        for arc in self.leaving(at) {
            let Arc { head, .. } = self.arcs[arc as usize];
            let parent = self.nodes[head as usize].parent;
            if self.nodes[head as usize].tree == tree && parent != NONE {
                if self.arcs[arc as usize].inward(tree) != 0 {
                    self.activate(head);
                }
                if parent < ORPHAN && self.arcs[parent as usize].head == at {
                    self.orphan(head);
                }
            }
        }
        let node = &mut self.nodes[at as usize];
        (node.parent, node.tree) = (NONE, Tree::Free);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Link = (usize, usize, i32, i32);

    fn cost(terminals: &[i32], edges: &[Link], source: impl Fn(usize) -> bool) -> i64 {
        let terminal = |(at, &t): (usize, &i32)| i64::from(if source(at) { (-t).max(0) } else { t.max(0) });
        let edge = |&(a, b, forth, back): &Link| match (source(a), source(b)) {
            (true, false) => i64::from(forth),
            (false, true) => i64::from(back),
            _ => 0,
        };
        terminals.iter().enumerate().map(terminal).sum::<i64>() + edges.iter().map(edge).sum::<i64>()
    }

    #[test]
    fn a_chain_is_cut_at_its_weakest_edge() {
        let mut network = Network::new(4);
        network.add_terminal(0, 100);
        network.add_terminal(3, -100);
        for (from, capacity) in [(0, 5), (1, 2), (2, 7)] {
            network.add_edge(from, from + 1, capacity, capacity);
        }
        network.solve();
        let side: Vec<bool> = (0..4).map(|at| network.at_source(at)).collect();
        assert_eq!(side, [true, true, false, false]);
    }

    proptest! {
        #[test]
        fn no_labelling_is_cheaper(
            terminals in proptest::collection::vec(-20i32..20, 1..9),
            edges in proptest::collection::vec((0usize..9, 0usize..9, 0i32..15, 0i32..15), 0..30),
        ) {
            let n = terminals.len();
            let edges: Vec<Link> = edges.into_iter().filter(|e| e.0 < n && e.1 < n && e.0 != e.1).collect();
            let mut network = Network::new(n);
            terminals.iter().enumerate().for_each(|(at, &t)| network.add_terminal(at, t));
            edges.iter().for_each(|&(a, b, forth, back)| network.add_edge(a, b, forth, back));
            network.solve();
            let found = cost(&terminals, &edges, |at| network.at_source(at));
            let least = (0..1usize << n).map(|s| cost(&terminals, &edges, |at| s >> at & 1 == 1)).min();
            prop_assert_eq!(Some(found), least);
        }
    }
}
