//! Checking an executor against numbers of the published implementation.
//!
//! A fixture is a safetensors file with `param.*`, `input.*`, `output.*`, `grad.*`, `train.*` and, in
//! its metadata, `config`, `train` and `batch`.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::exec::{Device, Params, Program, Tensors};
use crate::graph::Recompute;
use crate::model::{restore_ids, training_graph};
use crate::optim::AdamW;
use crate::tensor::{HostData, HostTensor};

/// The optimiser settings of a fixture's `train.*` tensors.
#[derive(Clone, Debug, Deserialize)]
pub struct TrainSpec {
    /// Number of AdamW steps on the one batch.
    pub steps: u64,
    /// Learning rate.
    pub lr: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decays of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// A fixture, read.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Hyper-parameters.
    pub config: ModelConfig,
    /// Training settings, where it has `train.*` tensors.
    pub train: Option<TrainSpec>,
    /// Number of images.
    pub batch: usize,
    /// Every tensor under its own name.
    pub tensors: Tensors,
}

/// What one group of tensors came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// `outputs`, `gradients`, `train.losses` or `train.params`.
    pub name: &'static str,
    /// Largest relative error of the group.
    pub worst: f64,
    /// The tensor that has it.
    pub tensor: String,
    /// Number of tensors compared.
    pub count: usize,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The groups, in the order above; only those that the fixture has.
    pub groups: Vec<Group>,
    /// Everything computed, under the fixture's tensor names.
    pub computed: Tensors,
}

impl Fixture {
    /// Reads a fixture.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it is truncated, or lacks what a fixture must have.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| broken("file", e))?;
        let metadata = metadata.metadata().clone().unwrap_or_default();
        let config: ModelConfig = parse(&metadata, "config")?;
        config.validate()?;
        let train = if metadata.contains_key("train") { Some(parse(&metadata, "train")?) } else { None };
        let tensors = read_tensors(bytes)?;
        let image = tensors.get("input.image").ok_or_else(|| broken("input.image", "is missing"))?;
        let batch = image.shape().first().copied().unwrap_or(0);
        if batch == 0 {
            return Err(broken("input.image", "must be [B, 3, S, S] with at least one image"));
        }
        Ok(Self { config, train, batch, tensors })
    }

    fn with_prefix(&self, prefix: &str) -> Tensors {
        let strip =
            |(name, t): (&String, &HostTensor)| Some((name.strip_prefix(prefix)?.to_string(), t.clone()));
        self.tensors.iter().filter_map(strip).collect()
    }

    fn inputs(&self) -> Result<Tensors> {
        let mut inputs = self.with_prefix("input.");
        let ids = inputs.get("ids_shuffle").or_else(|| inputs.get("shuffle_ids"));
        let ids = ids.ok_or_else(|| broken("input.shuffle_ids", "is missing"))?.clone();
        let HostData::U32(values) = ids.data() else {
            return Err(broken("input.shuffle_ids", "must hold 32-bit integers"));
        };
        let l = self.config.num_patches();
        check_permutations(values, l)?;
        let restore = HostTensor::u32(ids.shape(), restore_ids(values, l))?;
        inputs.insert("ids_restore".into(), restore);
        inputs.insert("ids_shuffle".into(), ids);
        Ok(inputs)
    }
}

fn check_permutations(ids: &[u32], l: usize) -> Result<()> {
    for row in ids.chunks(l) {
        let mut seen = vec![false; l];
        for &id in row {
            match seen.get_mut(id as usize) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    return Err(broken(
                        "input.shuffle_ids",
                        format!("is no permutation of {l} patches (id {id})"),
                    ));
                }
            }
        }
    }
    Ok(())
}

fn parse<T: for<'a> Deserialize<'a>>(
    metadata: &std::collections::HashMap<String, String>, key: &str,
) -> Result<T> {
    let text = metadata.get(key).ok_or_else(|| broken(key, "is missing from the metadata"))?;
    serde_json::from_str(text).map_err(|e| broken(key, e))
}

fn broken(what: &str, problem: impl ToString) -> Error {
    Error::Checkpoint { what: what.into(), problem: problem.to_string() }
}

/// Reads every tensor of a safetensors file; i32 and i64 must not be negative and become u32.
///
/// # Errors
/// [`Error::Checkpoint`] for a truncated file or an element type that is not known here.
pub fn read_tensors(bytes: &[u8]) -> Result<Tensors> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| broken("file", e))?;
    let mut tensors = Tensors::new();
    for (name, view) in file.tensors() {
        let data = convert(view.dtype(), view.data()).map_err(|e| broken(&name, e))?;
        tensors.insert(name, HostTensor::new(view.shape(), data)?);
    }
    Ok(tensors)
}

