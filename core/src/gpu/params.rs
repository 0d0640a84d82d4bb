//! Weights, gradient sums and AdamW's moments on a GPU.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::device::GpuDevice;
use super::halves::Copies;
use super::optimizer::Optimizer;
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
    pub(super) optimizer: Option<Optimizer>,
    pub(super) copies: Copies,
    /// With mixed precision: the factor on all gradients.
    pub(super) loss_scale: Option<LossScale>,
}

/// One weight and what belongs to it.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) shape: Vec<usize>,
    pub(super) value: wgpu::Buffer,
    /// Its copy in f16, for programs of mixed precision.
    pub(super) half: Option<wgpu::Buffer>,
    /// Zero wherever nothing was collected since the last step.
    pub(super) gradient: Option<wgpu::Buffer>,
    /// Whether a run added to the gradient since the last step.
    pub(super) collected: bool,
    pub(super) moments: Option<Moments>,
}

/// AdamW's running means.
#[derive(Debug)]
pub(super) struct Moments {
    pub(super) mean: wgpu::Buffer,
    pub(super) square: wgpu::Buffer,
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
        let upload =
            || weights.iter().map(|(name, tensor)| self.upload_weight(name, tensor)).collect::<Result<_>>();
        let weights = self.scoped("weights", need, upload).await?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let loss_scale = self.is_mixed().then(LossScale::default);
        let (optimizer, copies) = Default::default();
        Ok(GpuParams { device: self.clone(), id, weights, optimizer, copies, loss_scale })
    }

    fn upload_weight(&self, name: &str, tensor: &HostTensor) -> Result<(String, Weight)> {
        let value = self.upload(name, tensor)?;
        let shape = tensor.shape().to_vec();
        Ok((
            name.into(),
            Weight { shape, value, half: None, gradient: None, collected: false, moments: None },
        ))
    }

    fn upload(&self, name: &str, tensor: &HostTensor) -> Result<wgpu::Buffer> {
        let buffer = self.storage(name, tensor.len())?;
        self.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(&tensor.to_f32()));
        Ok(buffer)
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

    pub(super) fn weight(&self, name: &str) -> Result<&wgpu::Buffer> {
        Ok(&self.get(name)?.value)
    }

    pub(super) fn gradient(&self, name: &str) -> Result<&wgpu::Buffer> {
        self.get(name)?.gradient.as_ref().ok_or_else(|| problem(name, "has no gradient sum"))
    }

    /// Whether nothing was added to the gradient sums of these weights since the last step.
    pub(super) fn have_no_gradient<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        names.all(|name| self.weights.get(name).is_none_or(|weight| !weight.collected))
    }

    /// Makes the gradient sum of a weight if there is none, and notes that a run adds to it.
    pub(super) fn collect_gradient(&mut self, name: &str) -> Result<()> {
        let weight = self.weights.get_mut(name).ok_or_else(|| problem(name, "this weight is missing"))?;
        if weight.gradient.is_none() {
            weight.gradient = Some(self.device.storage(name, weight.len())?);
        }
        weight.collected = true;
        Ok(())
    }

    pub(crate) async fn weights(&self) -> Result<Tensors> {
        self.read(self.weights.iter().map(|(name, w)| (name.clone(), w, &w.value)).collect()).await
    }

    pub(crate) async fn gradients(&self) -> Result<Tensors> {
        let collected = self.weights.iter().filter(|(_, w)| w.collected);
        let found = collected.filter_map(|(name, w)| Some((name.clone(), w, w.gradient.as_ref()?)));
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
        for (name, weight) in &self.weights {
            if let Some(moments) = &weight.moments {
                found.push((format!("exp_avg.{name}"), weight, &moments.mean));
                found.push((format!("exp_avg_sq.{name}"), weight, &moments.square));
            }
        }
        self.read(found).await
    }

    async fn read(&self, found: Vec<(String, &Weight, &wgpu::Buffer)>) -> Result<Tensors> {
        let sources: Vec<_> = found.iter().map(|&(_, weight, buffer)| (buffer, weight.bytes())).collect();
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
            let buffers = Moments {
                mean: self.device.upload(key, mean)?,
                square: self.device.upload(&square_key, square)?,
            };
            moments.push((name, buffers));
        }
        self.weights.values_mut().for_each(|w| w.moments = None);
        for (name, buffers) in moments {
            if let Some(weight) = self.weights.get_mut(name) {
                weight.moments = Some(buffers);
            }
        }
        self.optimizer = None;
        Ok(())
    }
}

fn check_shape(name: &str, tensor: &HostTensor, shape: &[usize]) -> Result<()> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(problem(name, format!("has shape {:?}, expected {shape:?}", tensor.shape())))
}
