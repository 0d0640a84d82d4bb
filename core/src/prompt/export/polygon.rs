//! The outline of a mask along the sides of its pixels.

use super::super::Mask;
use super::super::parts::Parts;
use super::simplify::simplify;

/// A closed line, without its first point repeated at the end.
type Ring = Vec<[f32; 2]>;

/// A connected part of a mask (pixels that share sides), in pixels: the corner of the image is (0, 0).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polygon {
    /// Its outline, clockwise as one sees it.
    pub outer: Ring,
    /// The outlines of its holes, counter-clockwise.
    pub holes: Vec<Ring>,
}

impl Polygon {
    /// The outline and the holes.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        std::iter::once(&self.outer).chain(&self.holes)
    }

    /// One ring for formats without holes: a line leads to each hole and back, so that by any
    /// filling rule the same pixels are inside.
    #[must_use]
    pub fn bridged(&self) -> Ring {
        let mut ring = self.outer.clone();
        for hole in &self.holes {
            let Some(&first) = hole.first() else { continue };
            let at = nearest(&ring, first);
            let back = [first, ring[at]];
            ring.splice(at + 1..at + 1, hole.iter().copied().chain(back));
        }
        ring
    }
}

fn nearest(ring: &[[f32; 2]], [x, y]: [f32; 2]) -> usize {
    let distance = |point: &[f32; 2]| (point[0] - x).powi(2) + (point[1] - y).powi(2);
    let best = ring.iter().enumerate().min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)));
    best.map_or(0, |(at, _)| at)
}

/// The outlines of a mask, by the even-odd rule exactly its pixels when `tolerance` is 0; else
/// with as few corners as stay within `tolerance` pixels of it (Douglas and Peucker 1973).
#[must_use]
pub fn polygons(mask: &Mask, tolerance: f32) -> Vec<Polygon> {
    let mut parts = Parts::new(mask.data(), mask.width(), 1, false);
    let mut place = vec![usize::MAX; parts.groups()];
    let mut polygons: Vec<Polygon> = Vec::new();
    let mut tracer = Tracer::new(mask);
    for y in 0..mask.height() {
        for x in tracer.starts(y) {
            let Some(ring) = tracer.trace(x, y) else { continue };
            let group = parts.group_at(x, y);
            let outer = doubled_area(&ring) > 0.0;
            let ring = simplify(ring, tolerance);
            // A part's outline starts in its first row, and so comes before its holes.
            match polygons.get_mut(place[group]) {
                Some(polygon) => polygon.holes.push(ring),
                None if outer => {
                    place[group] = polygons.len();
                    polygons.push(Polygon { outer: ring, holes: vec![] });
                }
                None => {}
            }
        }
    }
    polygons
}

/// Positive for a ring that runs clockwise as one sees it.
pub(super) fn doubled_area(ring: &[[f32; 2]]) -> f64 {
    let next = ring.iter().cycle().skip(1);
    let cross = |(a, b): (&[f32; 2], &[f32; 2])| {
        f64::from(a[0]) * f64::from(b[1]) - f64::from(b[0]) * f64::from(a[1])
    };
    ring.iter().zip(next).map(cross).sum()
}

/// Directions, clockwise.
const STEPS: [(isize, isize); 4] = [(1, 0), (0, 1), (-1, 0), (0, -1)];

/// Walks around parts with the inside on the right hand.
struct Tracer<'a> {
    mask: &'a Mask,
    /// Upper sides of pixels that are part of a ring already, a bit each.
    seen: Vec<u64>,
}

impl<'a> Tracer<'a> {
    fn new(mask: &'a Mask) -> Self {
        Self { mask, seen: vec![0; (mask.width() * mask.height()).div_ceil(64)] }
    }

    /// Whether a pixel is inside; beyond the image none is.
    fn inside(&self, x: isize, y: isize) -> bool {
        x >= 0 && y >= 0 && self.mask.get(x as usize, y as usize)
    }

    /// Columns of a row where an upper side begins: every ring has one.
    fn starts(&self, y: usize) -> Vec<usize> {
        let width = self.mask.width();
        let line = &self.mask.data()[y * width..(y + 1) * width];
        let above = y.checked_sub(1).map(|y| &self.mask.data()[y * width..(y + 1) * width]);
        let open = |x: usize| line[x] != 0 && above.is_none_or(|above| above[x] == 0);
        (0..width).filter(|&x| open(x) && (x == 0 || !open(x - 1))).collect()
    }

    /// The ring through the upper side of an inside pixel, if it is new.
    fn trace(&mut self, x: usize, y: usize) -> Option<Ring> {
        if self.mark(x, y) {
            return None;
        }
        let start = (x as isize, y as isize);
        let (mut at, mut heading) = ((start.0 + 1, start.1), 0);
        let mut ring = Ring::new();
        loop {
            let turned = self.turn(at, heading);
            if turned != heading {
                ring.push([at.0 as f32, at.1 as f32]);
            }
            heading = turned;
            if at == start && heading == 0 {
                return Some(ring);
            }
            if heading == 0 {
                self.mark(at.0 as usize, at.1 as usize);
            }
            at = (at.0 + STEPS[heading].0, at.1 + STEPS[heading].1);
        }
    }

    /// The next heading at a corner. Pixels that only share a corner are kept apart.
    fn turn(&self, (x, y): (isize, isize), heading: usize) -> usize {
        // The pixels ahead to the left and to the right.
        let (left, right) = match heading {
            0 => ((x, y - 1), (x, y)),
            1 => ((x, y), (x - 1, y)),
            2 => ((x - 1, y), (x - 1, y - 1)),
            _ => ((x - 1, y - 1), (x, y - 1)),
        };
        if !self.inside(right.0, right.1) {
            (heading + 1) % 4
        } else if self.inside(left.0, left.1) {
            (heading + 3) % 4
        } else {
            heading
        }
    }

    /// Notes an upper side; whether it had been noted before.
    fn mark(&mut self, x: usize, y: usize) -> bool {
        let at = y * self.mask.width() + x;
        let bit = 1 << (at % 64);
        let seen = self.seen[at / 64] & bit != 0;
        self.seen[at / 64] |= bit;
        seen
    }
}
