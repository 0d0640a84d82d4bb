//! From the segments of tiles to those of the image.

use super::edges::{Edge, edge, edge_id, edge_key, key, new_id};
use super::forest::{Forest, Graph, NONE, Segment};
use super::order::Buckets;
use super::smoothing::{Colours, Weights};
use super::tiles::Area;

const UNSEEN: u32 = u32::MAX;

/// What the tiles leave to be decided, at one scale.
#[derive(Debug, Default)]
pub(super) struct Merger {
    /// `[height, width]`, the segment that the pixel belongs to.
    labels: Vec<u32>,
    /// Its nodes are the segments that the tiles have found.
    forest: Forest,
    /// The number of each root of a tile.
    numbers: Vec<u32>,
}

impl Merger {
    pub(super) fn reset(&mut self, pixels: usize, scale: f64) {
        self.labels.clear();
        self.labels.resize(pixels, 0);
        self.forest.reset(0, scale, &[]);
        self.forest.asleep.resize(pixels, 0);
    }

    /// Keeps the tile's forest from deciding what depends on edges that leave it.
    pub(super) fn hold_borders(&mut self, tile: &mut Forest, colours: &Colours, area: &Area) {
        let (width, height) = (colours.width, colours.height);
        let weights = colours.weights(Area { x: 0, y: 0, width, height });
        area.for_each_crossing((width, height), |(x, y), (x1, y1)| {
            let inside = (y - area.y) * area.width + x - area.x;
            let (first, second) = if (y, x) < (y1, x1) { ((x, y), (x1, y1)) } else { ((x1, y1), (x, y)) };
            let id = edge_between(first, second, width);
            let key = key(weights.weight(id));
            tile.hold(inside as u32, key);
            if first == (x, y) {
                self.forest.waiting.push(edge(key, id));
            }
        });
    }

    /// Takes over the segments of a tile.
    pub(super) fn add(&mut self, tile: &mut Forest, weights: &Weights, width: usize) {
        let area = &weights.area;
        self.numbers.clear();
        self.numbers.resize(area.width * area.height, UNSEEN);
        for y in 0..area.height {
            let to = (area.y + y) * width + area.x;
            let from = y * area.width;
            self.forest.asleep[to..to + area.width].copy_from_slice(&tile.asleep[from..from + area.width]);
            for x in 0..area.width {
                self.labels[to + x] = self.number(tile, (from + x) as u32, weights);
            }
        }
        let in_image = |&found: &Edge| edge(edge_key(found), weights.in_image(edge_id(found)));
        self.forest.refused.extend(tile.refused.iter().map(in_image));
        self.forest.waiting.extend(tile.waiting.iter().map(in_image));
    }

    fn number(&mut self, tile: &mut Forest, pixel: u32, weights: &Weights) -> u32 {
        let root = tile.near_root(pixel);
        let number = &mut self.numbers[root.node as usize];
        if *number == UNSEEN {
            let segment = tile.segment(root);
            let heaviest = if segment.heaviest == NONE { NONE } else { weights.in_image(segment.heaviest) };
            *number = self.forest.add(Segment { heaviest, hold: NONE, ..segment });
        }
        *number
    }

    /// Decides what waits, then joins segments below `min_size`; returns labels and their number.
    pub(super) fn finish(&mut self, colours: &Colours, scale: f64, min_size: usize) -> (Vec<u32>, u32) {
        let mut labels = std::mem::take(&mut self.labels);
        let area = Area { x: 0, y: 0, width: colours.width, height: colours.height };
        let graph = Graph { nodes: &labels[..], weights: colours.weights(area), scale };
        let waiting = std::mem::take(&mut self.forest.waiting);
        if !waiting.is_empty() {
            let mut bucketed = Vec::new();
            let buckets = Buckets::sort(&[waiting], &mut bucketed);
            self.forest.join_similar(&graph, &buckets);
        }
        self.forest.join_small(&graph, min_size);
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
