//! Prompts as the model was trained to read them: a region map of which only some patches are seen.
//!
//! A visible patch of ones says "inside", of zeros "outside"; everything else is masked and is what
//! the decoder predicts.
//! - **Clicks and scribbles.** The patches under them are visible. Where strokes of both signs meet
//!   in a patch, each of its pixels takes the sign of the nearest stroke.
//! - **Boxes.** Patches wholly outside are zeros; the patches inside stay masked.
//! - **A mask.** Patches that it fills or leaves empty are visible as such; those that its border
//!   crosses stay masked, so that the border is found anew.
//!
//! Boxes and masks could show nearly every patch. Training shows a quarter of them, chosen at random,
//! and an encoder that averages over patches is not at home far from that: [`MapRules`] limits them.

use super::check::common;
use super::{Mask, ObjectPrompts, Rect};

/// How many patches prompts may show, in one place.
#[derive(Clone, Debug, PartialEq)]
pub struct MapRules {
    /// Visible patches at most, as a share of all, when boxes and masks fill up; strokes are never
    /// left out. None is what the model was trained with, `1 − β_R`.
    pub visible_share: Option<f64>,
    /// Share of the patches outside a box that are taken next to it, where they say most about the
    /// object's size; the others are spread over the image, as in training.
    pub near_box: f64,
    /// Part of a patch that the width of a stroke must cover for the patch to count as under it.
    pub covered: f64,
    /// Whether a box without strokes or a mask shows its middle patch as inside.
    pub box_centre: bool,
}

impl Default for MapRules {
    fn default() -> Self {
        Self { visible_share: None, near_box: 0.5, covered: 0.5, box_centre: true }
    }
}

/// The model's grid on the image.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    /// Side of the square, pixels.
    pub(super) side: usize,
    /// Side of a patch, pixels.
    pub(super) patch: usize,
    /// Where the square lies in the working image.
    pub(super) area: Rect,
    /// Columns and rows of the working image.
    pub(super) image: (usize, usize),
}

impl Grid {
    /// Patches along a side.
    fn count(&self) -> usize {
        self.side / self.patch
    }

    /// The middle of a pixel of the square, in the working image.
    fn place(&self, x: usize, y: usize) -> [f32; 2] {
        let side = self.side as f32;
        let at = |i: usize, start: f32, len: f32| start + (i as f32 + 0.5) * len / side;
        [at(x, self.area.x0, self.area.width()), at(y, self.area.y0, self.area.height())]
    }

    /// The pixels of a patch, `(x, y)` in the square.
    fn pixels(&self, patch: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (p, n) = (self.patch, self.count());
        let (left, top) = (patch % n * p, patch / n * p);
        (0..p * p).map(move |i| (left + i % p, top + i / p))
    }

    /// A patch's rectangle in the working image.
    fn rect(&self, patch: usize) -> Rect {
        let n = self.count();
        let (w, h) = (self.area.width() / n as f32, self.area.height() / n as f32);
        let (x0, y0) = (self.area.x0 + (patch % n) as f32 * w, self.area.y0 + (patch / n) as f32 * h);
        Rect { x0, y0, x1: x0 + w, y1: y0 + h }
    }

    /// The patch under a place of the working image; none beyond the square.
    fn patch_at(&self, [x, y]: [f32; 2]) -> Option<usize> {
        let n = self.count() as f32;
        let (i, j) =
            ((x - self.area.x0) / self.area.width() * n, (y - self.area.y0) / self.area.height() * n);
        // A click on the last edge belongs to the last patch.
        let index = |v: f32| (-1e-3..=n + 1e-3).contains(&v).then(|| v.clamp(0.0, n - 1.0) as usize);
        Some(index(j)? * self.count() + index(i)?)
    }

    /// Working-image pixels a pixel of the square, the larger of across and down.
    fn pixel(&self) -> f32 {
        (self.area.width() / self.side as f32).max(self.area.height() / self.side as f32)
    }
}

