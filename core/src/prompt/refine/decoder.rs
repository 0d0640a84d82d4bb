//! What prompts make of what the [glance](super::glance) saw: a small convolutional network, two scales
//! down and two up, that gives each cell log odds of the thing that is meant. It is trained with the
//! glance, on prompts that correct what it makes of those before (docs/refinement.md).

use super::RefineCache;
use super::closer::Part;
use super::convolution::{Layer, Plane, Shape, Then};
use super::glance::{GRID, KIN, Seen, UP};
use super::solve::Earlier;
use crate::cpu::awake::during;
use crate::cpu::math::{Real, exp_negative_f32};

/// Maps of the prompts beside what the glance saw.
const MAPS: usize = 12;
/// Channels on its three scales.
const INNER: [usize; 3] = [24, 48, 80];
/// Channels of the glance's finest scale.
const FINEST: usize = UP[2].1;
/// Squared distance beyond which nothing is kin.
const FARTHEST: f32 = 16.0;
/// How many cells around a prompt are near it.
const NEAR: f32 = 1.5;

/// All layers, in the order in which they are run.
pub(super) fn shapes() -> Vec<Shape> {
    let [a, b, c] = INNER;
    let [(_, coarse), (_, middle), _] = UP;
    vec![
        Shape::dense(1, 1, FINEST + MAPS, a),
        Shape::dense(3, 1, a, a),
        Shape::dense(3, 2, a, b),
        Shape::dense(1, 1, middle, b),
        Shape::dense(3, 1, b, b),
        Shape::dense(3, 2, b, c),
        Shape::dense(1, 1, coarse, c),
        Shape::dense(1, 1, 3 * FINEST, c),
        Shape::dense(3, 1, c, c),
        Shape::dense(3, 1, c, c),
        Shape::dense(1, 1, c, b),
        Shape::dense(3, 1, b, b),
        Shape::dense(1, 1, b, a),
        Shape::dense(3, 1, a, a),
        Shape::dense(1, 1, a, 1),
    ]
}

/// The network.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Decoder {
    pub(super) layers: Vec<Layer>,
}

/// Prompts in cells of the grid.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Cells under positive and under negative prompts.
    pub(super) marks: [Vec<usize>; 2],
    /// Left, upper, right and lower side of the box.
    pub(super) boxed: Option<[f32; 4]>,
    /// What came of the prompts before: 1 inside, -1 outside; empty where there is nothing.
    pub(super) earlier: Vec<f32>,
}

/// Where the grid lies: on the whole image or a part of it.
pub(super) struct Place {
    /// Left and upper side, in pixels of the reduced image.
    low: [f32; 2],
    size: [f32; 2],
}

impl Place {
    pub(super) fn new(cache: &RefineCache, part: Option<Part>) -> Self {
        let rows = cache.superpixels.labels.len() / cache.columns.max(1);
        let whole = Self { low: [0.0; 2], size: [cache.columns, rows].map(|side| side.max(1) as f32) };
        part.map_or(whole, |part| Self {
            low: [part.x, part.y].map(|at| at as f32 / cache.factor as f32),
            size: [part.width, part.height].map(|side| side.max(1) as f32 / cache.factor as f32),
        })
    }

    /// A place of the reduced image, in parts of the grid's sides.
    pub(super) fn of(&self, at: [f32; 2]) -> [f32; 2] {
        std::array::from_fn(|side| (at[side] - self.low[side]) / self.size[side])
    }

    /// The middles of superpixels, in parts of the grid's sides.
    pub(super) fn patches<'a>(&'a self, cache: &'a RefineCache) -> impl Iterator<Item = [f32; 2]> + 'a {
        cache.superpixels.patches.iter().map(|patch| self.of(patch.centre))
    }

    /// The middle of a cell, in pixels of the reduced image.
    fn middle(&self, cell: usize) -> [f32; 2] {
        let cells = [cell % GRID, cell / GRID];
        let part = |side: usize| (cells[side] as f32 + 0.5) / GRID as f32;
        [0, 1].map(|side| self.low[side] + part(side) * self.size[side])
    }

    /// The cell at a place of the reduced image; none beyond the grid.
    fn cell(&self, at: [f32; 2]) -> Option<usize> {
        let [x, y] = self.of(at).map(|part| part * GRID as f32);
        let inside = |at: f32| at >= 0.0 && at < GRID as f32;
        (inside(x) && inside(y)).then(|| y as usize * GRID + x as usize)
    }
}

