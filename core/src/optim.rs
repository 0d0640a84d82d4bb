//! AdamW, its schedule and its groups.

use serde::{Deserialize, Serialize};

/// What one AdamW step needs to know (decoupled weight decay).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay, for weights that [`decays`] names.
    pub weight_decay: f64,
    /// Number of this step, from 1: corrects the bias of the moments.
    pub step: u64,
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    pub clip_norm: Option<f64>,
    /// Factor on the gradient sums, 1 / number of accumulated batches.
    pub grad_scale: f64,
}

impl Default for AdamW {
    /// The paper's recipe, at step 1 and a learning rate of 1.5e-4.
    fn default() -> Self {
        Self {
            lr: 1.5e-4,
            beta1: 0.9,
            beta2: 0.95,
            eps: 1e-8,
            weight_decay: 0.05,
            step: 1,
            clip_norm: None,
            grad_scale: 1.0,
        }
    }
}

impl AdamW {
    /// `1 − β₁ᵗ` and `1 − β₂ᵗ`.
    #[must_use]
    pub fn bias_corrections(&self) -> (f64, f64) {
        let t = self.step as f64;
        (1.0 - self.beta1.powf(t), 1.0 - self.beta2.powf(t))
    }

    /// Factor on the gradients for a norm: [`AdamW::grad_scale`], and less where the norm is clipped.
    #[must_use]
    pub fn clip_factor(&self, norm: f64) -> f64 {
        match self.clip_norm {
            Some(limit) if norm > limit => self.grad_scale * limit / (norm + 1e-6),
            _ => self.grad_scale,
        }
    }
}

/// What happened in a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Norm of all gradients together, after scaling, before clipping.
    pub grad_norm: f64,
    /// Whether weights were updated; not where the norm is not finite.
    pub applied: bool,
}

/// The factor on the loss in training with f16, so that small gradients are not lost to zero: halved where
/// one overflows (that step is skipped), doubled after many steps without.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// The factor, a power of two.
    pub factor: f64,
    /// Steps done since it was changed.
    pub steady: u64,
    /// Steps skipped in all.
    pub skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: Self::FIRST, steady: 0, skipped: 0 }
    }
}

impl LossScale {
    /// The factor of the first step.
    pub const FIRST: f64 = 65_536.0;
    /// Largest factor: above it the sums of squared gradients could leave f32.
    pub const LARGEST: f64 = 16_777_216.0;
    /// Steps without an overflow after which the factor is doubled.
    pub const STEADY: u64 = 2000;

    /// After a step that was applied, or skipped as a gradient overflowed.
    pub fn update(&mut self, applied: bool) {
        if !applied {
            *self = Self { factor: self.factor / 2.0, steady: 0, skipped: self.skipped + 1 };
        } else if self.steady + 1 >= Self::STEADY {
            let factor = (2.0 * self.factor).min(Self::LARGEST);
            *self = Self { factor, steady: 0, ..*self };
        } else {
            self.steady += 1;
        }
    }

    /// Whether even gradients that are not scaled overflow: no factor will help.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.factor < 1.0
    }
}

/// Whether weight decay applies to a parameter: not to biases and layer-norm parameters, which are
/// all that have one dimension.
#[must_use]
pub fn decays(shape: &[usize]) -> bool {
    shape.len() > 1
}

/// Linear warm-up from 0, then a half cosine to `min_lr`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Learning rate at the end of the warm-up.
    pub peak_lr: f64,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// All steps.
    pub total_steps: u64,
}

impl Schedule {
    /// The learning rate of a step, counted from 0.
    #[must_use]
    pub fn lr(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak_lr * step as f64 / self.warmup_steps as f64;
        }
        let rest = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps) as f64 / rest as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.min_lr + (self.peak_lr - self.min_lr) * cosine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_rises_then_falls() {
        let s = Schedule { peak_lr: 1.0, min_lr: 0.0, warmup_steps: 10, total_steps: 110 };
        assert_eq!(s.lr(0), 0.0);
        assert_eq!(s.lr(5), 0.5);
        assert_eq!(s.lr(10), 1.0);
        assert!((s.lr(60) - 0.5).abs() < 1e-12);
        assert!(s.lr(110).abs() < 1e-12 && s.lr(1000).abs() < 1e-12);
    }

    #[test]
    fn clipping_scales_to_the_limit() {
        let adam = AdamW { clip_norm: Some(2.0), grad_scale: 0.5, ..AdamW::default() };
        assert_eq!(adam.clip_factor(1.0), 0.5);
        assert!((adam.clip_factor(8.0) - 0.125).abs() < 1e-6);
    }

    #[test]
    fn the_loss_scale_halves_on_overflow_and_doubles_when_steady() {
        let mut scale = LossScale::default();
        scale.update(false);
        assert_eq!(scale, LossScale { factor: 32_768.0, steady: 0, skipped: 1 });
        (0..LossScale::STEADY - 1).for_each(|_| scale.update(true));
        assert_eq!((scale.factor, scale.steady), (32_768.0, LossScale::STEADY - 1));
        scale.update(true);
        assert_eq!(scale, LossScale { factor: 65_536.0, steady: 0, skipped: 1 });
        (0..20 * LossScale::STEADY).for_each(|_| scale.update(true));
        assert_eq!(scale.factor, LossScale::LARGEST);
        assert!(!scale.is_exhausted());
        (0..25).for_each(|_| scale.update(false));
        assert!(scale.is_exhausted());
    }

    #[test]
    fn only_weights_of_two_dimensions_decay() {
        assert!(decays(&[1, 1, 192]) && decays(&[4, 4]));
        assert!(!decays(&[4]));
    }
}