/// A partly visible region map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RegionMap {
    /// `[S, S]` of 0 and 1; what stands in masked patches does not matter.
    pub(super) values: Vec<f32>,
    /// Visible patches, at least one.
    pub(super) visible: Vec<u32>,
    /// How far a pixel of a visible patch is certain, 0 to 1, `[S, S]`; 0 in masked patches.
    pub(super) certain: Vec<f32>,
}

/// A click or a segment of a scribble.
struct Stroke {
    from: [f32; 2],
    to: [f32; 2],
    radius: f32,
    positive: bool,
}

impl Stroke {
    /// How far a place is from the painted part; 0 within.
    fn distance(&self, [x, y]: [f32; 2]) -> f32 {
        let ([ax, ay], [bx, by]) = (self.from, self.to);
        let (dx, dy) = (bx - ax, by - ay);
        let length = dx * dx + dy * dy;
        let along =
            if length > 0.0 { (((x - ax) * dx + (y - ay) * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
        let (ox, oy) = (x - ax - along * dx, y - ay - along * dy);
        ((ox * ox + oy * oy).sqrt() - self.radius).max(0.0)
    }

    /// Places along its middle line, at most `step` apart.
    fn places(&self, step: f32) -> impl Iterator<Item = [f32; 2]> + '_ {
        let (dx, dy) = (self.to[0] - self.from[0], self.to[1] - self.from[1]);
        let count = ((dx * dx + dy * dy).sqrt() / step).ceil().clamp(1.0, 1e5) as usize;
        (0..=count).map(move |i| {
            let along = i as f32 / count as f32;
            [self.from[0] + along * dx, self.from[1] + along * dy]
        })
    }
}

/// Clicks and scribbles, in the order in which later ones count more; `step` is the shortest segment
/// worth keeping.
fn strokes(prompts: &ObjectPrompts, step: f32) -> Vec<Stroke> {
    let mut out = vec![];
    for scribble in &prompts.scribbles {
        let radius = scribble.width.map_or(0.0, |w| 0.5 * w);
        let points = thinned(&scribble.points, step);
        let segment = |from: [f32; 2], to: [f32; 2]| Stroke { from, to, radius, positive: scribble.positive };
        match points[..] {
            [only] => out.push(segment(only, only)),
            _ => out.extend(points.windows(2).map(|ends| segment(ends[0], ends[1]))),
        }
    }
    out.extend(prompts.clicks.iter().map(|click| {
        let at = [click.x, click.y];
        Stroke { from: at, to: at, radius: click.radius.unwrap_or(0.0), positive: click.positive }
    }));
    out
}

/// A line without the points that lie closer to the one before than `step`; the last one stays.
fn thinned(points: &[[f32; 2]], step: f32) -> Vec<[f32; 2]> {
    let mut out: Vec<[f32; 2]> = vec![];
    for (i, &point) in points.iter().enumerate() {
        let far = |last: &[f32; 2]| (point[0] - last[0]).hypot(point[1] - last[1]) >= step;
        if out.last().is_none_or(far) || i + 1 == points.len() {
            out.push(point);
        }
    }
    out
}

impl RegionMap {
    /// The map of one object's prompts, in coordinates of the working image. `trained` is the share
    /// of patches that the model saw in training.
    pub(super) fn new(prompts: &ObjectPrompts, grid: Grid, rules: &MapRules, trained: f64) -> Self {
        let patches = grid.count() * grid.count();
        let most = (patches as f64 * rules.visible_share.unwrap_or(trained)) as usize;
        let area = grid.side * grid.side;
        let (values, certain) = (vec![0.0; area], vec![0.0; area]);
        let map = Self { values, visible: vec![], certain };
        let strokes = strokes(prompts, 0.5 * grid.pixel());
        let boxed = common(&prompts.boxes);
        let mut drawing = Drawing { map, shown: vec![false; patches], grid, rules, boxed };
        drawing.strokes(&strokes);
        if let Some(mask) = &prompts.mask {
            drawing.mask(mask, most);
        }
        drawing.outside_boxes(most);
        drawing.never_nothing(prompts, &strokes);
        drawing.map
    }
}

/// What one object's prompts show to a model of `side` pixels and patches of `patch`, in coordinates
/// of that square: a map `[S, S]` of 0 and 1, and the visible patches of it, at least one. `trained` is
/// the share of patches that the model saw in training.
#[must_use]
pub fn shown_patches(
    prompts: &ObjectPrompts, side: usize, patch: usize, rules: &MapRules, trained: f64,
) -> (Vec<f32>, Vec<u32>) {
    let grid = Grid { side, patch, area: Rect::whole(side, side), image: (side, side) };
    let map = RegionMap::new(prompts, grid, rules, trained);
    (map.values, map.visible)
}

/// A map under way.
struct Drawing<'a> {
    map: RegionMap,
    shown: Vec<bool>,
    grid: Grid,
    rules: &'a MapRules,
    boxed: Option<Rect>,
}

impl Drawing<'_> {
    /// Makes a patch visible; each pixel gets the value and certainty that `pixel(place)` says.
    fn show(&mut self, patch: usize, pixel: impl Fn([f32; 2]) -> (bool, f32)) {
        if std::mem::replace(&mut self.shown[patch], true) {
            return;
        }
        self.map.visible.push(patch as u32);
        for (x, y) in self.grid.pixels(patch) {
            let place = self.grid.place(x, y);
            let outside = self.boxed.is_some_and(|b| !b.contains(place[0], place[1]));
            let (inside, certain) = if outside { (false, 1.0) } else { pixel(place) };
            self.map.values[y * self.grid.side + x] = f32::from(u8::from(inside));
            self.map.certain[y * self.grid.side + x] = certain;
        }
    }

