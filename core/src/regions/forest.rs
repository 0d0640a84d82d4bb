//! Joining segments along edges, from light to heavy.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::edges::{
    Edge, Joint, Link, direction, edge, edge_id, edge_key, ends, key, neighbour_steps, new_id, start,
};
use super::order::{Buckets, Exact, HIGH_DIGITS, Sorter, high_digit};
use super::smoothing::{Weights, resize};

/// What an edge needs to know of a segment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment {
    /// Weight below which an edge may still join the segment, but for rounding.
    pub(super) limit: f32,
    /// Pixels.
    pub(super) size: u32,
    /// The edge that joined last, which the exact limit follows from.
    pub(super) heaviest: u32,
    /// The least key of an undecided edge of the segment: what is not lighter has to wait.
    pub(super) hold: u32,
}

/// No edge, no key.
pub(super) const NONE: u32 = u32::MAX;
/// How far a limit may be rounded, relative to it, with much to spare.
const ROUNDING: f32 = 1e-6;
/// Edges whose roots are looked up together: the processor does not wait for one after the other.
const AHEAD: usize = 32;

/// Among the bits of which edges sleep: whether the block that starts at the pixel is of one tile.
/// Used where there are several.
pub(super) const IN_TILE: u8 = 1 << 4;

/// Which node of the forest a pixel belongs to.
pub(super) trait Nodes: Copy {
    /// How edges between the nodes are listed.
    type Edge: Joint;
    /// Whether there is more than one tile: then what is known of pixels does not fit the caches.
    const MANY_TILES: bool;

    fn node(self, pixel: u32) -> u32;
}

/// Every pixel is a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels;

impl Nodes for Pixels {
    type Edge = Edge;
    const MANY_TILES: bool = false;

    #[inline]
    fn node(self, pixel: u32) -> u32 {
        pixel
    }
}

impl Nodes for &[u32] {
    type Edge = Link;
    const MANY_TILES: bool = true;

    #[inline]
    fn node(self, pixel: u32) -> u32 {
        self[pixel as usize]
    }
}

/// The graph that segments are joined along.
#[derive(Debug, Clone, Copy)]
pub(super) struct Graph<'a, N> {
    pub(super) nodes: N,
    pub(super) weights: Weights<'a>,
    pub(super) scale: f64,
}

impl<N: Nodes> Graph<'_, N> {
    /// The nodes that an edge joins, by its number.
    pub(super) fn nodes(&self, id: u32) -> (u32, u32) {
        let (a, b) = ends(id, &self.steps());
        (self.nodes.node(a), self.nodes.node(b))
    }

    #[inline]
    fn steps(&self) -> [u32; 4] {
        neighbour_steps(self.weights.area.width)
    }

    fn exact_limit(&self, segment: &Segment) -> f64 {
        match segment.heaviest {
            NONE => self.scale,
            id => self.weights.weight(id) + self.scale / f64::from(segment.size),
        }
    }

    /// Whether the edge is lighter than both limits. Their exact values are worked out only
    /// where rounding could matter.
    #[inline]
    fn joins(&self, edge: Edge, a: &Segment, b: &Segment) -> bool {
        let limit = a.limit.min(b.limit);
        let distance = f32::from_bits(edge_key(edge)) - limit;
        if distance.abs() > limit * ROUNDING + f32::MIN_POSITIVE {
            return distance < 0.0;
        }
        let weight = self.weights.weight(edge_id(edge));
        weight < self.exact_limit(a) && weight < self.exact_limit(b)
    }

    /// Whether no edge as heavy as this one can join the segment any more, and nothing about it
    /// was undecided before that was so.
    fn complete(&self, segment: &Segment, edge: Edge) -> bool {
        (segment.limit * (1.0 + ROUNDING) + f32::MIN_POSITIVE).to_bits() < segment.hold
            && !self.joins(edge, segment, segment)
    }
}

/// An edge with nodes near the roots above its ends.
type Ends<E> = (E, u32, u32);

