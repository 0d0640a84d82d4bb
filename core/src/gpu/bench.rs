//! How fast a device multiplies matrices.

use web_time::Instant;

use super::device::GpuDevice;
use crate::error::Result;
use crate::exec::Tensors;
use crate::graph::Graph;
use crate::ops::linear::Linear;
use crate::tensor::HostTensor;

/// Products in one run.
const CHAIN: usize = 8;

impl GpuDevice {
    /// GFLOP/s of f32 matrix products with this project's kernel, the best of three runs: small
    /// matrices first, large ones where the device is fast.
    ///
    /// # Errors
    /// Those of a run.
    pub async fn measure_gflops(&self) -> Result<f64> {
        let small = self.gflops_at(256).await?;
        if small < 100.0 {
            return Ok(small);
        }
        Ok(small.max(self.gflops_at(2048).await?))
    }

    async fn gflops_at(&self, n: usize) -> Result<f64> {
        let mut program = self.compile(&chain(n)?, &["y"], false).await?;
        // 1/n keeps every value at 1.
        let square = HostTensor::f32(&[n, n], vec![1.0 / n as f32; n * n])?;
        let last = HostTensor::f32(&[1, n], vec![1.0; n])?;
        let mut params = self.params(&Tensors::from([("w".into(), square), ("last".into(), last)])).await?;
        let inputs = Tensors::from([("x".into(), HostTensor::f32(&[n, n], vec![1.0; n * n])?)]);
        program.run(&mut params, &inputs).await?;
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let start = Instant::now();
            program.run(&mut params, &inputs).await?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(CHAIN as f64 * 2.0 * (n as f64).powi(3) / best / 1e9)
    }
}

/// `CHAIN` products of `[n, n]` matrices, and a last one that leaves `n` numbers to read back.
fn chain(n: usize) -> Result<Graph> {
    let mut graph = Graph::new();
    let mut x = graph.input("x", &[n, n]);
    let w = graph.param("w", &[n, n], false);
    for _ in 0..CHAIN {
        x = graph.apply(Linear, &[x, w])?;
    }
    let last = graph.param("last", &[1, n], false);
    let y = graph.apply(Linear, &[x, last])?;
    graph.set_output("y", y);
    Ok(graph)
}
