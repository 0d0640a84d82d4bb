//! What JavaScript sees.

use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{Clamped, JsError, JsValue};

use crate::check;

/// Runs when the module is loaded: a defect of ours must show in the console with its place in the
/// source, and not as a bare `unreachable executed`.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        web_sys::console::error_1(&JsValue::from_str(&format!("rmae-web: {panic}")));
    }));
}

/// The version of this crate.
#[wasm_bindgen]
#[must_use]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

/// The engine check; see [`check::EngineCheck`].
#[wasm_bindgen]
pub struct EngineCheck(check::EngineCheck);

#[wasm_bindgen]
impl EngineCheck {
    /// Prepares the check on a picture of `side` x `side` pixels.
    ///
    /// # Errors
    /// An `Error` when no model has such a side.
    #[wasm_bindgen(constructor)]
    pub fn new(side: usize) -> Result<Self, JsError> {
        Ok(Self(check::EngineCheck::new(side)?))
    }

    /// The picture's pixels for `ImageData`, `[S, S, 4]`.
    #[must_use]
    pub fn picture(&self) -> Clamped<Vec<u8>> {
        Clamped(self.0.picture().rgba())
    }

    /// Runs the model on `cpu` or `webgpu` and returns a [`check::Report`] as an object.
    ///
    /// # Errors
    /// An `Error` whose message says why the engine cannot be used.
    pub async fn run(&mut self, engine: String) -> Result<JsValue, JsError> {
        let report = self.0.run(&engine).await?;
        Ok(serde_wasm_bindgen::to_value(&report)?)
    }
}