impl Asked {
    /// Of superpixels under positive and negative prompts, the middle and half the size of a box, in
    /// pixels of the reduced image, and what came before.
    pub(super) fn new(
        cache: &RefineCache, place: &Place, marks: [&[u32]; 2], frame: Option<[[f32; 2]; 2]>,
        earlier: Option<&Earlier>,
    ) -> Self {
        let patches = &cache.superpixels.patches;
        let marks = marks.map(|marked| {
            let cell = |&at: &u32| place.cell(patches[at as usize].centre);
            let mut cells: Vec<usize> = marked.iter().filter_map(cell).collect();
            cells.sort_unstable();
            cells.dedup();
            cells
        });
        let boxed = frame.map(|[middle, half]| {
            let corner = |sign: f32| place.of([0, 1].map(|side: usize| middle[side] + sign * half[side]));
            let [[x0, y0], [x1, y1]] = [-1.0, 1.0].map(corner);
            [x0, y0, x1, y1].map(|part| part * GRID as f32)
        });
        let labels = &cache.superpixels.labels;
        let before = |earlier: &Earlier| {
            let share = |cell: usize| {
                let [x, y] = place.middle(cell).map(|at| at.max(0.0) as usize);
                let at = y * cache.columns + x.min(cache.columns.max(1) - 1);
                labels.get(at).map_or(0.0, |&label| earlier.share(label as usize))
            };
            (0..GRID * GRID).map(|cell| 2.0 * share(cell) - 1.0).collect()
        };
        Self { marks, boxed, earlier: earlier.map(before).unwrap_or_default() }
    }

    /// How far a cell is from the middle of the box, across and down, 1 at its sides; none beyond it,
    /// but for the two distances.
    fn in_box(&self, cell: usize) -> [f32; 4] {
        let Some([x0, y0, x1, y1]) = self.boxed else { return [0.0; 4] };
        let (x, y) = ((cell % GRID) as f32 + 0.5, (cell / GRID) as f32 + 0.5);
        let away = |at: f32, low: f32, high: f32| {
            (2.0 * (at - low) / (high - low).larger(1.0) - 1.0).abs().smaller(2.0)
        };
        let (u, v) = (away(x, x0, x1), away(y, y0, y1));
        let inside = f32::from(u8::from(u <= 1.0 && v <= 1.0));
        [inside, u, v, 1.0]
    }

    /// How near the nearest marks of a sign are, by place (twice) and by kin.
    fn nearness(&self, seen: &Seen, sign: usize, cell: usize) -> [f32; 3] {
        let marks = &self.marks[sign];
        if marks.is_empty() {
            return [0.0; 3];
        }
        let (x, y) = ((cell % GRID) as f32, (cell / GRID) as f32);
        let (mut least, mut kin) = (f32::INFINITY, FARTHEST);
        let here: &[f32; KIN] = seen.kin(cell);
        for &mark in marks {
            let (dx, dy) = ((mark % GRID) as f32 - x, (mark / GRID) as f32 - y);
            least = (dx * dx + dy * dy).smaller(least);
            let there = seen.kin(mark);
            kin = here.iter().zip(there).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().smaller(kin);
        }
        let log = (least.sqrt().smaller(GRID as f32) + 1.0).ln();
        [exp_negative_f32(-least / (NEAR * NEAR)), 0.5 * log - 1.0, 1.0 - 4.0 / FARTHEST * kin]
    }

    /// What the first layer sees: what the glance saw and the maps, cell by cell.
    fn plane(&self, seen: &Seen) -> Plane {
        let channels = FINEST + MAPS;
        let mut values = Vec::with_capacity(GRID * GRID * channels);
        for cell in 0..GRID * GRID {
            values.extend_from_slice(seen.finest(cell));
            values.extend(self.nearness(seen, 0, cell));
            values.extend(self.nearness(seen, 1, cell));
            values.extend(self.in_box(cell));
            let earlier = self.earlier.get(cell).copied().unwrap_or(0.0);
            values.extend([earlier, earlier.abs()]);
        }
        Plane { side: GRID, channels, values }
    }

    /// Means of what the glance saw under marks of either sign and in the box.
    fn told(&self, seen: &Seen) -> Plane {
        let mut values = vec![0.0; 3 * FINEST];
        let boxed = (0..GRID * GRID).filter(|&cell| self.in_box(cell)[0] > 0.0).collect();
        for (cells, mean) in
            [&self.marks[0], &self.marks[1], &boxed].into_iter().zip(values.chunks_exact_mut(FINEST))
        {
            for &cell in cells {
                mean.iter_mut().zip(seen.finest(cell)).for_each(|(sum, value)| *sum += value);
            }
            mean.iter_mut().for_each(|sum| *sum /= cells.len().max(1) as f32);
        }
        Plane { side: 1, channels: 3 * FINEST, values }
    }
}