fn convert(dtype: Dtype, bytes: &[u8]) -> std::result::Result<HostData, String> {
    let index = |x: i64| u32::try_from(x).map_err(|_| format!("index {x} is out of range"));
    Ok(match dtype {
        Dtype::F32 => HostData::F32(words(bytes, f32::from_le_bytes)),
        Dtype::F64 => HostData::F64(words(bytes, f64::from_le_bytes)),
        Dtype::F16 => HostData::F32(words(bytes, |b| half::f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => HostData::F32(words(bytes, |b| half::bf16::from_le_bytes(b).to_f32())),
        Dtype::U32 => HostData::U32(words(bytes, u32::from_le_bytes)),
        Dtype::I32 => HostData::U32(
            words(bytes, i32::from_le_bytes)
                .into_iter()
                .map(|x| index(x.into()))
                .collect::<std::result::Result<_, _>>()?,
        ),
        Dtype::I64 => HostData::U32(
            words(bytes, i64::from_le_bytes).into_iter().map(index).collect::<std::result::Result<_, _>>()?,
        ),
        other => return Err(format!("elements of type {other:?} are not supported")),
    })
}

fn words<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
}

/// Runs a fixture on a device and compares every tensor that it holds.
///
/// # Errors
/// Those of the device; [`Error::Checkpoint`] where the fixture lacks something.
pub async fn run(fixture: &Fixture, device: &Device) -> Result<Report> {
    let graph = training_graph(&fixture.config, fixture.batch, Recompute::Nothing)?;
    let fetch: Vec<&str> = graph.outputs().keys().map(String::as_str).collect();
    let inputs = fixture.inputs()?;
    let mut params = device.params(&fixture.with_prefix("param.")).await?;
    let mut program = device.compile(&graph, &fetch, true).await?;
    let mut report = Report::default();
    let outputs = program.run(&mut params, &inputs).await?;
    for (name, tensor) in outputs {
        report.computed.insert(format!("output.{name}"), tensor);
    }
    add_constant_outputs(fixture, &inputs, &mut report.computed)?;
    for (name, tensor) in params.gradients().await? {
        report.computed.insert(format!("grad.{name}"), tensor);
    }
    if let Some(spec) = &fixture.train {
        train(spec, &mut program, &mut params, &inputs, &mut report.computed).await?;
    }
    report.groups = compare(fixture, &report.computed);
    Ok(report)
}

/// Outputs that the graph need not compute: the mask, and losses that the objective leaves out.
fn add_constant_outputs(fixture: &Fixture, inputs: &Tensors, computed: &mut Tensors) -> Result<()> {
    if let Some(HostData::U32(restore)) = inputs.get("ids_restore").map(HostTensor::data) {
        let visible = fixture.config.visible_patches();
        let mask = restore.iter().map(|&r| f32::from(u8::from(r as usize >= visible))).collect();
        let shape = [fixture.batch, fixture.config.num_patches()];
        computed.insert("output.mask".into(), HostTensor::f32(&shape, mask)?);
    }
    for name in ["output.mae_loss", "output.region_loss"] {
        if !computed.contains_key(name) {
            computed.insert(name.into(), HostTensor::zeros(&[1]));
        }
    }
    Ok(())
}

/// The first gradient is already in `params`.
async fn train(
    spec: &TrainSpec, program: &mut Program, params: &mut Params, inputs: &Tensors, computed: &mut Tensors,
) -> Result<()> {
    let mut losses = vec![loss_of(computed, "output.loss")];
    for step in 1..=spec.steps {
        let adamw = AdamW {
            lr: spec.lr,
            beta1: spec.betas[0],
            beta2: spec.betas[1],
            eps: spec.eps,
            weight_decay: spec.weight_decay,
            step,
            clip_norm: None,
            grad_scale: 1.0,
        };
        params.step(&adamw).await?;
        let outputs = program.run(params, inputs).await?;
        losses.push(loss_of(&outputs, "loss"));
    }
    let losses = HostTensor::new(&[losses.len()], HostData::F64(losses))?;
    computed.insert("train.losses".into(), losses);
    for (name, tensor) in params.weights().await? {
        computed.insert(format!("train.param.{name}"), tensor);
    }
    Ok(())
}

fn loss_of(tensors: &Tensors, name: &str) -> f64 {
    tensors.get(name).map_or(f64::NAN, HostTensor::scalar)
}

fn compare(fixture: &Fixture, computed: &Tensors) -> Vec<Group> {
    let prefixes = [
        ("outputs", "output."),
        ("gradients", "grad."),
        ("train.losses", "train.losses"),
        ("train.params", "train.param."),
    ];
    let largest = largest_gradient(fixture);
    let mut groups = vec![];
    for (name, prefix) in prefixes {
        let mut group = Group { name, worst: 0.0, tensor: String::new(), count: 0 };
        for (tensor, want) in fixture.tensors.iter().filter(|(n, _)| n.starts_with(prefix)) {
            let error = match computed.get(tensor) {
                Some(have) => error_of(tensor, have, want, largest),
                None => f64::INFINITY,
            };
            group.count += 1;
            // An error that is not a number is the worst of all.
            if error.is_nan() || error > group.worst {
                (group.worst, group.tensor) = (error, tensor.clone());
            }
        }
        if group.count > 0 {
            groups.push(group);
        }
    }
    groups
}

fn largest_gradient(fixture: &Fixture) -> f64 {
    let norm = |t: &HostTensor| t.to_f64().iter().map(|x| x * x).sum::<f64>().sqrt();
    let gradients = fixture.tensors.iter().filter(|(n, _)| n.starts_with("grad."));
    gradients.map(|(_, t)| norm(t)).fold(0.0, f64::max)
}

/// `‖a−b‖/‖b‖`, except for biases of keys: they have no gradient in exact arithmetic, so their
/// gradients are measured on the scale of the largest one, and they are left out of trained weights.
fn error_of(name: &str, have: &HostTensor, want: &HostTensor, largest_gradient: f64) -> f64 {
    let Some(keys) = key_bias(name, want.len()) else { return have.relative_error(want) };
    if have.shape() != want.shape() {
        return f64::INFINITY;
    }
    let (mut have, mut want) = (have.to_f64(), want.to_f64());
    let (have_keys, want_keys): (Vec<f64>, Vec<f64>) =
        keys.clone().map(|i| (std::mem::take(&mut have[i]), std::mem::take(&mut want[i]))).unzip();
    let rest = distance(&have, &want) / norm_or_one(&want);
    if !name.starts_with("grad.") {
        return rest;
    }
    rest.max(distance(&have_keys, &want_keys) / largest_gradient.max(f64::MIN_POSITIVE))
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

fn norm_or_one(x: &[f64]) -> f64 {
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    if norm == 0.0 { 1.0 } else { norm }
}

/// Where the key biases stand: the middle third of `qkv.bias`, the first half of `kv.bias`.
fn key_bias(name: &str, len: usize) -> Option<std::ops::Range<usize>> {
    if name.ends_with(".qkv.bias") {
        Some(len / 3..2 * len / 3)
    } else if name.ends_with(".kv.bias") {
        Some(0..len / 2)
    } else {
        None
    }
}

/// Largest error allowed in each group: outputs, gradients, losses of training steps.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// For `output.*`.
    pub outputs: f64,
    /// For `grad.*`.
    pub gradients: f64,
    /// For `train.losses`.
    pub losses: f64,
    /// For `train.param.*`.
    pub params: f64,
}

impl Tolerance {
    /// The CPU executor in f64 (fixtures are rounded to f32).
    pub const CPU_F64: Self = Self { outputs: 1e-6, gradients: 1e-6, losses: 1e-6, params: 1e-6 };
    /// The CPU executor in f32.
    pub const CPU_F32: Self = Self { outputs: 1e-5, gradients: 1e-4, losses: 1e-5, params: 1e-3 };
    /// A GPU in f32.
    pub const GPU_F32: Self = Self { outputs: 1e-4, gradients: 1e-3, losses: 1e-4, params: 1e-2 };
    /// A GPU that stores f16 and computes in f32.
    pub const GPU_MIXED: Self = Self { outputs: 2e-2, gradients: 2e-2, losses: 1e-2, params: 1e-1 };

    /// The groups of a report that are above tolerance, or not a number.
    #[must_use]
    pub fn violations<'a>(&self, report: &'a Report) -> Vec<&'a Group> {
        let limits: BTreeMap<&str, f64> = [
            ("outputs", self.outputs),
            ("gradients", self.gradients),
            ("train.losses", self.losses),
            ("train.params", self.params),
        ]
        .into();
        let limit = |g: &Group| limits.get(g.name).copied().unwrap_or(0.0);
        report.groups.iter().filter(|g| g.worst.is_nan() || g.worst > limit(g)).collect()
    }
}
