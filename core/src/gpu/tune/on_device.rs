//! Measuring variants on a device.

use std::time::Duration;

use web_time::Instant;

use super::{Measure, Trial};
use crate::error::Result;
use crate::exec::Tensors;
use crate::gpu::device::GpuDevice;
use crate::gpu::params::GpuParams;
use crate::gpu::plan::lower;
use crate::graph::{Graph, NodeId};
use crate::ops::linear::{Linear, LinearGradInput, LinearGradWeight};
use crate::ops::reduce::SumAxis;
use crate::ops::variant::{Choices, Product, Variant};
use crate::tensor::HostTensor;

/// Best of so many runs, after one that warms up and whose result is compared.
const RUNS: usize = 3;

/// One run is enough where it takes this long.
const LONG: f64 = 0.05;

/// Elements of all three matrices together: larger products are measured on a part of them.
const ELEMENTS: usize = 16 << 20;

/// Measures on scratch buffers.
pub(super) struct OnDevice<'a> {
    device: &'a GpuDevice,
    begun: Instant,
    /// The matrices of the product that was measured last.
    matrices: Option<(Product, GpuParams)>,
}

impl<'a> OnDevice<'a> {
    pub(super) fn new(device: &'a GpuDevice, begun: Instant) -> Self {
        Self { device, begun, matrices: None }
    }

    async fn matrices(&mut self, product: &Product, graph: &Graph) -> Result<&mut GpuParams> {
        let kept = self.matrices.take().filter(|(of, _)| of == product);
        let params = match kept {
            Some((_, params)) => params,
            None => self.device.params(&random_params(graph)?).await?,
        };
        Ok(&mut self.matrices.insert((*product, params)).1)
    }
}

impl Measure for OnDevice<'_> {
    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn trial(&mut self, product: &Product, variant: Variant) -> Result<Trial> {
        let product = small_enough(product);
        let (graph, y) = graph_of(&product)?;
        let device = self.device.clone().tuned(Choices::always(variant));
        let steps = lower(&device, &graph, y.index())?.len();
        let mut program = device.compile(&graph, &["rows", "columns"], false).await?;
        let params = self.matrices(&product, &graph).await?;
        let sums = program.run(params, &Tensors::new()).await?;
        let mut seconds = f64::INFINITY;
        for _ in 0..RUNS {
            seconds = seconds.min(program.seconds_of_first(steps, params).await?);
            if seconds > LONG {
                break;
            }
        }
        Ok(Trial { seconds, result: sums.values().flat_map(HostTensor::to_f32).collect() })
    }

    fn tolerance(&self) -> f32 {
        // Results in f16 differ by a unit in the last place wherever sums round to another side.
        if self.device.is_mixed() { 5e-3 } else { 1e-4 }
    }
}

/// The product with its longest side halved until there is room for it.
fn small_enough(product: &Product) -> Product {
    let mut small = *product;
    while small.m * small.k + small.k * small.n + small.m * small.n > ELEMENTS {
        let longest = small.m.max(small.n).max(small.k);
        let side = [&mut small.m, &mut small.n, &mut small.k].into_iter().find(|side| **side == longest);
        if let Some(side) = side {
            *side = longest / 2;
        }
    }
    small
}

/// The product of two parameters, and the sums over its rows and columns: an element that is wrong, or
/// stands in the wrong place, changes one or the other.
fn graph_of(product: &Product) -> Result<(Graph, NodeId)> {
    let &Product { m, n, k, trans_a, trans_b, bias } = product;
    let mut graph = Graph::new();
    let a = graph.param("a", &if trans_a { [k, m] } else { [m, k] }, false);
    let b = graph.param("b", &if trans_b { [n, k] } else { [k, n] }, false);
    let y = match (trans_a, trans_b) {
        (false, false) => graph.apply(LinearGradInput { shape: vec![m, n] }, &[a, b])?,
        (true, _) => graph.apply(LinearGradWeight { shape: vec![m, n] }, &[a, b])?,
        (false, true) if bias => {
            let bias = graph.param("bias", &[n], false);
            graph.apply(Linear, &[a, b, bias])?
        }
        (false, true) => graph.apply(Linear, &[a, b])?,
    };
    let rows = graph.apply(SumAxis { outer: m, n, inner: 1, scale: 1.0, shape: vec![m] }, &[y])?;
    let columns = graph.apply(SumAxis { outer: 1, n: m, inner: n, scale: 1.0, shape: vec![n] }, &[y])?;
    graph.set_output("rows", rows);
    graph.set_output("columns", columns);
    Ok((graph, y))
}

fn random_params(graph: &Graph) -> Result<Tensors> {
    let mut tensors = Tensors::new();
    for node in graph.nodes() {
        if let crate::graph::Source::Param { name, .. } = &node.source {
            let values = (0..node.len() as u32).map(|i| scrambled(i ^ node.shape[0] as u32)).collect();
            tensors.insert(name.clone(), HostTensor::f32(&node.shape, values)?);
        }
    }
    Ok(tensors)
}

/// A number between -1/2 and 1/2 that looks random: filling large matrices must take no time.
fn scrambled(i: u32) -> f32 {
    let x = (i ^ i >> 16).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    ((x ^ x >> 16) >> 8) as f32 / (1 << 24) as f32 - 0.5
}
