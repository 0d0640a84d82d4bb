//! The core in a real browser: `cargo xtask test`, stage "browser".
#![cfg(target_arch = "wasm32")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use rmae_web::check::EngineCheck;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
async fn an_unknown_engine_is_an_error() {
    let mut check = EngineCheck::new(32);
    let why = check.run("abacus").await.unwrap_err();
    assert!(why.contains("abacus"), "{why}");
}
