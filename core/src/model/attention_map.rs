//! Attention probabilities on the host, for pictures (R-MAE, Figure 3).

use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::tensor::HostTensor;

/// `softmax(q·kᵀ/√head_dim)` of every head from the output `qkv [1, T, 3D]` of
/// [`super::attention_graph`]; `[heads, T, T]`, rows are queries, place 0 is the class token.
///
/// # Errors
/// [`Error::Tensor`] when `qkv` is not of the model's width.
pub fn attention_probabilities(config: &ModelConfig, qkv: &HostTensor) -> Result<HostTensor> {
    let (d, heads) = (config.embed_dim, config.num_heads);
    let values = qkv.to_f32();
    let &[1, t, width] = qkv.shape() else { return Err(wrong(qkv)) };
    if width != 3 * d {
        return Err(wrong(qkv));
    }
    let mut out = Vec::with_capacity(heads * t * t);
    for h in 0..heads {
        for i in 0..t {
            out.extend(head_row(config, &values, (t, h, i)));
        }
    }
    HostTensor::f32(&[heads, t, t], out)
}

/// One row of the same: where one token looks, `[heads, T]`.
///
/// # Errors
/// [`Error::Tensor`] when `qkv` is not of the model's width, or has no such token.
pub fn attention_row(config: &ModelConfig, qkv: &HostTensor, token: usize) -> Result<Vec<f32>> {
    let &[1, t, width] = qkv.shape() else { return Err(wrong(qkv)) };
    if width != 3 * config.embed_dim || token >= t {
        return Err(wrong(qkv));
    }
    let values = qkv.to_f32();
    Ok((0..config.num_heads).flat_map(|h| head_row(config, &values, (t, h, token))).collect())
}

/// Of `t` tokens, the attention of token `i` in head `h`.
fn head_row(config: &ModelConfig, values: &[f32], (t, h, i): (usize, usize, usize)) -> Vec<f32> {
    let d = config.embed_dim;
    let (width, hd) = (3 * d, d / config.num_heads);
    let query = &values[i * width + h * hd..][..hd];
    let score = |j: usize| dot(query, &values[j * width + d + h * hd..][..hd]) / (hd as f32).sqrt();
    softmax(&(0..t).map(score).collect::<Vec<f32>>())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f32> = scores.iter().map(|s| (s - top).exp()).collect();
    let sum: f32 = exp.iter().sum();
    exp.iter().map(|e| e / sum).collect()
}

fn wrong(qkv: &HostTensor) -> Error {
    Error::Tensor {
        name: "qkv".into(),
        problem: format!("has shape {:?}, not [1, T, 3·embed_dim]", qkv.shape()),
    }
}