impl Decoder {
    /// Log odds of every cell.
    pub(super) fn answer(&self, seen: &Seen, asked: &Asked) -> Vec<f32> {
        during(|| self.odds(seen, asked))
    }

    fn odds(&self, seen: &Seen, asked: &Asked) -> Vec<f32> {
        let mut layers = self.layers.iter();
        let mut next =
            |x: &Plane, then: Then<'_>| layers.next().map_or_else(Plane::default, |layer| layer.run(x, then));
        let [coarse, middle, _] = &seen.ups;
        let x = next(&asked.plane(seen), Then::Relu);
        let fine = next(&x, Then::AddRelu(&x));
        let x = next(&fine, Then::Keep);
        let x = next(middle, Then::AddRelu(&x));
        let middle = next(&x, Then::AddRelu(&x));
        let x = next(&middle, Then::Keep);
        let (x, told) = (next(coarse, Then::Add(&x)), next(&asked.told(seen), Then::Keep));
        let mut x = x.plus(&told).relu();
        for _ in 0..2 {
            x = next(&x, Then::AddRelu(&x));
        }
        for finer in [&middle, &fine] {
            let above = next(&x, Then::Keep).twice();
            x = next(&above.plus(finer).relu(), Then::Relu);
        }
        next(&x, Then::Keep).values
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::super::{RgbView, WorkingImage};
    use super::*;

    const SIDE: usize = 96;

    fn cache() -> RefineCache {
        let data: Vec<u8> = (0..SIDE * SIDE * 3).map(|at| (at * 7 % 251) as u8).collect();
        let image = WorkingImage::from_rgb(RgbView::new(SIDE, SIDE, &data).unwrap()).unwrap();
        RefineCache::new(&image, None)
    }

    #[test]
    fn prompts_lie_in_cells_of_the_whole_and_of_a_part() {
        let cache = cache();
        let patch = cache.patch_at(70, 30) as u32;
        let [x, y] = cache.superpixels.patches[patch as usize].centre;
        let frame = Some([[48.0, 24.0], [24.0, 12.0]]);
        let asked =
            |part: Option<Part>| Asked::new(&cache, &Place::new(&cache, part), [&[patch], &[]], frame, None);
        // Two pixels a cell.
        let whole = asked(None);
        assert_eq!(whole.marks, [vec![(y / 2.0) as usize * GRID + (x / 2.0) as usize], Vec::new()]);
        assert_eq!(whole.boxed, Some([12.0, 6.0, 36.0, 18.0]));
        let right = Part { x: SIDE / 2, y: 0, width: SIDE / 2, height: SIDE };
        let part = asked(Some(right));
        assert_eq!(part.marks[0], [(y / 2.0) as usize * GRID + (x - 48.0) as usize]);
        assert_eq!(part.boxed, Some([-24.0, 6.0, 24.0, 18.0]));
        let elsewhere = asked(Some(Part { x: 0, ..right }));
        assert!(elsewhere.marks.iter().all(Vec::is_empty));
    }

    #[test]
    fn what_came_before_is_seen_where_it_lies() {
        let cache = cache();
        let left = cache.superpixels.patches.iter().map(|patch| patch.centre[0] < 48.0).collect();
        let earlier = Earlier { labels: left, part: None, whole: std::sync::Arc::default() };
        let asked =
            |part| Asked::new(&cache, &Place::new(&cache, part), [&[], &[]], None, Some(&earlier)).earlier;
        let (whole, right) = (asked(None), asked(Some(Part { x: 60, y: 0, width: 36, height: SIDE })));
        assert_eq!((whole[5 * GRID + 2], whole[5 * GRID + GRID - 3]), (1.0, -1.0));
        assert_eq!(right, [-1.0; GRID * GRID]);
    }

    #[test]
    fn a_box_is_one_inside_and_tells_how_far_its_middle_is() {
        let boxed = Asked { boxed: Some([10.0, 20.0, 30.0, 30.0]), ..Asked::default() };
        let near = boxed.in_box(25 * GRID + 20);
        let off = near.iter().zip([1.0, 0.05, 0.1, 1.0]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-6, "{near:?}");
        let [inside, u, v, on] = boxed.in_box(2 * GRID + 47);
        assert_eq!((inside, u, v, on), (0.0, 2.0, 2.0, 1.0));
        assert_eq!(Asked::default().in_box(7), [0.0; 4]);
    }
}
