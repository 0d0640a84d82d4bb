//! Weights laid out for the products' kernels once, and not anew for every product: what is kept beside
//! weights that programs run with again and again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{Tensor, TensorId};

use super::gemm::Mat;
use super::math::Real;

/// The packed form of each weight, by its tensor; none as long as it was not asked for.
pub type Kept<T> = HashMap<TensorId, Option<Arc<Vec<T>>>>;

/// What is kept of some weights, for all programs that run with them.
#[derive(Debug, Default)]
pub struct Packed {
    pub f32: Kept<f32>,
    /// Programs that ran with them: the first has no use for a second copy, if it stays the only one.
    runs: u64,
}

thread_local! {
    /// That of the weights of the program that runs on this thread.
    static CURRENT: RefCell<Option<Packed>> = const { RefCell::new(None) };
}

impl Packed {
    /// Makes this the program's while `f` runs.
    pub fn during<R>(&mut self, f: impl FnOnce() -> R) -> R {
        self.runs += 1;
        let before = CURRENT.replace(Some(std::mem::take(self)));
        let result = f();
        *self = CURRENT.replace(before).unwrap_or_default();
        result
    }
}

/// Says that a tensor is a weight, the same in every run.
pub fn expect(weight: &Tensor) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(packed) = current.as_mut().filter(|packed| packed.runs > 1) {
            packed.f32.entry(weight.id()).or_default();
        }
    });
}

/// The `k × n` factor `b`, whose elements are those of `tensor`, as the kernels read it; none where it
/// is no weight of a program that uses such forms, or no kernel has one.
pub fn of<T: Real>(tensor: &Tensor, b: Mat<T>, [k, n]: [usize; 2]) -> Option<Arc<Vec<T>>> {
    kept(tensor, || T::pack(b, k, n))
}

/// What is kept of a weight, made by `pack` if it is not there yet. Nothing is borrowed meanwhile: a
/// thread that waits for others to pack their share may take up another program.
fn kept<T: Real>(tensor: &Tensor, pack: impl FnOnce() -> Option<Vec<T>>) -> Option<Arc<Vec<T>>> {
    let look = |found: Option<Arc<Vec<T>>>| {
        CURRENT.with_borrow_mut(|current| {
            let kept = T::packed(current.as_mut()?)?.get_mut(&tensor.id())?;
            if found.is_some() {
                kept.clone_from(&found);
            }
            Some(kept.clone())
        })
    };
    look(None)?.or_else(|| look(pack().map(Arc::new))?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use candle_core::{DType, Tensor};
    use pollster::block_on;

    use super::Packed;
    use crate::exec::{Device, Params, Precision, Tensors};
    use crate::graph::Graph;
    use crate::ops::linear::Linear;
    use crate::tensor::HostTensor;

    const ROWS: usize = 3;
    const K: usize = 40;
    const N: usize = 50;

    fn weights(factor: f32) -> Tensors {
        let numbers = (0..K * N).map(|i| factor * (i % 13) as f32).collect();
        Tensors::from([("w".into(), HostTensor::f32(&[N, K], numbers).unwrap())])
    }

    fn kept(params: &Params) -> Vec<bool> {
        let Params::Cpu(params) = params else { return vec![] };
        params.packed.f32.values().map(Option::is_some).collect()
    }

    #[test]
    fn another_program_may_run_while_a_weight_is_packed() {
        let tensor = Tensor::zeros(1, DType::F32, &candle_core::Device::Cpu).unwrap();
        let mut packed = Packed { runs: 1, ..Packed::default() };
        let numbers = packed.during(|| {
            super::expect(&tensor);
            super::kept::<f32>(&tensor, || {
                // As a thread does that takes up other work of its pool.
                Packed::default().during(|| super::expect(&tensor));
                Some(vec![3.0])
            })
        });
        let packs = super::Real::pack(super::Mat::rows(&[0f32], 1), 1, 1).is_some();
        assert_eq!(numbers.is_some(), packs);
        assert_eq!(packed.f32.values().flatten().count(), usize::from(packs));
    }

    #[test]
    fn weights_are_packed_when_they_are_used_again_and_forgotten_when_others_come() {
        let mut graph = Graph::new();
        let (x, w) = (graph.input("x", &[ROWS, K]), graph.param("w", &[N, K], false));
        let y = graph.apply(Linear, &[x, w]).unwrap();
        graph.set_output("y", y);
        let device = Device::cpu(Precision::F32);
        let mut program = block_on(device.compile(&graph, &["y"], false)).unwrap();
        let ones = HostTensor::f32(&[ROWS, K], vec![1.0; ROWS * K]).unwrap();
        let inputs = Tensors::from([("x".into(), ones)]);
        let mut run = |params: &mut Params| {
            let y = block_on(program.run(params, &inputs)).unwrap().remove("y").unwrap();
            (y.to_f64(), kept(params))
        };
        // Integers: exact in any order.
        let sums = |factor: f64| -> Vec<f64> {
            let row = |n: usize| (0..K).map(|k| factor * ((n * K + k) % 13) as f64).sum();
            (0..ROWS).flat_map(|_| (0..N).map(row)).collect()
        };
        let packs = super::Real::pack(super::Mat::rows(&[0f32], 1), 1, 1).is_some();
        for factor in [1.0, 2.0] {
            let mut params = block_on(device.params(&weights(factor))).unwrap();
            let expected = sums(f64::from(factor));
            assert_eq!(run(&mut params), (expected.clone(), vec![]), "a first run packs nothing");
            for _ in 0..2 {
                assert_eq!(run(&mut params), (expected.clone(), vec![packs]));
            }
        }
    }
}
