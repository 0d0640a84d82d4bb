//! Weights, gradient sums and AdamW on the CPU.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::math::Real;
use super::packed::Packed;
use super::rows::{self, Coefficients};
use super::slices::{Read, into_vec, new_tensor, per_dtype};
use super::{check_shape, from_candle, missing, to_candle};
use crate::error::Result;
use crate::exec::Tensors;
use crate::optim::{AdamW, StepReport, decays};

/// Weights, gradient sums and AdamW's moments in host memory.
#[derive(Debug)]
pub struct CpuParams {
    dtype: DType,
    weights: BTreeMap<String, Tensor>,
    gradients: BTreeMap<String, Tensor>,
    moments: BTreeMap<String, Moments>,
    /// Of weights that are not trained.
    pub(super) packed: Packed,
}

#[derive(Debug)]
struct Moments {
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
}

impl CpuParams {
    pub(super) fn new(dtype: DType, weights: &Tensors) -> Result<Self> {
        let weights = weights
            .iter()
            .map(|(name, tensor)| Ok((name.clone(), to_candle(tensor, dtype)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            dtype,
            weights,
            gradients: BTreeMap::new(),
            moments: BTreeMap::new(),
            packed: Packed::default(),
        })
    }

    pub(super) fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self.weights.get(name).ok_or_else(|| missing(name, "this weight is missing"))?;
        if tensor.dims() != shape {
            return Err(missing(name, &format!("has shape {:?}, expected {shape:?}", tensor.dims())));
        }
        Ok(tensor.clone())
    }

    pub(super) fn accumulate(&mut self, name: &str, grad: &Tensor) -> Result<()> {
        let sum = match self.gradients.get(name) {
            Some(sum) => (sum + grad)?,
            None => grad.clone(),
        };
        self.gradients.insert(name.into(), sum);
        Ok(())
    }

    pub(crate) fn weights(&self) -> Result<Tensors> {
        self.weights.iter().map(|(name, t)| Ok((name.clone(), from_candle(t)?))).collect()
    }

    pub(crate) fn gradients(&self) -> Result<Tensors> {
        self.gradients.iter().map(|(name, t)| Ok((name.clone(), from_candle(t)?))).collect()
    }

    pub(crate) fn optimizer_state(&self) -> Result<Tensors> {
        let mut state = Tensors::new();
        for (name, moments) in &self.moments {
            state.insert(format!("exp_avg.{name}"), from_candle(&moments.exp_avg)?);
            state.insert(format!("exp_avg_sq.{name}"), from_candle(&moments.exp_avg_sq)?);
        }
        Ok(state)
    }

    pub(crate) fn set_optimizer_state(&mut self, state: &Tensors) -> Result<()> {
        self.moments.clear();
        for (key, first) in state {
            let Some(name) = key.strip_prefix("exp_avg.") else { continue };
            let weight = self.weights.get(name).ok_or_else(|| missing(key, "no weight of this name"))?;
            let second_key = format!("exp_avg_sq.{name}");
            let second = state.get(&second_key).ok_or_else(|| missing(&second_key, "is missing"))?;
            check_shape(key, first, weight.dims())?;
            check_shape(&second_key, second, weight.dims())?;
            let moments = Moments {
                exp_avg: to_candle(first, self.dtype)?,
                exp_avg_sq: to_candle(second, self.dtype)?,
            };
            self.moments.insert(name.into(), moments);
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, adamw: &AdamW) -> Result<StepReport> {
        let gradients = std::mem::take(&mut self.gradients);
        let mut squares = 0.0;
        for grad in gradients.values() {
            squares += sum_of_squares(grad)?;
        }
        let grad_norm = squares.sqrt() * adamw.grad_scale;
        if !grad_norm.is_finite() {
            return Ok(StepReport { grad_norm, applied: false });
        }
        self.packed = Packed::default();
        let factor = adamw.clip_factor(grad_norm);
        for (name, grad) in &gradients {
            self.update(name, grad, adamw, factor)?;
        }
        Ok(StepReport { grad_norm, applied: true })
    }

    fn update(&mut self, name: &str, grad: &Tensor, adamw: &AdamW, factor: f64) -> Result<()> {
        let weight = self.weights.get(name).ok_or_else(|| missing(name, "no weight of this name"))?;
        let shape = weight.dims().to_vec();
        let rule = Rule::new(adamw, factor, decays(&shape));
        let (weight, moments) = per_dtype!(self.dtype, T => {
            let mut w = into_vec::<T>(weight)?;
            let g = Read::<T>::new(grad)?;
            let (mut m, mut v) = match self.moments.get(name) {
                Some(have) => (into_vec::<T>(&have.exp_avg)?, into_vec::<T>(&have.exp_avg_sq)?),
                None => (vec![T::ZERO; w.len()], vec![T::ZERO; w.len()]),
            };
            rule.apply(&mut w, &g, &mut m, &mut v);
            let moments = Moments { exp_avg: new_tensor(m, shape.clone())?, exp_avg_sq: new_tensor(v, shape.clone())? };
            Ok::<_, candle_core::Error>((new_tensor(w, shape.clone())?, moments))
        })?;
        self.weights.insert(name.into(), weight);
        self.moments.insert(name.into(), moments);
        Ok(())
    }
}

/// Elements of one task, and of one partial sum: fixed, so that sums do not depend on the threads.
const TASK_ELEMENTS: usize = 1 << 15;

fn sum_of_squares(grad: &Tensor) -> Result<f64> {
    let parts: Vec<f64> = per_dtype!(grad.dtype(), T => {
        let g = Read::<T>::new(grad)?;
        Ok::<_, candle_core::Error>(g.par_chunks(TASK_ELEMENTS).map(|c| c.iter().map(|x| x.to_real().powi(2)).sum()).collect())
    })?;
    Ok(parts.iter().sum())
}

/// AdamW with everything that is the same for all elements of a weight worked out.
struct Rule {
    factor: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    keep: f64,
    rate: f64,
    root_correction: f64,
}

impl Rule {
    fn new(adamw: &AdamW, factor: f64, decay: bool) -> Self {
        let (c1, c2) = adamw.bias_corrections();
        let decay = if decay { adamw.weight_decay } else { 0.0 };
        Self {
            factor,
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            eps: adamw.eps,
            keep: 1.0 - adamw.lr * decay,
            rate: adamw.lr / c1,
            root_correction: c2.sqrt(),
        }
    }

    fn apply<T: Real>(&self, w: &mut [T], g: &[T], m: &mut [T], v: &mut [T]) {
        let coefficients = self.coefficients();
        w.par_chunks_mut(TASK_ELEMENTS)
            .zip(g.par_chunks(TASK_ELEMENTS))
            .zip(m.par_chunks_mut(TASK_ELEMENTS))
            .zip(v.par_chunks_mut(TASK_ELEMENTS))
            .for_each(|(((w, g), m), v)| rows::adamw(w, g, m, v, &coefficients));
    }

    fn coefficients<T: Real>(&self) -> Coefficients<T> {
        let real = T::from_real;
        Coefficients {
            factor: real(self.factor),
            beta1: real(self.beta1),
            beta2: real(self.beta2),
            rest1: real(1.0 - self.beta1),
            rest2: real(1.0 - self.beta2),
            keep: real(self.keep),
            rate: real(self.rate),
            root: real(1.0 / self.root_correction),
            eps: real(self.eps),
        }
    }
}
