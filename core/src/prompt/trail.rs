//! Prompts come one after the other, each a correction of what came of those before it: the mask of
//! five clicks is what a person sees who gives them in that order. What came of earlier ones is
//! kept, so that a further click costs one mask, and undoing it none.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::options::PredictOptions;
use super::refine::Earlier;
use super::{ObjectPrompts, Scribble};

/// Results kept for one image.
const KEPT: usize = 64;

/// The first prompts of an object: all boxes and the mask, then scribbles, then clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Differs for other prompts or options that matter.
    key: u64,
    scribbles: usize,
    clicks: usize,
}

impl Step {
    /// The prompts up to here.
    pub(super) fn of(self, object: &ObjectPrompts) -> ObjectPrompts {
        ObjectPrompts {
            clicks: object.clicks[..self.clicks].to_vec(),
            scribbles: object.scribbles[..self.scribbles].to_vec(),
            boxes: object.boxes.clone(),
            mask: object.mask.clone(),
        }
    }
}

/// An object's prompts step by step; the last step is all of them.
pub(super) fn steps(object: &ObjectPrompts, options: &PredictOptions) -> Vec<Step> {
    let mut hasher = DefaultHasher::new();
    (options.granularity.to_bits(), &options.refine, options.crop).hash(&mut hasher);
    object.mask.as_ref().map(|mask| (mask.width(), mask.data())).hash(&mut hasher);
    for b in &object.boxes {
        floats(&mut hasher, &[b.x0, b.y0, b.x1, b.y1]);
    }
    let mut steps = Vec::new();
    let mut put = |hasher: &DefaultHasher, scribbles, clicks| {
        steps.push(Step { key: hasher.finish(), scribbles, clicks });
    };
    if object.mask.is_some() || !object.boxes.is_empty() {
        put(&hasher, 0, 0);
    }
    for (at, scribble) in object.scribbles.iter().enumerate() {
        drawn(&mut hasher, scribble);
        put(&hasher, at + 1, 0);
    }
    for (at, click) in object.clicks.iter().enumerate() {
        floats(&mut hasher, &[click.x, click.y, click.radius.unwrap_or(-1.0)]);
        (click.positive, at).hash(&mut hasher);
        put(&hasher, object.scribbles.len(), at + 1);
    }
    steps
}

fn drawn(hasher: &mut DefaultHasher, scribble: &Scribble) {
    floats(hasher, scribble.points.as_flattened());
    floats(hasher, &[scribble.width.unwrap_or(-1.0)]);
    scribble.positive.hash(hasher);
}

fn floats(hasher: &mut DefaultHasher, values: &[f32]) {
    values.len().hash(hasher);
    values.iter().for_each(|value| value.to_bits().hash(hasher));
}

/// What came of prompts on one image, the most recent last.
#[derive(Debug, Default)]
pub(super) struct Trail(VecDeque<(u64, Option<Earlier>)>);

impl Trail {
    /// The latest step before the last of which it is known what came of it: its place, and that.
    pub(super) fn latest(&mut self, steps: &[Step]) -> Option<(usize, Option<Earlier>)> {
        let before = steps.len().saturating_sub(1);
        (0..before).rev().find_map(|place| {
            let known = self.0.iter().position(|(key, _)| *key == steps[place].key)?;
            let found = self.0.remove(known)?;
            let earlier = found.1.clone();
            self.0.push_back(found);
            Some((place, earlier))
        })
    }

    pub(super) fn put(&mut self, step: Step, found: Option<Earlier>) {
        self.0.retain(|(key, _)| *key != step.key);
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((step.key, found));
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BoxPrompt, Click};
    use super::*;

    fn object() -> ObjectPrompts {
        let click = |x| Click { x, y: 2.0, positive: x > 3.0, radius: None };
        ObjectPrompts {
            clicks: vec![click(3.0), click(4.0)],
            boxes: vec![BoxPrompt { x0: 0.0, y0: 0.0, x1: 9.0, y1: 9.0 }],
            scribbles: vec![Scribble { points: vec![[1.0, 2.0], [3.0, 4.0]], width: None, positive: true }],
            mask: None,
        }
    }

    #[test]
    fn steps_are_boxes_then_scribbles_then_clicks() {
        let (object, options) = (object(), PredictOptions::default());
        let steps = steps(&object, &options);
        let counts: Vec<(usize, usize)> = steps.iter().map(|step| (step.scribbles, step.clicks)).collect();
        assert_eq!(counts, [(0, 0), (1, 0), (1, 1), (1, 2)]);
        assert_eq!(steps[3].of(&object), object);
        let less = steps[2].of(&object);
        assert_eq!((less.clicks.len(), less.scribbles.len(), less.boxes.len()), (1, 1, 1));
        // Prompts that were given without the last one are the same step.
        assert_eq!(super::steps(&less, &options)[2], steps[2]);
    }

    #[test]
    fn another_prompt_or_option_is_another_step() {
        let options = PredictOptions::default();
        let last = |object: &ObjectPrompts, options: &PredictOptions| steps(object, options)[3].key;
        let known = last(&object(), &options);
        let mut other = object();
        other.clicks[0].positive = true;
        assert_ne!(last(&other, &options), known);
        other = object();
        other.clicks[1].radius = Some(2.0);
        assert_ne!(last(&other, &options), known);
        other = object();
        other.scribbles[0].points[0][0] = 1.5;
        assert_ne!(last(&other, &options), known);
        assert_ne!(last(&object(), &PredictOptions { granularity: 0.5, ..options }), known);
    }

    #[test]
    fn the_latest_known_step_is_found_and_old_ones_are_forgotten() {
        let steps = steps(&object(), &PredictOptions::default());
        let mut trail = Trail::default();
        assert_eq!(trail.latest(&steps), None);
        trail.put(steps[0], None);
        trail.put(steps[3], None);
        assert_eq!(trail.latest(&steps), Some((0, None)));
        trail.put(steps[2], None);
        assert_eq!(trail.latest(&steps), Some((2, None)));
        for key in 0..KEPT as u64 {
            trail.put(Step { key, scribbles: 0, clicks: 0 }, None);
        }
        assert_eq!(trail.latest(&steps), None);
    }
}
