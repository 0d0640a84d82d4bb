//! Means over objects, and over sets.

use super::play::mean;
use super::report::{ObjectReport, Played};

/// IoU for which clicks are counted.
pub const GOALS: [f64; 3] = [0.80, 0.85, 0.90];
/// Clicks after which the mean IoU is told.
pub const CLICKS: [usize; 6] = [1, 2, 3, 5, 10, 20];
/// A click that lowers the IoU by more than this makes the mask worse.
const WORSE: f64 = 0.02;

/// What a method achieves on some objects. None: it does not answer such prompts, or nothing could be
/// measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Objects.
    pub objects: usize,
    /// Mean number of clicks to each of [`GOALS`]; an object that never gets there counts the most.
    pub noc: [Option<f64>; 3],
    /// Objects that never got there.
    pub never: [usize; 3],
    /// Mean IoU after each of [`CLICKS`].
    pub after: [Option<f64>; 6],
    /// Mean IoU from the box.
    pub boxed: Option<f64>,
    /// Mean IoU from a scribble.
    pub scribble: Option<f64>,
    /// Mean IoU from a degraded mask.
    pub degraded: Option<f64>,
    /// Mean IoU of the degraded masks themselves.
    pub degraded_input: Option<f64>,
    /// Mean boundary F-measure from the box.
    pub boundary_boxed: Option<f64>,
    /// Mean boundary F-measure after five clicks.
    pub boundary_clicks: Option<f64>,
    /// Share of the clicks after the first that lower the IoU by more than 0.02.
    pub worse: Option<f64>,
    /// Median milliseconds from a click to its mask.
    pub click_ms: Option<f64>,
    /// Median milliseconds once for a photo.
    pub encode_ms: Option<f64>,
}

/// IoU of a method on an object after some clicks; when nothing was wrong any more, the last one.
pub(super) fn after(object: &ObjectReport, method: &str, clicks: usize) -> Option<f64> {
    after_of(object.methods.get(method)?, clicks)
}

fn after_of(played: &Played, clicks: usize) -> Option<f64> {
    played.clicks.get(clicks.checked_sub(1)?).or(played.clicks.last()).copied()
}

impl Summary {
    /// Over the objects that the method has played; none without any.
    #[must_use]
    pub fn of(objects: &[ObjectReport], method: &str, max_clicks: usize) -> Option<Self> {
        let with: Vec<(&ObjectReport, &Played)> =
            objects.iter().filter_map(|object| Some((object, object.methods.get(method)?))).collect();
        let all: Vec<&Played> = with.iter().map(|(_, played)| *played).collect();
        let clicked: Vec<&Played> = all.iter().copied().filter(|p| !p.clicks.is_empty()).collect();
        let of = |value: fn(&Played) -> Option<f64>| mean(all.iter().copied().filter_map(value));
        let reached = |p: &Played, goal: f64| p.clicks.iter().position(|&iou| iou >= goal);
        let noc = |goal: f64| {
            let needed = |p: &&Played| reached(p, goal).map_or(max_clicks, |at| at + 1) as f64;
            mean(clicked.iter().map(needed))
        };
        let never = |goal: f64| clicked.iter().filter(|p| reached(p, goal).is_none()).count();
        let after = |clicks: usize| {
            let values = all.iter().filter_map(|played| after_of(played, clicks));
            if clicks <= max_clicks { mean(values) } else { None }
        };
        (!with.is_empty()).then(|| Self {
            objects: with.len(),
            noc: GOALS.map(noc),
            never: GOALS.map(never),
            after: CLICKS.map(after),
            boxed: of(|p| p.boxed),
            scribble: of(|p| p.scribble),
            degraded: of(|p| p.degraded),
            degraded_input: mean(with.iter().map(|(object, _)| object.degraded_input)),
            boundary_boxed: of(|p| p.boundary_boxed),
            boundary_clicks: of(|p| p.boundary_clicks),
            worse: mean(clicked.iter().flat_map(|p| drops(p)).map(|drop| f64::from(u8::from(drop > WORSE)))),
            click_ms: median(all.iter().flat_map(|p| p.click_ms.iter().copied())),
            encode_ms: median(all.iter().filter_map(|p| p.encode_ms)),
        })
    }

