//! The core in a real browser: `cargo xtask test`, stage "browser".
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use rmae_web::check::{EngineCheck, TOLERANCE};
use wasm_bindgen_test::{console_log, wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
async fn the_cpu_executor_runs_the_model() {
    let report = EngineCheck::new(64).unwrap().run("cpu").await.unwrap();
    console_log!("{report:?}");
    assert!(report.agrees, "{report:?}");
}

/// The test browser is started with a WebGPU adapter, so that its absence is a failure here.
#[wasm_bindgen_test]
async fn webgpu_agrees_with_the_cpu() {
    let mut check = EngineCheck::new(224).unwrap();
    let report = check.run("webgpu").await.unwrap();
    console_log!("{report:?}");
    assert!(report.agrees && report.relative_error.unwrap() <= TOLERANCE, "{report:?}");
}

#[wasm_bindgen_test]
async fn an_unknown_engine_is_an_error() {
    let why = EngineCheck::new(64).unwrap().run("abacus").await.unwrap_err();
    assert!(why.to_string().contains("abacus"), "{why}");
}
