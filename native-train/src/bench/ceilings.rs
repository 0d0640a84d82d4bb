//! What the machine could do at most, measured.

use std::time::Instant;

use pollster::block_on;
use rayon::prelude::*;
use rmae_core::exec::{Device, Precision, Tensors};
use rmae_core::graph::Graph;
use rmae_core::ops::linear::Linear;
use rmae_core::tensor::HostTensor;

use crate::error::Result;

/// The ceilings of the processor with the threads that the executor uses.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Multiply-adds on registers alone, in FLOP/s.
    pub registers: f64,
    /// This project's product of matrices of 1024 × 1024, in FLOP/s.
    pub product: f64,
    /// Copying memory that no cache holds, in bytes read and written a second.
    pub copy: f64,
}

/// Best of so many tries.
const TRIES: usize = 7;

/// Elements of what is copied, each way.
const COPIED: usize = 32 << 20;

impl Ceilings {
    /// Measures them, which takes about a second.
    ///
    /// # Errors
    /// Those of the executor.
    pub fn measure() -> Result<Self> {
        Ok(Self { registers: registers(), product: product(1024)?, copy: copy() })
    }
}

fn best(mut f: impl FnMut()) -> f64 {
    (0..TRIES).fold(f64::INFINITY, |best, _| {
        let start = Instant::now();
        f();
        best.min(start.elapsed().as_secs_f64())
    })
}

fn product(n: usize) -> Result<f64> {
    let mut graph = Graph::new();
    let (x, w) = (graph.input("x", &[n, n]), graph.param("w", &[n, n], false));
    let y = graph.apply(Linear, &[x, w])?;
    graph.set_output("y", y);
    let device = Device::cpu(Precision::F32);
    let square = HostTensor::f32(&[n, n], vec![1.0 / n as f32; n * n])?;
    let mut params = block_on(device.params(&Tensors::from([("w".into(), square.clone())])))?;
    let mut program = block_on(device.compile(&graph, &["y"], false))?;
    let inputs = Tensors::from([("x".into(), square)]);
    let mut seconds = f64::INFINITY;
    for _ in 0..TRIES {
        // Handing matrices in and out takes as long as a tenth of the product: only the op counts.
        let rmae_core::exec::Program::Cpu(cpu) = &mut program else { break };
        cpu.start_profile();
        block_on(program.run(&mut params, &inputs))?;
        let rmae_core::exec::Program::Cpu(cpu) = &mut program else { break };
        seconds = cpu.take_profile().values().map(|time| time.seconds).sum::<f64>().min(seconds);
    }
    Ok(2.0 * (n as f64).powi(3) / seconds)
}

fn copy() -> f64 {
    let from = vec![1f32; COPIED];
    let mut to = vec![0f32; COPIED];
    let part = COPIED.div_ceil(rayon::current_num_threads());
    let seconds = best(|| {
        to.par_chunks_mut(part).zip(from.par_chunks(part)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    std::hint::black_box(&to);
    (8 * COPIED) as f64 / seconds
}

/// Sums kept at once: enough to hide how long a multiply-add takes, few enough for the registers.
const SUMS: usize = 12;
const LANES: usize = 8;
const STEPS: usize = 2_000_000;

fn registers() -> f64 {
    let threads = rayon::current_num_threads();
    let seconds = best(|| {
        rayon::broadcast(|_| std::hint::black_box(multiply_adds(std::hint::black_box(0.999))));
    });
    (2 * SUMS * LANES * STEPS * threads) as f64 / seconds
}

fn multiply_adds(factor: f32) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has these instructions.
        return unsafe { vectors(factor) };
    }
    let mut sums = [[1f32; LANES]; SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = sum.map(|x| x * factor + factor);
        }
    }
    sums.iter().flatten().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn vectors(factor: f32) -> f32 {
    use std::arch::x86_64::{_mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps};
    let factor = _mm256_set1_ps(factor);
    let mut sums = [factor; SUMS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, factor);
        }
    }
    sums.iter().map(|&sum| _mm256_cvtss_f32(sum)).sum()
}
