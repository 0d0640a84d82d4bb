//! Weights, gradient sums and AdamW's moments on a GPU.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::arena::{Arena, Kind, Place, lay_out};
use super::device::GpuDevice;
use super::halves::Copies;
use super::optimizer::Optimizer;
use super::program::Part;
use super::readback::reals;
use crate::error::{Error, Result};
use crate::exec::Tensors;
use crate::optim::LossScale;
use crate::tensor::HostTensor;

/// Weights, gradient sums and AdamW's moments on a GPU, shared by all programs that run with them.
#[derive(Debug)]
pub struct GpuParams {
    pub(super) device: GpuDevice,
    /// Tells parameter sets apart: programs keep bind groups for the last one.
    id: u64,
    pub(super) weights: BTreeMap<String, Weight>,
    /// Where their values, gradient sums and moments are.
    pub(super) arenas: Vec<Arena>,
    pub(super) optimizer: Option<Optimizer>,
    pub(super) copies: Copies,
    /// With mixed precision: the factor on all gradients.
    pub(super) loss_scale: Option<LossScale>,
}

/// One weight and what belongs to it.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) shape: Vec<usize>,
    pub(super) place: Place,
    /// Its copy in f16, for programs of mixed precision.
    pub(super) half: Option<wgpu::Buffer>,
    /// Whether a run added to the gradient since the last step.
    pub(super) collected: bool,
    /// Whether there are AdamW's running means of it.
    pub(super) has_moments: bool,
}

impl Weight {
    pub(super) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn bytes(&self) -> u64 {
        4 * self.len() as u64
    }
}

impl GpuDevice {
    pub(crate) async fn params(&self, weights: &Tensors) -> Result<GpuParams> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let need = weights.values().map(|t| 4 * t.len() as u64).sum();
        let (arenas, places) = lay_out(weights);
        let weight = |(name, place): (String, Place)| {
            let shape = weights[&name].shape().to_vec();
            (name, Weight { shape, place, half: None, collected: false, has_moments: false })
        };
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let loss_scale = self.is_mixed().then(LossScale::default);
        let (optimizer, copies) = Default::default();
        let own = places.into_iter().map(weight).collect();
        let mut params =
            GpuParams { device: self.clone(), id, weights: own, arenas, optimizer, copies, loss_scale };
        let upload =
            || weights.iter().try_for_each(|(name, tensor)| params.upload(name, Kind::Value, tensor));
        self.scoped("weights", need, upload).await?;
        Ok(params)
    }
}

pub(super) fn problem(name: &str, problem: impl Into<String>) -> Error {
    Error::Tensor { name: name.into(), problem: problem.into() }
}

impl GpuParams {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn check_device(&self, device: &GpuDevice) -> Result<()> {
        if self.device.is(device) {
            return Ok(());
        }
        Err(problem("(parameters)", "the program and the parameters are on different devices"))
    }