    fn strokes(&mut self, strokes: &[Stroke]) {
        let reach = 0.5 * self.grid.patch as f32 * self.grid.pixel();
        for patch in self.under(strokes) {
            self.show(patch, |place| {
                let mut nearest = (f32::INFINITY, true);
                for stroke in strokes {
                    let distance = stroke.distance(place);
                    if distance <= nearest.0 {
                        nearest = (distance, stroke.positive);
                    }
                }
                let near = nearest.0 / reach;
                (nearest.1, (-near * near).exp())
            });
        }
    }

    /// Patches that the middle of a stroke runs through, and those that strokes cover enough of.
    fn under(&self, strokes: &[Stroke]) -> Vec<usize> {
        let grid = &self.grid;
        let mut touched = vec![false; self.shown.len()];
        for stroke in strokes {
            for place in stroke.places(grid.pixel()) {
                if let Some(patch) = grid.patch_at(place) {
                    touched[patch] = true;
                }
            }
        }
        let wide: Vec<&Stroke> = strokes.iter().filter(|s| s.radius > 0.0).collect();
        let needed = self.rules.covered * (grid.patch * grid.patch) as f64;
        let covered = |patch: usize| {
            let middle = grid.rect(patch);
            let middle = [0.5 * (middle.x0 + middle.x1), 0.5 * (middle.y0 + middle.y1)];
            let reach = grid.patch as f32 * grid.pixel();
            let near: Vec<&&Stroke> = wide.iter().filter(|s| s.distance(middle) <= reach).collect();
            let under = |place| near.iter().any(|s| s.distance(place) <= 0.0);
            !near.is_empty()
                && grid.pixels(patch).filter(|&(x, y)| under(grid.place(x, y))).count() as f64 >= needed
        };
        (0..touched.len()).filter(|&patch| touched[patch] || (!wide.is_empty() && covered(patch))).collect()
    }

    /// Uniform patches of a mask, as many of ones as of zeros while there are both.
    fn mask(&mut self, mask: &Mask, most: usize) {
        let (mut ones, mut zeros) = (vec![], vec![]);
        for patch in 0..self.shown.len() {
            match self.inside(mask, patch) {
                0 => zeros.push(patch),
                n if n == self.grid.patch * self.grid.patch => ones.push(patch),
                _ => {}
            }
        }
        for list in [&mut ones, &mut zeros] {
            list.retain(|&patch| !self.shown[patch] && self.in_image(patch));
            list.sort_by_key(|&patch| scattered(patch));
        }
        let room = most.saturating_sub(self.map.visible.len());
        let half = ones.len().min((room / 2).max(room.saturating_sub(zeros.len())));
        zeros.truncate(room - half);
        ones.truncate(half);
        for (list, inside) in [(ones, true), (zeros, false)] {
            list.into_iter().for_each(|patch| self.show(patch, |_| (inside, 1.0)));
        }
    }

