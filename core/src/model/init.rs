//! Parameters: their names and shapes, initial values, and the fixed position tables.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::forward_graph;
use super::positions::position_table;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::exec::Tensors;
use crate::graph::{Graph, Source};
use crate::tensor::HostTensor;

/// Name and shape of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamSpec {
    /// Its name in checkpoints.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether it is trained; position tables are not.
    pub trainable: bool,
}

/// Every parameter of a model, sorted by name.
///
/// # Errors
/// [`Error::Config`] for a configuration that cannot be.
pub fn param_specs(config: &ModelConfig) -> Result<Vec<ParamSpec>> {
    let graph = forward_graph(config, 1)?;
    let mut specs: Vec<ParamSpec> = graph
        .nodes()
        .iter()
        .filter_map(|node| match &node.source {
            Source::Param { name, trainable } => {
                Some(ParamSpec { name: name.clone(), shape: node.shape.clone(), trainable: *trainable })
            }
            _ => None,
        })
        .collect();
    specs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(specs)
}

/// Initial weights: Xavier-uniform matrices (patch embeddings as `[out, in·p·p]`), zero biases, unit
/// layer norms, tokens normal with deviation 0.02, sine-cosine position tables.
///
/// # Errors
/// [`Error::Config`] for a configuration that cannot be.
pub fn init_params(config: &ModelConfig, seed: u64) -> Result<Tensors> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut params = Tensors::new();
    for spec in param_specs(config)? {
        let values = initial_values(config, &spec, &mut rng);
        params.insert(spec.name, HostTensor::f32(&spec.shape, values)?);
    }
    Ok(params)
}

fn initial_values(config: &ModelConfig, spec: &ParamSpec, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let len: usize = spec.shape.iter().product();
    let last = spec.shape.last().copied().unwrap_or(1);
    if !spec.trainable {
        return position_table(config.grid(), last);
    }
    if spec.name.ends_with("token") {
        return (0..len).map(|_| (0.02 * normal(rng)) as f32).collect();
    }
    if spec.shape.len() == 1 {
        let value = if spec.name.ends_with(".bias") { 0.0 } else { 1.0 };
        return vec![value; len];
    }
    let (fan_out, fan_in) = (spec.shape[0], len / spec.shape[0].max(1));
    let bound = (6.0 / (fan_in + fan_out) as f64).sqrt() as f32;
    (0..len).map(|_| rng.random_range(-bound..bound)).collect()
}

/// A standard normal number (Box-Muller).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Checks that `params` are those of a model: nothing missing, nothing else, every shape right.
///
/// # Errors
/// [`Error::Tensor`] naming the first parameter that is wrong.
pub fn check_params(config: &ModelConfig, params: &Tensors) -> Result<()> {
    let specs = param_specs(config)?;
    for spec in &specs {
        let tensor = params.get(&spec.name).ok_or_else(|| Error::Tensor {
            name: spec.name.clone(),
            problem: format!("is missing; the configuration needs it with shape {:?}", spec.shape),
        })?;
        crate::cpu::check_shape(&spec.name, tensor, &spec.shape)?;
    }
    let known = |name: &String| specs.binary_search_by(|s| s.name.as_str().cmp(name)).is_ok();
    match params.keys().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(Error::Tensor {
            name: name.clone(),
            problem: "is not a parameter of a model of this configuration".into(),
        }),
    }
}

/// Checks that `params` hold, in the right shape, every parameter that a graph reads; others are ignored.
///
/// # Errors
/// [`Error::Tensor`] naming the first parameter that is wrong.
pub fn check_graph_params(graph: &Graph, params: &Tensors) -> Result<()> {
    for node in graph.nodes() {
        let Source::Param { name, .. } = &node.source else { continue };
        let tensor = params.get(name).ok_or_else(|| Error::Tensor {
            name: name.clone(),
            problem: format!("is missing; it is needed with shape {:?}", node.shape),
        })?;
        crate::cpu::check_shape(name, tensor, &node.shape)?;
    }
    Ok(())
}
