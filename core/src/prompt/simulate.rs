//! Prompts as a person would give them, made from a known mask: for tuning a model on prompts and
//! for measuring it.

use rand::Rng;

use super::distance::squared_distances;
use super::{BoxPrompt, Click, Mask, ObjectPrompts, Scribble};

/// What a pixel of the truth says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Belongs to something else.
    Outside,
    /// Belongs to the object.
    Inside,
    /// Is not judged, e.g. a blurred border.
    Ignored,
}

/// The next click of the number-of-clicks protocol: in the middle of the largest wrong part, which
/// is the wrong pixel farthest from everything right (and from the image's border). Positive where
/// the object was missed. `None` when no judged pixel is wrong.
///
/// `truth` and `predicted` are `[height, width]`; the click lies in the middle of its pixel.
#[must_use]
pub fn next_click(truth: &[Judged], predicted: &[u8], width: usize, height: usize) -> Option<Click> {
    let wrong = |judged: Judged, value: u8| -> Vec<bool> {
        truth.iter().zip(predicted).map(|(&t, &p)| t == judged && p == value).collect()
    };
    let missed = deepest(&wrong(Judged::Inside, 0), width, height);
    let extra = deepest(&wrong(Judged::Outside, 1), width, height);
    let (at, positive) = match (missed, extra) {
        (Some((depth, at)), Some((other, _))) if depth >= other => (at, true),
        (_, Some((_, at))) => (at, false),
        (Some((_, at)), None) => (at, true),
        (None, None) => return None,
    };
    Some(click_at(at, width, positive))
}

/// The largest squared distance to the outside of a set, and where it is; none in an empty set.
fn deepest(set: &[bool], width: usize, height: usize) -> Option<(f32, usize)> {
    let distances = squared_distances(set, width, height);
    let (at, &depth) = distances.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    (depth > 0.0).then_some((depth, at))
}

fn click_at(at: usize, width: usize, positive: bool) -> Click {
    Click { x: (at % width) as f32 + 0.5, y: (at / width) as f32 + 0.5, positive, radius: None }
}

/// Draws prompts of one object, as varied as those of people: clicks in the middle and near the
/// border, wrong-side clicks around it, loose boxes, scribbles, and earlier results to correct.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulator {
    /// Chance that the object is given by a box.
    pub box_share: f64,
    /// Chance that it is given by a scribble; else it is given by clicks.
    pub scribble_share: f64,
    /// Chance that an earlier, degraded mask comes with the prompts.
    pub mask_share: f64,
    /// Most further clicks, of either sign.
    pub further_clicks: usize,
    /// Most that a side of a box moves, as a share of the box.
    pub box_jitter: f64,
}

impl Default for Simulator {
    fn default() -> Self {
        Self { box_share: 0.25, scribble_share: 0.1, mask_share: 0.1, further_clicks: 4, box_jitter: 0.1 }
    }
}

impl Simulator {
    /// Prompts for the object `mask`; none for an empty mask.
    pub fn draw(&self, mask: &Mask, rng: &mut impl Rng) -> Option<ObjectPrompts> {
        let object = Shape::new(mask)?;
        let mut prompts = ObjectPrompts::default();
        let kind = rng.random::<f64>();
        if kind < self.box_share {
            prompts.boxes.push(object.loose_box(self.box_jitter, rng));
        } else if kind < self.box_share + self.scribble_share {
            prompts.scribbles.push(object.scribble(rng));
        } else {
            prompts.clicks.push(object.first_click(rng));
        }
        // Most prompts are few: each further click is half as likely as the one before it.
        let mut further = 0;
        while further < self.further_clicks && rng.random_bool(0.5) {
            prompts.clicks.push(object.further_click(rng));
            further += 1;
        }
        if rng.random_bool(self.mask_share) {
            prompts.mask = object.degraded(rng);
        }
        Some(prompts)
    }
}

/// An object's mask with the distances that prompts are drawn by.
struct Shape<'a> {
    mask: &'a Mask,
    /// Squared distance to the outside.
    depth: Vec<f32>,
    deepest: f32,
}

impl<'a> Shape<'a> {
    fn new(mask: &'a Mask) -> Option<Self> {
        let inside: Vec<bool> = mask.data().iter().map(|&v| v != 0).collect();
        let depth = squared_distances(&inside, mask.width(), mask.height());
        let deepest = depth.iter().copied().fold(0.0, f32::max);
        (deepest > 0.0).then_some(Self { mask, depth, deepest })
    }

