//! What the prompts fix: pixels under positive discs and scribbles are inside, those under negative
//! ones outside, and so is everything outside a box.

use super::super::{BoxPrompt, ObjectPrompts};

/// What is known of a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Nothing.
    Free,
    /// It belongs to the object.
    Inside,
    /// It does not.
    Outside,
}

/// Radius of a click without one, as a part of the longer side.
const CLICK_RADIUS: f32 = 0.005;

/// The prompts, drawn.
pub(super) struct Constraints {
    /// `[height, width]` in raster order.
    pub(super) map: Vec<Known>,
    /// Pixels under a click or a scribble, maybe repeatedly.
    pub(super) painted: Vec<u32>,
    /// Where in `painted` the newest click begins, or the newest scribble without clicks.
    pub(super) newest: usize,
    /// Whether there is a box.
    pub(super) boxed: bool,
    width: usize,
    height: usize,
}

impl Constraints {
    /// Boxes first, then scribbles, then clicks, each over what was drawn before: a click is the
    /// most deliberate.
    pub(super) fn new(prompts: &ObjectPrompts, width: usize, height: usize) -> Self {
        let map = vec![Known::Free; width * height];
        let mut drawn = Self { map, painted: Vec::new(), newest: 0, boxed: false, width, height };
        drawn.draw_boxes(&prompts.boxes);
        let radius = (CLICK_RADIUS * width.max(height) as f32).max(1.0);
        for scribble in &prompts.scribbles {
            drawn.newest = drawn.painted.len();
            let radius = scribble.width.map_or(radius, |width| 0.5 * width);
            if let [only] = scribble.points[..] {
                drawn.draw_capsule(only, only, radius, scribble.positive);
            }
            for ends in scribble.points.windows(2) {
                drawn.draw_capsule(ends[0], ends[1], radius, scribble.positive);
            }
        }
        for click in &prompts.clicks {
            drawn.newest = drawn.painted.len();
            let at = [click.x, click.y];
            drawn.draw_capsule(at, at, click.radius.unwrap_or(radius), click.positive);
        }
        drawn
    }

    /// Whether anything is inside for certain.
    pub(super) fn marked(&self) -> bool {
        self.painted.iter().any(|&at| self.map[at as usize] == Known::Inside)
    }

    /// Whether any pixel of a row from `start` up to `end` is `known`.
    pub(super) fn any(&self, row: usize, start: usize, end: usize, known: Known) -> bool {
        self.map[row * self.width + start..row * self.width + end].contains(&known)
    }

    fn draw_boxes(&mut self, boxes: &[BoxPrompt]) {
        let finite = |b: &&BoxPrompt| [b.x0, b.y0, b.x1, b.y1].iter().all(|side| side.is_finite());
        let boxes: Vec<&BoxPrompt> = boxes.iter().filter(finite).collect();
        self.boxed = !boxes.is_empty();
        let (mut columns, mut rows) = ((0, self.width), (0, self.height));
        for b in boxes {
            let (left, right) = centres(b.x0, b.x1, self.width);
            let (top, bottom) = centres(b.y0, b.y1, self.height);
            columns = (columns.0.max(left), columns.1.min(right).max(columns.0));
            rows = (rows.0.max(top), rows.1.min(bottom).max(rows.0));
        }
        for (row, line) in self.map.chunks_exact_mut(self.width.max(1)).enumerate() {
            if !(rows.0..rows.1).contains(&row) {
                line.fill(Known::Outside);
                continue;
            }
            line[..columns.0.min(columns.1)].fill(Known::Outside);
            line[columns.1..].fill(Known::Outside);
        }
    }

    /// All pixels whose centre is within `radius` of the line between two points, and those that
    /// hold its ends.
    fn draw_capsule(&mut self, from: [f32; 2], to: [f32; 2], radius: f32, positive: bool) {
        if ![from[0], from[1], to[0], to[1], radius].iter().all(|value| value.is_finite()) {
            return;
        }
        let known = if positive { Known::Inside } else { Known::Outside };
        let radius = radius.max(0.0);
        let (left, right) =
            centres(from[0].min(to[0]) - radius, from[0].max(to[0]) + radius + 0.001, self.width);
        let (top, bottom) =
            centres(from[1].min(to[1]) - radius, from[1].max(to[1]) + radius + 0.001, self.height);
        for row in top..bottom {
            for column in left..right {
                let centre = [column as f32 + 0.5, row as f32 + 0.5];
                if distance2_to_line(centre, from, to) <= radius * radius {
                    self.paint(column, row, known);
                }
            }
        }
        for [x, y] in [from, to] {
            if x >= 0.0 && y >= 0.0 && (x as usize) < self.width && (y as usize) < self.height {
                self.paint(x as usize, y as usize, known);
            }
        }
    }

    fn paint(&mut self, column: usize, row: usize, known: Known) {
        let at = row * self.width + column;
        self.map[at] = known;
        self.painted.push(at as u32);
    }
}

/// Pixels whose centre is from `a` up to `b`, in either order.
fn centres(a: f32, b: f32, side: usize) -> (usize, usize) {
    let first = |edge: f32| ((edge - 0.5).ceil().max(0.0) as usize).min(side);
    (first(a.min(b)), first(a.max(b)))
}

fn distance2_to_line(point: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let along = [to[0] - from[0], to[1] - from[1]];
    let offset = [point[0] - from[0], point[1] - from[1]];
    let length2 = along[0] * along[0] + along[1] * along[1];
    let dot = offset[0] * along[0] + offset[1] * along[1];
    let place = if length2 > 0.0 { (dot / length2).clamp(0.0, 1.0) } else { 0.0 };
    let rest = [offset[0] - place * along[0], offset[1] - place * along[1]];
    rest[0] * rest[0] + rest[1] * rest[1]
}