    /// The mean over sets, each counting the same; objects are added up. None of no set.
    #[must_use]
    pub fn mean(sets: &[Self]) -> Option<Self> {
        let of = |value: &dyn Fn(&Self) -> Option<f64>| mean(sets.iter().filter_map(value));
        (!sets.is_empty()).then(|| Self {
            objects: sets.iter().map(|s| s.objects).sum(),
            noc: [0, 1, 2].map(|at| of(&|s| s.noc[at])),
            never: [0, 1, 2].map(|at| sets.iter().map(|s| s.never[at]).sum()),
            after: [0, 1, 2, 3, 4, 5].map(|at| of(&|s| s.after[at])),
            boxed: of(&|s| s.boxed),
            scribble: of(&|s| s.scribble),
            degraded: of(&|s| s.degraded),
            degraded_input: of(&|s| s.degraded_input),
            boundary_boxed: of(&|s| s.boundary_boxed),
            boundary_clicks: of(&|s| s.boundary_clicks),
            worse: of(&|s| s.worse),
            click_ms: of(&|s| s.click_ms),
            encode_ms: of(&|s| s.encode_ms),
        })
    }
}

/// By how much each click after the first lowered the IoU.
fn drops(played: &Played) -> impl Iterator<Item = f64> + '_ {
    played.clicks.windows(2).map(|pair| pair[0] - pair[1])
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        1 => values.get(middle).copied(),
        _ => Some(0.5 * (values.get(middle.checked_sub(1)?)? + values.get(middle)?)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn object(clicks: &[f64]) -> ObjectReport {
        let played = Played { clicks: clicks.to_vec(), click_ms: vec![1.0, 2.0, 9.0], ..Played::default() };
        ObjectReport {
            image: "a.png".into(),
            mask: None,
            object: 1,
            area: 100,
            boxed: [0.0; 4],
            degraded_input: 0.5,
            methods: [("model".to_string(), played)].into(),
        }
    }

    fn close(have: Option<f64>, want: f64) {
        assert!((have.unwrap() - want).abs() < 1e-9, "{have:?} instead of {want}");
    }

    #[test]
    fn clicks_are_counted_as_the_protocol_says() {
        // The first needs 2, 2 and 3 clicks; the second never reaches 0.85.
        let objects = [object(&[0.5, 0.86, 0.95]), object(&[0.2, 0.81, 0.70, 0.82])];
        let s = Summary::of(&objects, "model", 10).unwrap();
        close(s.noc[0], 2.0);
        close(s.noc[1], 6.0);
        close(s.noc[2], 6.5);
        assert_eq!((s.objects, s.never), (2, [0, 1, 1]));
        close(s.after[0], 0.35);
        close(s.after[3], 0.885);
        assert_eq!(s.after[5], None, "20 clicks were not allowed");
        close(s.worse, 0.2);
        close(s.click_ms, 2.0);
        assert!(Summary::of(&objects, "another", 10).is_none());
    }

    #[test]
    fn sets_count_the_same_whatever_their_size() {
        let of = |objects: &[ObjectReport]| Summary::of(objects, "model", 10).unwrap();
        let sets = [of(&[object(&[1.0]), object(&[1.0]), object(&[1.0])]), of(&[object(&[0.5, 0.5])])];
        let all = Summary::mean(&sets).unwrap();
        close(all.after[0], 0.75);
        close(all.noc[1], 5.5);
        assert_eq!((all.objects, all.never), (4, [1; 3]));
        assert!(Summary::mean(&[]).is_none());
    }

    #[test]
    fn what_a_method_does_not_answer_is_not_zero() {
        let mut object = object(&[]);
        object.methods.get_mut("model").unwrap().boxed = Some(0.5);
        let s = Summary::of(&[object], "model", 10).unwrap();
        assert_eq!((s.noc, s.after[0], s.worse, s.scribble), ([None; 3], None, None, None));
        close(s.boxed, 0.5);
    }
}