    /// A pixel for which `fits` holds, drawn evenly among them.
    fn pick(&self, rng: &mut impl Rng, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let places: Vec<usize> = (0..self.depth.len()).filter(|&at| fits(at)).collect();
        (!places.is_empty()).then(|| places[rng.random_range(0..places.len())])
    }

    /// Somewhere well inside: people aim at the middle, and miss it.
    fn first_click(&self, rng: &mut impl Rng) -> Click {
        let share: f32 = rng.random_range(0.2..0.95);
        let at = self.pick(rng, |at| self.depth[at] >= share * share * self.deepest).unwrap_or(0);
        click_at(at, self.mask.width(), true)
    }

    /// Anywhere inside, or outside: half of those outside lie close to the object.
    fn further_click(&self, rng: &mut impl Rng) -> Click {
        let width = self.mask.width();
        if rng.random_bool(0.5) {
            return self.first_click(rng);
        }
        let near = rng.random_bool(0.5);
        let hull = self.bounds(0.15);
        let outside = |at: usize| self.depth[at] == 0.0;
        let close = |at: usize| outside(at) && hull.contains(at % width, at / width);
        let at = if near { self.pick(rng, close) } else { None };
        match at.or_else(|| self.pick(rng, outside)) {
            Some(at) => click_at(at, width, false),
            None => self.first_click(rng),
        }
    }

    /// The bounding box, larger by a share on each side.
    fn bounds(&self, margin: f32) -> Bounds {
        let (width, height) = (self.mask.width(), self.mask.height());
        let mut b = Bounds { x0: width as f32, y0: height as f32, x1: 0.0, y1: 0.0 };
        for at in (0..self.depth.len()).filter(|&at| self.depth[at] > 0.0) {
            let (x, y) = ((at % width) as f32, (at / width) as f32);
            b = Bounds { x0: b.x0.min(x), y0: b.y0.min(y), x1: b.x1.max(x + 1.0), y1: b.y1.max(y + 1.0) };
        }
        let (mx, my) = (margin * (b.x1 - b.x0), margin * (b.y1 - b.y0));
        Bounds { x0: b.x0 - mx, y0: b.y0 - my, x1: b.x1 + mx, y1: b.y1 + my }
    }

    fn loose_box(&self, jitter: f64, rng: &mut impl Rng) -> BoxPrompt {
        let b = self.bounds(0.0);
        let (w, h) = (b.x1 - b.x0, b.y1 - b.y0);
        // A little more often too large than too small, as people's boxes are.
        let mut moved = |at: f32, size: f32, outwards: f32, most: usize| {
            let by = rng.random_range(-0.5 * jitter..=jitter) as f32;
            (at + outwards * by * size).clamp(0.0, most as f32)
        };
        let (x0, y0) = (moved(b.x0, w, -1.0, self.mask.width()), moved(b.y0, h, -1.0, self.mask.height()));
        let (x1, y1) = (moved(b.x1, w, 1.0, self.mask.width()), moved(b.y1, h, 1.0, self.mask.height()));
        BoxPrompt { x0, y0, x1: x1.max(x0 + 1.0), y1: y1.max(y0 + 1.0) }
    }

    /// A line through two to four points inside.
    fn scribble(&self, rng: &mut impl Rng) -> Scribble {
        let points = rng.random_range(2..=4);
        let points = (0..points).map(|_| self.first_click(rng)).map(|c| [c.x, c.y]).collect();
        let points = self.kept_inside(points);
        let width = rng.random_range(2.0..=0.04 * self.mask.width().max(64) as f32);
        Scribble { points, width: Some(width), positive: true }
    }

    /// The line's beginning, up to where it would leave the object.
    fn kept_inside(&self, points: Vec<[f32; 2]>) -> Vec<[f32; 2]> {
        let mut kept = vec![points[0]];
        for pair in points.windows(2) {
            for step in 1..=16 {
                let t = step as f32 / 16.0;
                let at = [0, 1].map(|i| pair[0][i] + t * (pair[1][i] - pair[0][i]));
                let place = at[1] as usize * self.mask.width() + at[0] as usize;
                if self.depth.get(place).is_none_or(|&d| d == 0.0) {
                    return kept;
                }
                kept.push(at);
            }
        }
        kept
    }