/// Batches of [`AHEAD`] edges, or more so that those of equal key stay together, whose order is
/// not known yet. That of those of weight 0, which all join, does not matter.
fn batches<E: Joint>(mut ordered: &[E]) -> impl Iterator<Item = &[E]> {
    std::iter::from_fn(move || {
        let last = *ordered.get(AHEAD.min(ordered.len()).checked_sub(1)?)?;
        let more = ordered.iter().skip(AHEAD).take_while(|edge| edge.key() == last.key() && last.key() > 0);
        let (batch, rest) = ordered.split_at(AHEAD.min(ordered.len()) + more.count());
        ordered = rest;
        Some(batch)
    })
}

/// Disjoint segments: a forest whose roots stand for the segments.
#[derive(Debug, Default)]
pub(super) struct Forest<E> {
    /// The node above, or for a root [`ROOT`] and the place of its segment.
    parent: Vec<u32>,
    /// The first stands for all pixels that are alone.
    segments: Vec<Segment>,
    /// A bit for each direction's edge from the pixel: whether it sleeps. And [`IN_TILE`].
    pub(super) asleep: Vec<u8>,
    sorter: Sorter<E>,
    /// A bucket's edges with those woken for it.
    open: Vec<E>,
    bucket: usize,
    /// The edges of a batch that are not visibly within one segment.
    open_ends: Vec<Ends<E>>,
    exact: Exact<Ends<E>>,
    /// Edges woken for a bucket that is to come: chains through `woken`, by bucket.
    first_woken: Vec<u32>,
    woken: Vec<(E, u32)>,
    /// Edges woken for the bucket at hand, by exact weight.
    woken_now: BinaryHeap<Reverse<(u64, u32)>>,
    /// Blocks where an edge joined nothing, until what relied on it has been looked at.
    broken: Vec<u32>,
    /// Edges that joined nothing but still may, by `min_size`.
    pub(super) refused: Vec<E>,
    /// Edges that only what is outside can decide.
    pub(super) waiting: Vec<E>,
}

impl<E: Joint> Forest<E> {
    /// `nodes` pixels, each alone; `asleep` as of the edges.
    pub(super) fn reset(&mut self, nodes: usize, scale: f64, asleep: &[u8]) {
        self.asleep.clear();
        self.asleep.extend_from_slice(asleep);
        self.parent.clear();
        self.parent.resize(nodes, ROOT);
        self.segments.clear();
        self.segments.push(Segment { limit: scale as f32, size: 1, heaviest: NONE, hold: NONE });
        self.refused.clear();
        self.waiting.clear();
    }

    /// A further node, which is a segment.
    pub(super) fn add(&mut self, segment: Segment) -> u32 {
        self.parent.push(ROOT | self.segments.len() as u32);
        self.segments.push(segment);
        self.parent.len() as u32 - 1
    }

    pub(super) fn len(&self) -> usize {
        self.parent.len()
    }

    /// Edges of the root's segment from this key on have to wait.
    pub(super) fn hold(&mut self, root: u32, key: u32) {
        let place = &mut self.parent[root as usize];
        let mut segment = self.segments[(*place & !ROOT) as usize];
        if *place == ROOT {
            *place |= self.segments.len() as u32;
            self.segments.push(segment);
        }
        segment.hold = key.min(segment.hold);
        self.segments[(*place & !ROOT) as usize] = segment;
    }

    /// Undoes [`Self::hold`] for all nodes from this one on, of which each has had a segment.
    pub(super) fn release(&mut self, first: usize) {
        self.segments[first + 1..].iter_mut().for_each(|segment| segment.hold = NONE);
    }

