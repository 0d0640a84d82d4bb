//! The core in a real browser: `cargo xtask test`, stage "browser".
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::picture::Picture;
use rmae_core::config::ModelConfig;
use rmae_core::exec::{Device, Precision};
use rmae_core::gpu::{AdapterChoice, GpuDevice};
use rmae_core::model::init_params;
use rmae_core::ops::kernel::Machine;
use rmae_core::prompt::{
    BoxPrompt, Click, ObjectPrompts, PredictOptions, Predictor, PredictorOptions, RgbView,
};
use rmae_core::tensor::HostTensor;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

/// The largest relative error `‖a−b‖/‖b‖` at which two engines agree.
const TOLERANCE: f64 = 1e-3;

/// Side of the picture: larger than the model's, and no multiple of a patch.
const SIDE: usize = 250;

/// All parts of R-MAE, as few and as narrow as they can be: the test is of the engines, not of a model.
fn small_model() -> ModelConfig {
    ModelConfig {
        img_size: 224,
        embed_dim: 96,
        depth: 3,
        num_heads: 3,
        decoder_embed_dim: 64,
        decoder_depth: 2,
        decoder_num_heads: 4,
        num_region: 2,
        region_enc_dim: 32,
        region_enc_num_heads: 4,
        region_dec_dim: 32,
        region_dec_num_heads: 4,
        region_cross_layer: 1,
        ..ModelConfig::default()
    }
}

/// A click on the sun that leaves the sky out, and a box.
fn objects() -> [ObjectPrompts; 2] {
    let click = |x, y, positive| Click { x, y, positive, radius: None };
    let sun = ObjectPrompts {
        clicks: vec![click(170.0, 67.0, true), click(20.0, 20.0, false)],
        ..ObjectPrompts::default()
    };
    let boxes = vec![BoxPrompt { x0: 10.0, y0: 150.0, x1: 240.0, y1: 249.0 }];
    [sun, ObjectPrompts { boxes, ..ObjectPrompts::default() }]
}

/// The encoder's tokens, and logits and masks of both objects, one after the other.
struct Results {
    latent: HostTensor,
    logits: HostTensor,
    masks: Vec<u8>,
}

async fn results(device: &Device) -> Results {
    let config = small_model();
    let weights = init_params(&config, 2024).unwrap();
    let mut predictor = Predictor::new(&config, &weights, device, PredictorOptions::default()).await.unwrap();
    let picture = Picture::draw(SIDE);
    predictor.set_image(RgbView::new(SIDE, SIDE, picture.rgb()).unwrap()).await.unwrap();
    let made = predictor.predict(&objects(), &PredictOptions::default()).await.unwrap();
    let logits: Vec<f32> = made.iter().flat_map(|one| one.logits.iter().copied()).collect();
    Results {
        latent: predictor.latent().unwrap().clone(),
        logits: HostTensor::f32(&[logits.len()], logits).unwrap(),
        masks: made.into_iter().flat_map(|one| one.mask.into_data()).collect(),
    }
}

#[wasm_bindgen_test]
async fn the_cpu_executor_runs_the_model() {
    let made = results(&Device::cpu(Precision::F32)).await;
    assert_eq!(made.masks.len(), 2 * SIDE * SIDE);
    assert!(made.logits.to_f32().iter().chain(&made.latent.to_f32()).all(|x| x.is_finite()));
}

/// The test browser is started with a WebGPU adapter, so that its absence is a failure here.
#[wasm_bindgen_test]
async fn webgpu_agrees_with_the_cpu() {
    agrees(GpuDevice::new(&AdapterChoice::Any).await.unwrap()).await;
}

/// The kernels that visitors' GPUs get, which the adapter here, computing on the processor, would not.
#[wasm_bindgen_test]
async fn webgpu_agrees_with_the_cpu_by_the_kernels_for_hardware() {
    let gpu = GpuDevice::new(&AdapterChoice::Any).await.unwrap();
    assert_ne!(gpu.report().machine(), Machine::Gpu, "tested above");
    gpu.use_kernels_for(Machine::Gpu);
    agrees(gpu).await;
}

#[wasm_bindgen(module = "/js/device.js")]
extern "C" {
    /// Here for what loading its module does: devices are opened with subgroups.
    #[wasm_bindgen(js_name = openedDevice)]
    fn opened_device() -> wasm_bindgen::JsValue;
}

/// The kernels that an adapter on the processor gets of the page, which opens it with subgroups.
#[wasm_bindgen_test]
async fn webgpu_agrees_with_the_cpu_by_subgroups() {
    let gpu = GpuDevice::new(&AdapterChoice::Any).await.unwrap();
    assert!(!opened_device().is_falsy(), "device.js watches");
    let there = js_sys::Reflect::get(&js_sys::global(), &"rmaeSubgroups".into()).unwrap();
    if !there.is_truthy() {
        console_log!("skipped: this browser's adapter has no subgroups of one size");
        return;
    }
    assert_eq!(gpu.lanes(), None, "wgpu knows of none");
    gpu.assume_subgroups();
    assert!(gpu.lanes().is_some(), "their kernels are taken");
    agrees(gpu).await;
}

async fn agrees(gpu: GpuDevice) {
    let (cpu, gpu) = (results(&Device::cpu(Precision::F32)).await, results(&Device::Gpu(gpu)).await);
    let (latent, logits) = (gpu.latent.relative_error(&cpu.latent), gpu.logits.relative_error(&cpu.logits));
    let other = gpu.masks.iter().zip(&cpu.masks).filter(|(a, b)| a != b).count();
    let share = other as f64 / cpu.masks.len() as f64;
    console_log!("latent {latent:.1e}, logits {logits:.1e}, pixels of masks that differ {share:.1e}");
    assert!(latent <= TOLERANCE && logits <= TOLERANCE && share <= TOLERANCE);
}
