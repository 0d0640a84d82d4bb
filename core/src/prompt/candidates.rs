//! One click can mean a button, a coat or a person: masks to choose from.

use super::asked::{Asked, Look};
use super::options::PredictOptions;
use super::predictor::{Prediction, Predictor, check_options, no_image, on_working_image};
use super::{Mask, ObjectPrompts};
use crate::error::Result;

/// Granularities that are tried, from a part to the whole thing.
pub const GRANULARITIES: [f32; 5] = [-0.7, -0.35, 0.0, 0.35, 0.7];
/// Two masks that overlap (intersection over union) more than this are no choice.
pub const ALIKE: f64 = 0.9;

/// One of several masks for the same prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// -1 (a part) to 1 (the whole thing): asking for it gives this mask again.
    pub granularity: f32,
    /// The mask, and the overlap with what is meant that is to be expected of it.
    pub prediction: Prediction,
}

impl Predictor {
    /// Masks of one object from a part to the whole thing, each clearly unlike the one before; of
    /// those alike the one with the best score. The model is asked once. The granularity of `options`
    /// does not count.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub async fn candidates(
        &mut self, object: &ObjectPrompts, options: &PredictOptions,
    ) -> Result<Vec<Candidate>> {
        let options = PredictOptions { granularity: 0.0, ..options.clone() };
        check_options(&options)?;
        let seen = self.seen.take().ok_or_else(no_image)?;
        let mut asked = Asked { seen, options };
        let result = self.choices(object, &mut asked).await;
        self.seen = Some(asked.seen);
        result
    }

    async fn choices(&mut self, object: &ObjectPrompts, asked: &mut Asked) -> Result<Vec<Candidate>> {
        let objects = on_working_image(std::slice::from_ref(object), &asked.seen)?;
        let Some(object) = objects.first() else { return Ok(vec![]) };
        let logits = self.logits(&asked.seen.working, &asked.seen.whole, &objects).await?.concat();
        let look = Look { logits, area: asked.seen.whole.view.area() };
        let look = self.closer(object, look, asked).await?;
        let mut kept: Vec<Candidate> = Vec::new();
        for granularity in GRANULARITIES {
            asked.options.granularity = granularity;
            let (step, earlier) = self.before(object, asked).await?;
            let prediction = asked.finish(object, look.clone(), self.config.img_size, (step, earlier));
            let candidate = Candidate { granularity, prediction };
            match kept.last_mut() {
                _ if candidate.prediction.mask.area() == 0 => {}
                Some(last) if alike(&last.prediction.mask, &candidate.prediction.mask) => {
                    if candidate.prediction.score > last.prediction.score {
                        *last = candidate;
                    }
                }
                _ => kept.push(candidate),
            }
        }
        Ok(kept)
    }
}

fn alike(a: &Mask, b: &Mask) -> bool {
    a.overlap(b) > ALIKE
}
