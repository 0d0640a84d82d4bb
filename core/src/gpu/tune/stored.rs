//! What tuning found, as text to keep.

use serde::{Deserialize, Serialize};

use crate::gpu::device::GpuDevice;
use crate::ops::kernel::{Halves, Kernel, all};
use crate::ops::variant::{Choices, ShapeClass, Variant};

/// What measurements hold for: one adapter with one driver, one way of storing numbers, and the kernels as
/// they are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TuningKey {
    adapter: String,
    driver: String,
    backend: String,
    machine: String,
    mixed: bool,
    kernels: String,
}

/// The file's contents.
#[derive(Serialize, Deserialize)]
struct Stored {
    key: TuningKey,
    products: Vec<(ShapeClass, String)>,
}

impl GpuDevice {
    /// What this device's measurements hold for.
    #[must_use]
    pub fn tuning_key(&self) -> TuningKey {
        let report = self.report();
        TuningKey {
            adapter: report.name.clone(),
            driver: report.driver.clone(),
            backend: report.backend.clone(),
            machine: format!("{:?}", self.machine()),
            mixed: self.is_mixed(),
            kernels: format!("{:016x}", hash(&texts(&Variant::of(self.machine())))),
        }
    }
}

impl TuningKey {
    /// The name of the file that keeps them.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("tuned-{:016x}.json", hash(&format!("{self:?}")))
    }

    /// The file's text.
    ///
    /// # Errors
    /// None that is known: what serialisation reports.
    pub fn write(&self, choices: &Choices) -> Result<String, String> {
        let products = choices.iter().map(|(class, name)| (*class, name.to_owned())).collect();
        serde_json::to_string(&Stored { key: self.clone(), products }).map_err(|e| e.to_string())
    }

    /// What a file's text says; nothing where it holds for something else.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn read(&self, text: &str) -> Result<Choices, String> {
        let stored: Stored = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let own = stored.key == *self;
        Ok(if own { stored.products.into_iter().collect() } else { Choices::default() })
    }
}

/// Everything that decides how fast the variants are.
fn texts(variants: &[Variant]) -> String {
    let text = |variant: &Variant| match variant {
        Variant::Tiled(tile) => format!("{tile:?}"),
        other => other.name().to_owned(),
    };
    let of_products = |kernel: &&Kernel| kernel.name.starts_with("matmul") || kernel.name == "sum_axis";
    let kernels = all().into_iter().filter(of_products).map(|kernel| kernel.text(Halves::default(), &[]));
    variants.iter().map(text).chain(kernels).collect()
}

/// FNV-1a: the standard library's hashes may change from one version to the next.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
