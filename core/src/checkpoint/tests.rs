#![allow(clippy::unwrap_used)]

use safetensors::tensor::{Dtype, View};

use super::*;
use crate::model::{check_params, init_params};

fn small() -> ModelConfig {
    ModelConfig {
        img_size: 32,
        patch_size: 8,
        embed_dim: 24,
        depth: 1,
        num_heads: 3,
        decoder_embed_dim: 16,
        decoder_depth: 1,
        decoder_num_heads: 2,
        num_region: 2,
        region_enc_dim: 16,
        region_enc_num_heads: 2,
        region_dec_dim: 16,
        region_dec_num_heads: 2,
        region_cross_layer: 1,
        ..ModelConfig::default()
    }
}

/// A tensor as the library's writer takes it.
struct Plain(Vec<usize>, Vec<u8>);

impl View for &Plain {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.0
    }
    fn data(&self) -> std::borrow::Cow<'_, [u8]> {
        (&self.1).into()
    }
    fn data_len(&self) -> usize {
        self.1.len()
    }
}

fn bytes(model: &ModelConfig, weights: &Tensors) -> Vec<u8> {
    let plain =
        |t: &HostTensor| Plain(t.shape().to_vec(), t.to_f32().iter().flat_map(|v| v.to_le_bytes()).collect());
    let tensors: Vec<(String, Plain)> = weights.iter().map(|(name, t)| (name.clone(), plain(t))).collect();
    let metadata = HashMap::from([
        (keys::VERSION.to_owned(), VERSION.to_owned()),
        (keys::MODEL.to_owned(), serde_json::to_string(model).unwrap()),
    ]);
    safetensors::serialize(tensors.iter().map(|(name, t)| (name, t)), Some(metadata)).unwrap()
}

#[test]
fn a_model_comes_back() {
    let (model, weights) = (small(), init_params(&small(), 1).unwrap());
    assert_eq!(read_model(&bytes(&model, &weights)).unwrap(), (model, weights));
}

#[test]
fn position_tables_need_not_be_stored() {
    let (model, weights) = (small(), init_params(&small(), 1).unwrap());
    let mut stored = weights.clone();
    stored.retain(|name, _| !name.ends_with("pos_embed"));
    assert_eq!(stored.len(), weights.len() - 4);
    let (_, read) = read_model(&bytes(&model, &stored)).unwrap();
    assert_eq!(read, weights);
    check_params(&model, &read).unwrap();
}

#[test]
fn what_a_run_stores_beside_the_weights_is_left_out() {
    let (model, weights) = (small(), init_params(&small(), 1).unwrap());
    let mut stored = weights.clone();
    stored.insert("optimizer.exp_avg.cls_token".into(), HostTensor::zeros(&[1, 1, 24]));
    stored.insert(keys::COVERAGE.into(), HostTensor::zeros(&[16]));
    assert_eq!(read_model(&bytes(&model, &stored)).unwrap().1, weights);
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let model = small();
    for value in [f32::NAN, f32::INFINITY] {
        let mut weights = init_params(&model, 1).unwrap();
        let mut values = weights["norm.weight"].to_f32();
        values[7] = value;
        weights.insert("norm.weight".into(), HostTensor::f32(&[24], values).unwrap());
        let error = read_model(&bytes(&model, &weights)).unwrap_err().to_string();
        assert!(error.contains("norm.weight") && error.contains("NaN"), "{error}");
    }
}

#[test]
fn every_truncation_and_other_files_are_told() {
    let whole = bytes(&small(), &init_params(&small(), 1).unwrap());
    for len in [0, 1, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        let error = read_model(&whole[..len]).unwrap_err();
        assert!(matches!(error, Error::Checkpoint { .. }), "{len}: {error}");
    }
    let error = read_model(b"<!doctype html><title>404</title>").unwrap_err().to_string();
    assert!(error.contains("no safetensors file"), "{error}");
}

#[test]
fn another_version_says_what_to_do() {
    let model = small();
    let mut metadata = HashMap::from([(keys::VERSION.to_owned(), "9".to_owned())]);
    metadata.insert(keys::MODEL.into(), serde_json::to_string(&model).unwrap());
    let error = stored_model(&metadata).unwrap_err();
    assert!(error.contains("version 9") && error.contains("release"), "{error}");
}