    /// Pixels of a patch that a mask holds.
    fn inside(&self, mask: &Mask, patch: usize) -> usize {
        let grid = self.grid;
        grid.pixels(patch).filter(|&(x, y)| holds(mask, grid.image, grid.place(x, y))).count()
    }

    fn in_image(&self, patch: usize) -> bool {
        let (w, h) = self.grid.image;
        !self.grid.rect(patch).intersection(&Rect::whole(w, h)).is_empty()
    }

    /// Patches wholly outside the boxes as zeros: some of those next to them, others anywhere.
    fn outside_boxes(&mut self, most: usize) {
        let Some(inner) = self.boxed else { return };
        let outside = |patch: &usize| self.grid.rect(*patch).intersection(&inner).is_empty();
        let mut outside: Vec<usize> = (0..self.shown.len()).filter(outside).collect();
        outside.retain(|&patch| !self.shown[patch] && self.in_image(patch));
        let room = most.saturating_sub(self.map.visible.len()).min(outside.len());
        let near = (room as f64 * self.rules.near_box) as usize;
        let gap = |patch: &usize| {
            let rect = self.grid.rect(*patch);
            let between = |a0: f32, a1: f32, b0: f32, b1: f32| (b0 - a1).max(a0 - b1).max(0.0);
            let across = between(rect.x0, rect.x1, inner.x0, inner.x1) / rect.width();
            let down = between(rect.y0, rect.y1, inner.y0, inner.y1) / rect.height();
            across.hypot(down).ceil() as u32
        };
        outside.sort_by_key(|patch| (gap(patch), scattered(*patch)));
        outside[near..].sort_by_key(|&patch| scattered(patch));
        outside.truncate(room);
        outside.into_iter().for_each(|patch| self.show(patch, |_| (false, 1.0)));
    }

    /// The encoder needs a patch, and a box alone should say where something is.
    fn never_nothing(&mut self, prompts: &ObjectPrompts, strokes: &[Stroke]) {
        let nothing = self.map.visible.is_empty();
        if let Some(mask) = prompts.mask.as_ref().filter(|_| nothing) {
            // So small a mask that its border is everywhere: the fullest patch, as it is.
            let fullest = (0..self.shown.len()).max_by_key(|&patch| self.inside(mask, patch));
            let image = self.grid.image;
            self.show(fullest.unwrap_or(0), |place| (holds(mask, image, place), 1.0));
            return;
        }
        let alone = strokes.is_empty() && prompts.mask.is_none() && self.rules.box_centre;
        if !nothing && !alone {
            return;
        }
        let whole = Rect::whole(self.grid.image.0, self.grid.image.1);
        let target = self.boxed.unwrap_or(whole);
        let middle = [0.5 * (target.x0 + target.x1), 0.5 * (target.y0 + target.y1)];
        let patch = self.grid.patch_at(middle).unwrap_or(0);
        // Nothing is certain about it: what the model says around it counts.
        self.show(patch, |_| (true, 0.0));
    }
}

/// Whether a mask that is stretched over the image holds a place of the working image.
fn holds(mask: &Mask, (width, height): (usize, usize), [x, y]: [f32; 2]) -> bool {
    if x < 0.0 || y < 0.0 {
        return false;
    }
    let (across, down) = (mask.width() as f32 / width as f32, mask.height() as f32 / height as f32);
    mask.get((x * across) as usize, (y * down) as usize)
}

/// A fixed order without a pattern, so that a few patches are spread over all.
fn scattered(patch: usize) -> u32 {
    let x = (patch as u32 + 1).wrapping_mul(0x9E37_79B9);
    (x ^ (x >> 15)).wrapping_mul(0x85EB_CA6B)
}

#[cfg(test)]
#[path = "region_map_tests.rs"]
mod tests;
