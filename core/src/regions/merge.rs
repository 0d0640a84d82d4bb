//! From the segments of tiles to those of the image.

use multiversion::multiversion;

use super::edges::{Edge, Joint, Link, edge, edge_id, edge_key, ends, key, neighbour_steps, new_id};
use super::felzenszwalb::FelzenszwalbParams;
use super::forest::{Forest, Graph, IN_TILE, NONE, Segment};
use super::order::Buckets;
use super::smoothing::{Colours, Weights};
use super::tiles::{Area, Tiling};

const UNSEEN: u32 = u32::MAX;

/// What the tiles leave to be decided, at one scale.
#[derive(Debug, Default)]
pub(super) struct Merger {
    /// `[height, width]`, the segment that the pixel belongs to.
    labels: Vec<u32>,
    /// Its nodes are the segments that the tiles have found; those of a part follow each other.
    forest: Forest<Link>,
    /// The number of each root of a tile.
    numbers: Vec<u32>,
    levels: Vec<Level>,
    bucketed: Vec<Link>,
}

/// Of the part of a level that is being put together.
#[derive(Debug, Default)]
struct Level {
    /// What the smaller parts could not decide.
    waiting: Vec<Link>,
    /// Edges from one of the smaller parts to another.
    crossing: Vec<Edge>,
    /// The first node in the part.
    first: usize,
}

impl Merger {
    pub(super) fn reset(&mut self, pixels: usize, scale: f64, top: usize) {
        self.labels = vec![0; pixels];
        self.forest.reset(0, scale, &[]);
        self.forest.asleep.resize(pixels, 0);
        self.levels.resize_with(top + 1, Level::default);
        for level in &mut self.levels {
            level.waiting.clear();
            level.crossing.clear();
        }
    }

    /// Begins a part of a level.
    pub(super) fn open(&mut self, level: usize) {
        self.levels[level].first = self.forest.len();
    }

    /// Keeps the tile's forest from deciding what depends on edges that leave it.
    pub(super) fn hold_borders(
        &mut self, tile: &mut Forest<Edge>, colours: &Colours, area: &Area, tiling: Tiling,
    ) {
        for_each_crossing(colours, area, |edge, (from, to), leads| {
            let (x, y) = from;
            tile.hold(((y - area.y) * area.width + x - area.x) as u32, edge_key(edge));
            if leads {
                self.levels[tiling.level_between(from, to)].crossing.push(edge);
            }
        });
    }

    /// Takes over the segments of a tile.
    pub(super) fn add(&mut self, tile: &mut Forest<Edge>, weights: &Weights, width: usize) {
        let area = &weights.area;
        self.numbers.clear();
        self.numbers.resize(area.width * area.height, UNSEEN);
        self.add_waiting(tile, weights);
        for y in 0..area.height {
            let to = (area.y + y) * width + area.x;
            let from = y * area.width;
            for x in 0..area.width {
                self.labels[to + x] = self.number(tile, (from + x) as u32, weights);
            }
        }
        self.keep_asleep(&tile.asleep, area, width);
        let graph = Graph { nodes: &self.labels[..], weights: weights.of_image(), scale: 0.0 };
        self.forest.refused.extend(tile.refused.iter().map(|&found| {
            let id = weights.in_image(edge_id(found));
            Link::new(edge(edge_key(found), id), graph.nodes(id))
        }));
    }

    /// Takes over what a tile could not decide. Segments that are part of it get the first
    /// numbers, in the order of the edges: parts then have what they look at close together.
    fn add_waiting(&mut self, tile: &mut Forest<Edge>, weights: &Weights) {
        let steps = neighbour_steps(weights.area.width);
        for at in 0..tile.waiting.len() {
            let found = tile.waiting[at];
            let (a, b) = ends(edge_id(found), &steps);
            let nodes = (self.number(tile, a, weights), self.number(tile, b, weights));
            let id = weights.in_image(edge_id(found));
            if let Some(level) = self.levels.get_mut(1) {
                level.waiting.push(Link::new(edge(edge_key(found), id), nodes));
            }
        }
    }

    /// Takes over which of a tile's edges are asleep, but for those within its segments.
    fn keep_asleep(&mut self, asleep: &[u8], area: &Area, width: usize) {
        let (w, last) = (area.width, area.width - 1);
        for (y, row) in asleep.chunks_exact(w).enumerate() {
            let start = (area.y + y) * width + area.x;
            let to = &mut self.forest.asleep[start..start + w];
            to.copy_from_slice(row);
            let here = &self.labels[start..start + w];
            drop_inner(&mut to[..last], 0, &here[..last], &here[1..]);
            if y + 1 < area.height {
                let below = &self.labels[start + width..start + width + w];
                drop_inner(to, 1, here, below);
                drop_inner(&mut to[..last], 2, &here[..last], &below[1..]);
                drop_inner(&mut to[1..], 3, &here[1..], &below[..last]);
                to[..last].iter_mut().for_each(|asleep| *asleep |= IN_TILE);
            }
        }
    }