    /// An earlier result as it could be: a side cut off, or something else with it.
    fn degraded(&self, rng: &mut impl Rng) -> Option<Mask> {
        let (width, height) = (self.mask.width(), self.mask.height());
        let b = self.bounds(0.2);
        let cut = rng.random_bool(0.5);
        let (cx, cy) = (rng.random_range(b.x0..=b.x1), rng.random_range(b.y0..=b.y1));
        let reach = rng.random_range(0.1..0.4) * (b.x1 - b.x0).max(b.y1 - b.y0);
        let mut data = self.mask.data().to_vec();
        for (at, value) in data.iter_mut().enumerate() {
            let (x, y) = ((at % width) as f32, (at / width) as f32);
            if (x - cx).hypot(y - cy) < reach {
                *value = u8::from(!cut);
            }
        }
        Mask::new(width, height, data).ok()
    }
}

/// A box in pixels.
struct Bounds {
    x0: f32,
    y0: f32,
    x1: f32,
    y1: f32,
}

impl Bounds {
    fn contains(&self, x: usize, y: usize) -> bool {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        x >= self.x0 && x < self.x1 && y >= self.y0 && y < self.y1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    const SIDE: usize = 64;

    fn disc(cx: f32, cy: f32, r: f32) -> Mask {
        let inside = |at: usize| ((at % SIDE) as f32 + 0.5 - cx).hypot((at / SIDE) as f32 + 0.5 - cy) < r;
        Mask::new(SIDE, SIDE, (0..SIDE * SIDE).map(|at| u8::from(inside(at))).collect()).unwrap()
    }

    fn judged(mask: &Mask) -> Vec<Judged> {
        mask.data().iter().map(|&v| if v == 1 { Judged::Inside } else { Judged::Outside }).collect()
    }

    #[test]
    fn the_first_click_is_the_middle_and_the_next_mends_the_largest_error() {
        let truth = disc(24.0, 30.0, 12.0);
        let first = next_click(&judged(&truth), &vec![0; SIDE * SIDE], SIDE, SIDE).unwrap();
        assert!(first.positive && (first.x - 24.0).hypot(first.y - 30.0) < 1.5, "{first:?}");
        let mut predicted = truth.data().to_vec();
        predicted[50 * SIDE + 50..50 * SIDE + 56].fill(1);
        let second = next_click(&judged(&truth), &predicted, SIDE, SIDE).unwrap();
        assert!(!second.positive && second.y == 50.5, "{second:?}");
        assert_eq!(next_click(&judged(&truth), truth.data(), SIDE, SIDE), None);
    }

    #[test]
    fn pixels_that_are_not_judged_are_never_clicked() {
        let truth = vec![Judged::Ignored; SIDE * SIDE];
        assert_eq!(next_click(&truth, &vec![1; SIDE * SIDE], SIDE, SIDE), None);
    }

    #[test]
    fn prompts_say_the_truth() {
        let mask = disc(30.0, 28.0, 14.0);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let inside = |x: f32, y: f32| mask.data()[y as usize * SIDE + x as usize] == 1;
        let (mut boxes, mut scribbles, mut masks, mut negatives) = (0, 0, 0, 0);
        for _ in 0..400 {
            let prompts = Simulator::default().draw(&mask, &mut rng).unwrap();
            for click in &prompts.clicks {
                assert_eq!(inside(click.x, click.y), click.positive, "{click:?}");
                negatives += usize::from(!click.positive);
            }
            for b in &prompts.boxes {
                assert!(b.x0 < 22.0 && b.x1 > 38.0 && b.y0 < 20.0 && b.y1 > 36.0, "{b:?}");
            }
            for p in prompts.scribbles.iter().flat_map(|s| &s.points) {
                assert!(inside(p[0], p[1]), "{p:?}");
            }
            boxes += prompts.boxes.len();
            scribbles += prompts.scribbles.len();
            masks += usize::from(prompts.mask.is_some_and(|m| m.data() != mask.data()));
        }
        assert!(boxes > 60 && scribbles > 20 && masks > 20 && negatives > 60);
    }

    #[test]
    fn an_empty_mask_has_no_prompts() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
        let empty = Mask::new(SIDE, SIDE, vec![0; SIDE * SIDE]).unwrap();
        assert!(Simulator::default().draw(&empty, &mut rng).is_none());
    }
}
