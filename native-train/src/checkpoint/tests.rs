#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use rmae_core::config::ModelConfig;
use rmae_core::exec::Tensors;
use rmae_core::optim::LossScale;
use rmae_core::tensor::{HostData, HostTensor};

use super::*;
use crate::error::TrainError;

fn tiny() -> ModelConfig {
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

fn checkpoint(step: u64) -> Checkpoint {
    let model = tiny();
    let weights = rmae_core::model::init_params(&model, step).unwrap();
    let mut optimizer = Tensors::new();
    for name in ["exp_avg.cls_token", "exp_avg_sq.cls_token"] {
        optimizer.insert(name.into(), HostTensor::f32(&[1, 1, 24], vec![0.1; 24]).unwrap());
    }
    let position = crate::data::LoaderPosition { epoch: 1, index: 7 };
    let state = TrainState {
        step,
        position,
        seed: 3,
        images: 40,
        coverage_count: 12,
        loss_scale: Some(LossScale::default()),
        kernels: Some("{}".into()),
    };
    Checkpoint {
        model,
        weights,
        optimizer,
        state,
        coverage: vec![0.1 + 0.2; 16],
        config: "batch = 4\n".into(),
    }
}

fn problem(path: &Path) -> String {
    match load(path) {
        Err(TrainError::Checkpoint { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[test]
fn everything_comes_back_to_the_last_bit() {
    let dir = tempfile::tempdir().unwrap();
    let saved = checkpoint(5);
    let path = save(dir.path(), &saved).unwrap();
    let loaded = load(&path).unwrap();
    assert_eq!(loaded.model, saved.model);
    assert_eq!(loaded.weights, saved.weights);
    assert_eq!(loaded.optimizer, saved.optimizer);
    assert_eq!(loaded.state, saved.state);
    assert_eq!(loaded.coverage, saved.coverage);
    assert_eq!(loaded.config, saved.config);
    let (model, weights) = load_model(&path).unwrap();
    assert_eq!((model, weights), (saved.model, saved.weights));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn every_truncation_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &checkpoint(5)).unwrap();
    let bytes = fs::read(&path).unwrap();
    for len in [bytes.len() - 1, bytes.len() / 2, 4000, 20, 9, 8, 3] {
        fs::write(&path, &bytes[..len]).unwrap();
        let problem = problem(&path);
        assert!(problem.contains("truncated"), "{len} bytes: {problem}");
    }
    fs::write(&path, b"").unwrap();
    assert!(problem(&path).contains("empty"));
}

#[test]
fn other_files_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    fs::write(&path, b"\xff\xd8\xff\xe0 this is a JPEG, or so it says").unwrap();
    assert!(problem(&path).contains("no safetensors file"));
    fs::write(&path, b"PK\x03\x04 and so on").unwrap();
    assert!(problem(&path).contains("save_file"));
}

#[test]
fn a_weight_of_another_shape_or_a_missing_one_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut changed = checkpoint(5);
    changed.weights.insert("mask_token".into(), HostTensor::zeros(&[1, 1, 8]));
    let text = problem(&save(dir.path(), &changed).unwrap());
    assert!(text.contains("mask_token") && text.contains('8') && text.contains("16"), "{text}");
    let mut missing = checkpoint(5);
    missing.weights.remove("norm.bias");
    let text = problem(&save(dir.path(), &missing).unwrap());
    assert!(text.contains("norm.bias"), "{text}");
}

#[test]
fn another_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = save(dir.path(), &checkpoint(5)).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let (key, with) = (br#""rmae.version":"1""#, br#""rmae.version":"7""#);
    let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
    bytes[at..at + key.len()].copy_from_slice(with);
    fs::write(&path, bytes).unwrap();
    assert!(problem(&path).contains("version 7"));
}

#[test]
fn the_newest_readable_one_is_found_and_old_ones_go() {
    let dir = tempfile::tempdir().unwrap();
    for step in [2, 10, 30] {
        save(dir.path(), &checkpoint(step)).unwrap();
    }
    let newest_path = path_of(dir.path(), 30);
    let bytes = fs::read(&newest_path).unwrap();
    fs::write(&newest_path, &bytes[..bytes.len() / 2]).unwrap();
    let found = newest(dir.path()).unwrap();
    assert_eq!(found.checkpoint.state.step, 10);
    assert!(found.broken[0].contains("truncated") && found.broken[0].contains("00000030"));
    let weights = load_model(dir.path()).unwrap().1;
    assert_eq!(weights, found.checkpoint.weights, "a run's folder stands for its newest readable checkpoint");
    prune(dir.path(), 2).unwrap();
    assert!(!path_of(dir.path(), 2).exists() && path_of(dir.path(), 10).exists());
}

#[test]
fn a_failed_write_leaves_the_earlier_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kept");
    fs::write(&path, "before").unwrap();
    let failed = write_atomically(&path, |temporary| {
        fs::write(temporary, "half of")?;
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
    });
    assert!(matches!(failed, Err(TrainError::Io { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "before");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_a_killed_write_left_is_swept_away() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".checkpoint-00000009.safetensors.tmp"), "half").unwrap();
    fs::write(dir.path().join("notes.tmp"), "mine").unwrap();
    sweep(dir.path()).unwrap();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.tmp"]);
}

#[test]
fn an_export_in_half_precision_of_the_encoder_loads_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, saved) = (dir.path().join("e.safetensors"), checkpoint(1));
    export(&path, &saved.model, &saved.weights, Part::Encoder, true).unwrap();
    let (model, weights) = load_model(&path).unwrap();
    assert_eq!(model, saved.model);
    assert!(weights.contains_key("blocks.0.attn.qkv.weight") && !weights.contains_key("mask_token"));
    let error = weights["pos_embed"].relative_error(&saved.weights["pos_embed"]);
    assert!(error > 0.0 && error < 1e-3, "{error}");
    assert!(problem(&path).contains("weights only"));
}

#[test]
fn the_configuration_is_told_from_shapes_of_a_plain_file() {
    let model = ModelConfig {
        embed_dim: 128,
        num_heads: 2,
        decoder_num_heads: 16,
        region_enc_num_heads: 8,
        region_dec_num_heads: 8,
        num_region: 8,
        ..tiny()
    };
    let weights = rmae_core::model::init_params(&model, 0).unwrap();
    assert_eq!(rmae_core::checkpoint::infer_config(&weights).unwrap(), model);
    let mut none = Tensors::new();
    none.insert("x".into(), HostTensor::new(&[1], HostData::F32(vec![0.0])).unwrap());
    assert!(rmae_core::checkpoint::infer_config(&none).unwrap_err().contains("patch_embed"));
}