    /// The paper's algorithm 1.
    pub(super) fn join_similar<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, buckets: &Buckets<E>) {
        self.first_woken.clear();
        self.first_woken.resize(HIGH_DIGITS, NONE);
        self.woken.clear();
        for (bucket, edges) in buckets.iter().enumerate() {
            self.bucket = bucket;
            let late = self.first_woken[bucket];
            let count = if late == NONE {
                self.sorter.sort_keys(edges)
            } else {
                self.collect_woken(edges, late);
                self.sorter.sort_keys(&self.open)
            };
            self.join_ordered(graph, count);
        }
    }

    /// The bucket's edges and those woken for it.
    fn collect_woken(&mut self, bucket: &[E], mut late: u32) {
        self.open.clear();
        self.open.extend_from_slice(bucket);
        while late != NONE {
            let (edge, next) = self.woken[late as usize];
            self.open.push(edge);
            late = next;
        }
    }

    fn join_ordered<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, count: usize) {
        let ordered = std::mem::take(&mut self.sorter.ordered);
        let mut open = std::mem::take(&mut self.open_ends);
        for edges in batches(&ordered[..count]) {
            let count = self.keep_open(graph, edges, &mut open);
            // Those of weight 0 all join, in whatever order.
            if edges.last().is_some_and(|edge| edge.key() > 0) {
                self.exact.sort(&mut open[..count], |(edge, ..)| edge.edge(), &graph.weights);
            }
            self.fetch(graph, &open[..count]);
            for &(edge, a, b) in &open[..count] {
                if !self.woken_now.is_empty() {
                    self.join_woken(graph, graph.weights.exact(edge.id()));
                }
                self.join_if_similar(graph, edge, a, b);
            }
        }
        (self.sorter.ordered, self.open_ends) = (ordered, open);
        self.join_woken(graph, (u64::MAX, 0));
    }

    /// Copies the edges that are not visibly within one segment to `open`, with nodes near the
    /// roots above their ends; returns how many. Without a branch, which could not be predicted.
    fn keep_open<N: Nodes<Edge = E>>(
        &mut self, graph: &Graph<N>, edges: &[E], open: &mut Vec<Ends<E>>,
    ) -> usize {
        resize(open, edges.len().max(open.len()));
        let (steps, mut count) = (graph.steps(), 0);
        for &edge in edges {
            let (a, b) = edge.nodes(&steps);
            let (a, b) = (self.climb(a), self.climb(b));
            open[count] = (edge, a, b);
            count += usize::from(a != b);
        }
        count
    }

    /// Reads what some edges will need, so that it is in the cache when their turn comes: one
    /// after the other, each would be waited for.
    fn fetch<N: Nodes<Edge = E>>(&self, graph: &Graph<N>, open: &[Ends<E>]) {
        let read = |&(edge, a, b): &Ends<E>| {
            let (a, b) = (&self.segments[self.place(a)], &self.segments[self.place(b)]);
            let joins = f32::from_bits(edge.key()) < a.limit.min(b.limit);
            // Around an edge that does not join, others may wake. Always something is read:
            // whether an edge joins cannot be predicted.
            let pixel = if joins { 0 } else { start(edge.id()) };
            let around = if N::MANY_TILES { self.read_around(graph, pixel) } else { 0 };
            a.size ^ b.size ^ around
        };
        std::hint::black_box(open.iter().map(read).fold(0, |all, part| all ^ part));
    }

    /// Reads what is known of a pixel and of the one below.
    fn read_around<N: Nodes>(&self, graph: &Graph<N>, pixel: u32) -> u32 {
        let below = (pixel as usize + graph.weights.area.width).min(self.asleep.len() - 1);
        let asleep = self.asleep[pixel as usize] ^ self.asleep[below];
        graph.nodes.node(pixel) ^ graph.nodes.node(below as u32) ^ u32::from(asleep)
    }

    /// The place of a root's segment, for other nodes that of the first.
    fn place(&self, node: u32) -> usize {
        let above = self.parent[node as usize];
        if above & ROOT == 0 { 0 } else { (above & !ROOT) as usize }
    }

    /// The node two above, and makes it the one above.
    #[inline]
    fn climb(&mut self, node: u32) -> u32 {
        let first = self.parent[node as usize];
        let above = if first & ROOT == 0 { first } else { node };
        let next = self.parent[above as usize];
        let top = if next & ROOT == 0 { next } else { above };
        self.parent[node as usize] = if first & ROOT == 0 { top } else { first };
        top
    }

    /// The node above, for a root itself.
    #[inline]
    pub(super) fn above(&self, node: u32) -> u32 {
        let above = self.parent[node as usize];
        if above & ROOT == 0 { above } else { node }
    }

    fn join_woken<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, before: (u64, u32)) {
        while let Some(&Reverse((weight, id))) = self.woken_now.peek() {
            if (weight, id) > before {
                break;
            }
            self.woken_now.pop();
            let (a, b) = graph.nodes(id);
            let edge = E::new(edge(key(f64::from_bits(weight)), id), (a, b));
            self.join_if_similar(graph, edge, a, b);
        }
    }

    fn join_if_similar<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, edge: E, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return;
        }
        let (sa, sb) = (self.segments[a.place()], self.segments[b.place()]);
        if edge.key() < sa.hold.min(sb.hold) && graph.joins(edge.edge(), &sa, &sb) {
            let size = sa.size + sb.size;
            // Edges come in ascending order: this one is the segment's heaviest.
            let limit = f32::from_bits(edge.key()) + graph.scale as f32 / size as f32;
            let joined = Segment { limit, size, heaviest: edge.id(), hold: sa.hold.min(sb.hold) };
            self.union(if sa.size < sb.size { (b, a) } else { (a, b) }, joined);
        } else {
            self.refuse(graph, edge.edge(), [(a, sa), (b, sb)]);
        }
    }

    /// Puts one root below another, the larger segment's.
    #[inline]
    fn union(&mut self, (root, child): (Root, Root), joined: Segment) {
        let fresh = self.segments.len();
        let place = if root.place() == 0 { fresh } else { root.place() };
        self.parent[child.node as usize] = root.node;
        self.parent[root.node as usize] = ROOT | place as u32;
        if place == fresh {
            self.segments.push(joined);
        } else {
            self.segments[place] = joined;
        }
    }

    /// An edge that does not join is refused for good if one of the segments is complete.
    /// Otherwise both wait with it.
    #[inline(never)]
    fn refuse<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, edge: Edge, segments: [(Root, Segment); 2]) {
        let joint = E::new(edge, (segments[0].0.node, segments[1].0.node));
        if segments.iter().any(|(_, segment)| graph.complete(segment, edge)) {
            self.refused.push(joint);
            self.wake_dominated(graph, edge);
        } else {
            self.waiting.push(joint);
            segments.iter().for_each(|(root, _)| self.hold(root.node, edge_key(edge)));
        }
    }

    /// The ends of a refused edge are not in one segment: what relied on it in the blocks on both
    /// its sides has to be looked at after all.
    fn wake_dominated<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, refused: Edge) {
        let pixel = start(edge_id(refused));
        let width = graph.weights.area.width as u32;
        match direction(edge_id(refused)) {
            0 => self.broken.extend([pixel, pixel.wrapping_sub(width)]),
            1 => self.broken.extend([pixel, pixel.wrapping_sub(1)]),
            2 => self.broken.push(pixel),
            _ => self.broken.push(pixel.wrapping_sub(1)),
        }
        while let Some(block) = self.broken.pop() {
            let mask = self.take_asleep::<N>(block as usize, width as usize);
            if mask != 0 {
                self.wake_block(graph, block, mask, refused);
            }
        }
    }

    /// The edges of a block that are asleep, a bit for each as in [`TileEdges`](super::edges);
    /// they are no longer.
    ///
    /// Nothing relies on the edges of a block that reaches into another tile, where some may belong
    /// to a part whose turn it is not.
    fn take_asleep<N: Nodes>(&mut self, block: usize, width: usize) -> u32 {
        let Some(asleep) = self.asleep.get_mut(block..block.saturating_add(width + 1)) else {
            return 0;
        };
        if N::MANY_TILES && asleep[0] & IN_TILE == 0 {
            return 0;
        }
        let (here, right, below) = (u32::from(asleep[0]), u32::from(asleep[1]), u32::from(asleep[width]));
        asleep[0] &= !0b0111;
        asleep[1] &= !0b1010;
        asleep[width] &= !0b0001;
        here & 1 | (below & 1) << 1 | (here & 2) << 1 | (right & 2) << 2 | (here & 4) << 2 | (right & 8) << 2
    }

    /// An edge between segments one of which is complete joins nothing, nor could it as one of
    /// the refused: the lighter ones that dominate it have joined its ends, or found them large.
    /// What relied on it is looked at at once.
    fn wake_block<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, block: u32, mut mask: u32, refused: Edge) {
        let width = graph.weights.area.width as u32;
        let corners = [block, block + 1, block + width, block + width + 1];
        let beyond = [block.wrapping_sub(width), block + width, block.wrapping_sub(1), block + 1];
        while mask != 0 {
            let bit = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            let (a, b, direction) = [(0, 1, 0), (2, 3, 0), (0, 2, 1), (1, 3, 1), (0, 3, 2), (1, 2, 3)][bit];
            let roots = [a, b].map(|corner| self.root(graph.nodes.node(corners[corner])));
            if roots[0] == roots[1] {
                continue;
            }
            if roots.iter().any(|root| graph.complete(&self.segments[root.place()], refused)) {
                self.broken.extend(beyond.get(bit));
            } else {
                self.wake(graph, new_id(direction, corners[a] as usize));
            }
        }
    }

    fn wake<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, id: u32) {
        let weight = graph.weights.weight(id);
        let bucket = high_digit(key(weight));
        // One lighter than the bucket at hand relies on what waits, and will wait with it.
        if bucket <= self.bucket {
            self.woken_now.push(Reverse((weight.to_bits(), id)));
        } else {
            let next = std::mem::replace(&mut self.first_woken[bucket], self.woken.len() as u32);
            self.woken.push((E::new(edge(key(weight), id), graph.nodes(id)), next));
        }
    }

    /// Joins segments of fewer pixels than `min_size` across the refused edges.
    pub(super) fn join_small<N: Nodes<Edge = E>>(&mut self, graph: &Graph<N>, min_size: usize) {
        let mut refused = std::mem::take(&mut self.refused);
        // Segments only grow: what no longer joins now never will.
        refused.retain(|&edge| self.small_pair(graph, edge, min_size).is_some());
        let mut buckets = Vec::new();
        for bucket in Buckets::sort(&[refused], &mut buckets).iter() {
            let count = self.sorter.sort(bucket, &graph.weights);
            for at in 0..count {
                if let Some((a, b)) = self.small_pair(graph, self.sorter.ordered[at], min_size) {
                    let (sa, sb) = (self.segments[a.place()], self.segments[b.place()]);
                    let joined = Segment { size: sa.size + sb.size, ..sa };
                    self.union(if sa.size < sb.size { (b, a) } else { (a, b) }, joined);
                }
            }
        }
    }

    /// The roots at an edge's ends, if one of their segments is too small.
    fn small_pair<N: Nodes<Edge = E>>(
        &mut self, graph: &Graph<N>, edge: E, min_size: usize,
    ) -> Option<(Root, Root)> {
        let (a, b) = edge.nodes(&graph.steps());
        let (a, b) = (self.root(a), self.root(b));
        let size = |root: Root| self.segments[root.place()].size;
        let smaller = size(a).min(size(b)) as usize;
        (a != b && smaller < min_size).then_some((a, b))
    }

    /// The root above `node`; halves the path on the way.
    #[inline]
    pub(super) fn root(&mut self, mut node: u32) -> Root {
        loop {
            let above = self.parent[node as usize];
            if above & ROOT != 0 {
                return Root { node, place: above };
            }
            let top = self.parent[above as usize];
            if top & ROOT != 0 {
                return Root { node: above, place: top };
            }
            self.parent[node as usize] = top;
            node = top;
        }
    }

    /// As [`Self::root`] for nodes that are near it.
    pub(super) fn near_root(&mut self, node: u32) -> Root {
        let top = self.climb(node);
        self.root(top)
    }

    pub(super) fn segment(&self, root: Root) -> Segment {
        self.segments[root.place()]
    }
}

/// Marks a root among the parents.
const ROOT: u32 = 1 << 31;

/// A root and, with [`ROOT`], the place of its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) node: u32,
    place: u32,
}

impl Root {
    fn place(self) -> usize {
        (self.place & !ROOT) as usize
    }
}