    pub(super) fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let have = &self.get(name)?.shape;
        if have == shape {
            Ok(())
        } else {
            Err(problem(name, format!("has shape {have:?}, expected {shape:?}")))
        }
    }

    fn get(&self, name: &str) -> Result<&Weight> {
        self.weights.get(name).ok_or_else(|| problem(name, "this weight is missing"))
    }

    /// Writes to what belongs to a weight.
    fn upload(&mut self, name: &str, kind: Kind, tensor: &HostTensor) -> Result<()> {
        self.make(name, kind)?;
        let Some(part) = self.part(self.get(name)?, kind) else { return Ok(()) };
        let bytes = tensor.to_f32();
        self.device.queue().write_buffer(part.buffer, part.offset, bytemuck::cast_slice(&bytes));
        Ok(())
    }

    /// Makes the buffer for what belongs to a weight if there is none.
    pub(super) fn make(&mut self, name: &str, kind: Kind) -> Result<()> {
        let arena = self.get(name)?.place.arena;
        self.arenas[arena].make(&self.device, kind, name)
    }

    pub(super) fn part(&self, weight: &Weight, kind: Kind) -> Option<Part<'_>> {
        self.arenas[weight.place.arena].part(kind, weight.place)
    }

    pub(super) fn weight(&self, name: &str) -> Result<Part<'_>> {
        self.part(self.get(name)?, Kind::Value).ok_or_else(|| problem(name, "has no value"))
    }

    pub(super) fn gradient(&self, name: &str) -> Result<Part<'_>> {
        self.part(self.get(name)?, Kind::Gradient).ok_or_else(|| problem(name, "has no gradient sum"))
    }

    /// Whether nothing was added to the gradient sums of these weights since the last step.
    pub(super) fn have_no_gradient<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        names.all(|name| self.weights.get(name).is_none_or(|weight| !weight.collected))
    }

    /// Makes the gradient sum of a weight if there is none, and notes that a run adds to it.
    pub(super) fn collect_gradient(&mut self, name: &str) -> Result<()> {
        self.make(name, Kind::Gradient)?;
        if let Some(weight) = self.weights.get_mut(name) {
            weight.collected = true;
        }
        Ok(())
    }

    pub(crate) async fn weights(&self) -> Result<Tensors> {
        let all = self.weights.iter().map(|(name, weight)| (name.clone(), weight, Kind::Value));
        self.read(all.collect()).await
    }

    pub(crate) async fn gradients(&self) -> Result<Tensors> {
        let collected = self.weights.iter().filter(|(_, w)| w.collected);
        let found = collected.map(|(name, weight)| (name.clone(), weight, Kind::Gradient));
        let mut sums = self.read(found.collect()).await?;
        if let Some(LossScale { factor, .. }) = self.loss_scale {
            for sum in sums.values_mut() {
                let unscaled = sum.to_f32().iter().map(|g| g / factor as f32).collect();
                *sum = HostTensor::f32(sum.shape(), unscaled)?;
            }
        }
        Ok(sums)
    }

    pub(crate) fn loss_scale(&self) -> Option<LossScale> {
        self.loss_scale
    }

    pub(crate) fn set_loss_scale(&mut self, scale: LossScale) {
        if self.loss_scale.is_some() {
            self.loss_scale = Some(scale);
        }
    }

    pub(crate) async fn optimizer_state(&self) -> Result<Tensors> {
        let mut found = vec![];
        for (name, weight) in self.weights.iter().filter(|(_, weight)| weight.has_moments) {
            found.push((format!("exp_avg.{name}"), weight, Kind::Mean));
            found.push((format!("exp_avg_sq.{name}"), weight, Kind::Square));
        }
        self.read(found).await
    }

    async fn read(&self, found: Vec<(String, &Weight, Kind)>) -> Result<Tensors> {
        let source =
            |(_, weight, kind): &(String, &Weight, Kind)| Some((self.part(weight, *kind)?, weight.bytes()));
        let sources: Vec<_> = found.iter().filter_map(source).collect();
        let bytes = self.device.read_buffers(&sources).await?;
        let tensors = found.into_iter().zip(bytes);
        tensors.map(|((name, w, _), bytes)| Ok((name, HostTensor::f32(&w.shape, reals(&bytes))?))).collect()
    }

    pub(crate) async fn set_optimizer_state(&mut self, state: &Tensors) -> Result<()> {
        let device = self.device.clone();
        let need = state.values().map(|t| 4 * t.len() as u64).sum();
        device.scoped("AdamW's moments", need, || self.replace_moments(state)).await
    }

    fn replace_moments(&mut self, state: &Tensors) -> Result<()> {
        let mut moments = vec![];
        for (key, mean) in state {
            let Some(name) = key.strip_prefix("exp_avg.") else { continue };
            let shape = &self.weights.get(name).ok_or_else(|| problem(key, "no weight of this name"))?.shape;
            let square_key = format!("exp_avg_sq.{name}");
            let square = state.get(&square_key).ok_or_else(|| problem(&square_key, "is missing"))?;
            check_shape(key, mean, shape)?;
            check_shape(&square_key, square, shape)?;
            moments.push((name, mean, square));
        }
        self.forget_moments();
        for (name, mean, square) in moments {
            self.upload(name, Kind::Mean, mean)?;
            self.upload(name, Kind::Square, square)?;
            if let Some(weight) = self.weights.get_mut(name) {
                weight.has_moments = true;
            }
        }
        Ok(())
    }

    fn forget_moments(&mut self) {
        self.optimizer = None;
        self.weights.values_mut().for_each(|weight| weight.has_moments = false);
        for arena in &mut self.arenas {
            arena.drop(Kind::Mean);
            arena.drop(Kind::Square);
        }
    }
}

fn check_shape(name: &str, tensor: &HostTensor, shape: &[usize]) -> Result<()> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(problem(name, format!("has shape {:?}, expected {shape:?}", tensor.shape())))
}