    /// The number of a pixel's segment. Once it is known for a pixel it is for those below.
    #[inline]
    fn number(&mut self, tile: &mut Forest<Edge>, pixel: u32, weights: &Weights) -> u32 {
        let above = tile.above(pixel) as usize;
        let known = self.numbers[above];
        let number = if known == UNSEEN { self.number_of_root(tile, pixel, weights) } else { known };
        self.numbers[above] = number;
        self.numbers[pixel as usize] = number;
        number
    }

    #[inline(never)]
    fn number_of_root(&mut self, tile: &mut Forest<Edge>, pixel: u32, weights: &Weights) -> u32 {
        let root = tile.root(pixel);
        let number = &mut self.numbers[root.node as usize];
        if *number == UNSEEN {
            let segment = tile.segment(root);
            let heaviest = if segment.heaviest == NONE { NONE } else { weights.in_image(segment.heaviest) };
            *number = self.forest.add(Segment { heaviest, hold: NONE, ..segment });
        }
        *number
    }

    /// Decides what can be decided once all of a part of a level above the tiles is there.
    pub(super) fn close(&mut self, level: usize, area: &Area, colours: &Colours, scale: f64) {
        let graph = Graph { nodes: &self.labels[..], weights: colours.weights_of_image(), scale };
        let Level { waiting, crossing, first } = &mut self.levels[level];
        waiting.extend(crossing.drain(..).map(|edge| Link::new(edge, graph.nodes(edge_id(edge)))));
        for_each_crossing(colours, area, |edge, ((x, y), _), _| {
            let root = self.forest.near_root(self.labels[y * colours.width + x]);
            self.forest.hold(root.node, edge_key(edge));
        });
        let buckets = Buckets::sort(std::slice::from_ref(waiting), &mut self.bucketed);
        self.forest.join_similar(&graph, &buckets);
        waiting.clear();
        self.forest.release(*first);
        if let Some(above) = self.levels.get_mut(level + 1) {
            above.waiting.append(&mut self.forest.waiting);
        }
    }

    /// Joins segments below the least size; returns labels and their number.
    pub(super) fn finish(&mut self, colours: &Colours, params: &FelzenszwalbParams) -> (Vec<u32>, u32) {
        let mut labels = std::mem::take(&mut self.labels);
        let graph = Graph { nodes: &labels[..], weights: colours.weights_of_image(), scale: params.scale };
        self.forest.join_small(&graph, params.min_size);
        let count = self.number_by_first_occurrence(&mut labels);
        (labels, count)
    }

    fn number_by_first_occurrence(&mut self, labels: &mut [u32]) -> u32 {
        let nodes = 0..self.forest.len() as u32;
        let roots: Vec<u32> = nodes.map(|node| self.forest.near_root(node).node).collect();
        let mut numbers = vec![UNSEEN; roots.len()];
        let mut count = 0;
        for label in labels {
            let number = &mut numbers[roots[*label as usize] as usize];
            if *number == UNSEEN {
                *number = count;
                count += 1;
            }
            *label = *number;
        }
        count
    }
}

/// Clears the bit of a direction where it leads from a segment to the same.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2"))]
fn drop_inner(asleep: &mut [u8], direction: u32, from: &[u32], to: &[u32]) {
    for ((asleep, from), to) in asleep.iter_mut().zip(from).zip(to) {
        *asleep &= !(u8::from(from == to) << direction);
    }
}

/// Calls `see` for every edge from a pixel of the area to one elsewhere in the image: with the
/// edge, both places (x, y), the first in the area, and whether the edge starts there.
fn for_each_crossing(
    colours: &Colours, area: &Area, mut see: impl FnMut(Edge, ((usize, usize), (usize, usize)), bool),
) {
    let (width, height) = (colours.width, colours.height);
    let weights = colours.weights_of_image();
    area.for_each_crossing((width, height), |from, to| {
        let leads = (from.1, from.0) < (to.1, to.0);
        let id = if leads { edge_between(from, to, width) } else { edge_between(to, from, width) };
        see(edge(key(weights.weight(id)), id), (from, to), leads);
    });
}

/// The edge between neighbours, in raster order.
fn edge_between((x, y): (usize, usize), (x1, y1): (usize, usize), width: usize) -> u32 {
    let direction = match (y1 - y, x1 as isize - x as isize) {
        (0, _) => 0,
        (_, 0) => 1,
        (_, 1) => 2,
        _ => 3,
    };
    new_id(direction, y * width + x)
}
