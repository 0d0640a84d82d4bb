//! Which variants of the products' kernels are fastest, by measuring them.
//!
//! [`GpuDevice::tune`] measures the products of a graph on scratch buffers, one of each class, and
//! [`GpuDevice::tuned`] lets programs take what was found. Nothing is measured unasked.

mod on_device;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use web_time::Instant;

use super::device::GpuDevice;
use crate::error::{Error, Result};
use crate::graph::{Graph, Source};
use crate::ops::kernel::Machine;
use crate::ops::variant::{Choices, Product, ShapeClass, Variant};
use on_device::OnDevice;

pub use stored::TuningKey;

/// How long tuning takes at most, but for the measurement under way then.
pub const TUNING_BUDGET: Duration = Duration::from_secs(2);

/// A variant must take this share of the default's time, or less: below are the clock's whims.
const WORTH_IT: f64 = 0.97;

/// What tuning found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tuning {
    /// What was known before, and what was found.
    pub choices: Choices,
    /// Classes of products that were measured.
    pub measured: usize,
    /// Those that were known.
    pub known: usize,
    /// Those for which no time was left: they keep the default, and may be measured another time.
    pub left: usize,
}

/// One measurement of a variant.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) seconds: f64,
    /// Numbers that differ where the results differ.
    pub(crate) result: Vec<f32>,
}

/// What measures variants: a device, or a test's idea of one.
pub(crate) trait Measure {
    /// How long it has been at work.
    fn elapsed(&self) -> Duration;

    /// Lets a variant compute a product.
    fn trial(&mut self, product: &Product, variant: Variant) -> impl Future<Output = Result<Trial>>;

    /// The largest difference of two right results, relative to their largest number.
    fn tolerance(&self) -> f32;
}

impl GpuDevice {
    /// Finds the fastest variant for each class of products of a graph that this device's choices do not
    /// know, until the budget is spent; the costliest classes come first.
    ///
    /// # Errors
    /// [`Error::DeviceLost`]. What else fails, a variant that a driver does not compile, is not chosen.
    pub async fn tune(&self, graph: &Graph, budget: Duration) -> Result<Tuning> {
        let mut measure = OnDevice::new(self, Instant::now());
        tune(&mut measure, self.machine(), &products(graph), self.choices(), budget).await
    }
}

/// The products of a graph.
fn products(graph: &Graph) -> Vec<Product> {
    let product = |node: &crate::graph::Node| {
        let Source::Op { op, inputs } = &node.source else { return None };
        let shapes: Vec<&[usize]> = inputs.iter().map(|&id| graph.shape(id)).collect();
        op.product(&shapes, &node.shape).filter(|product| product.flops() > 0)
    };
    graph.nodes().iter().filter_map(product).collect()
}

/// For each class its largest product, the classes with most work first.
fn by_work(products: &[Product]) -> Vec<(ShapeClass, Product)> {
    let mut classes: BTreeMap<ShapeClass, (u64, Product)> = BTreeMap::new();
    for product in products {
        let (work, largest) = classes.entry(product.class()).or_insert((0, *product));
        *work += product.flops();
        if product.flops() > largest.flops() {
            *largest = *product;
        }
    }
    let mut classes: Vec<_> = classes.into_iter().collect();
    classes.sort_by_key(|(_, (work, _))| std::cmp::Reverse(*work));
    classes.into_iter().map(|(class, (_, largest))| (class, largest)).collect()
}

async fn tune(
    measure: &mut impl Measure, machine: Machine, products: &[Product], known: &Choices, budget: Duration,
) -> Result<Tuning> {
    let mut tuning = Tuning { choices: known.clone(), ..Tuning::default() };
    let variants = Variant::of(machine);
    if variants.len() < 2 {
        return Ok(tuning);
    }
    for (class, product) in by_work(products) {
        if known.know(class) {
            tuning.known += 1;
        } else if let Some(variant) = fastest(measure, &variants, &product, budget).await? {
            tuning.choices.set(class, variant);
            tuning.measured += 1;
        } else {
            tuning.left += 1;
        }
    }
    Ok(tuning)
}

/// The fastest of the variants whose results are the first one's; none where the budget ends before all
/// were measured, or the first cannot be.
async fn fastest(
    measure: &mut impl Measure, variants: &[Variant], product: &Product, budget: Duration,
) -> Result<Option<Variant>> {
    let mut want: Option<Vec<f32>> = None;
    let mut best = (variants[0], f64::INFINITY);
    for &variant in variants {
        if measure.elapsed() >= budget {
            return Ok(None);
        }
        let trial = match (measure.trial(product, variant).await, &want) {
            (Err(error @ Error::DeviceLost(_)), _) => return Err(error),
            (Err(_), None) => return Ok(None),
            (Err(_), Some(_)) => continue,
            (Ok(trial), _) => trial,
        };
        match &want {
            None => {
                best.1 = WORTH_IT * trial.seconds;
                want = Some(trial.result);
            }
            Some(want) if trial.seconds < best.1 && agree(want, &trial.result, measure.tolerance()) => {
                best = (variant, trial.seconds);
            }
            Some(_) => {}
        }
    }
    Ok(Some(best.0))
}

/// Whether results are the same but for rounding; those with NaN never are.
fn agree(want: &[f32], have: &[f32], tolerance: f32) -> bool {
    let largest = want.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
    let close = |(x, y): (&f32, &f32)| (x - y).abs() <= tolerance * largest;
    want.len() == have.len() && want.iter().zip(have).all(close)
}
