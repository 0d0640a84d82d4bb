//! The product of matrices as textbooks have it, for comparison.

use candle_core::Tensor;

#[cfg(feature = "training")]
use super::Vjp;
use super::kernel::Slot::{Input, Output};
use super::kernel::{Dispatch, Kernel, Lowering, MAX_GROUPS, fields, kernel};
use super::{Op, ShapeProblem, ensure};
#[cfg(feature = "training")]
use crate::error::Result;
#[cfg(feature = "training")]
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

/// `C = A·B` of `A [m, k]` and `B [k, n]` by a kernel with tiles of 16 × 16 in workgroup memory and a
/// thread an element: the speed that [`super::linear`]'s kernels are multiples of. No model uses it,
/// and it has no gradient.
#[derive(Clone, Debug)]
pub struct TiledProduct;

impl Op for TiledProduct {
    fn name(&self) -> &'static str {
        "tiled_product"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        super::arity(inputs, 2)?;
        let &[[m, k], [rows, n]] = inputs else { return Err("takes two matrices".into()) };
        let fits = m.div_ceil(TILE) <= MAX_GROUPS && n.div_ceil(TILE) <= MAX_GROUPS;
        ensure(k == rows && fits, || "A and B disagree, or are too large".into())?;
        Ok(vec![*m, *n])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].matmul(&inputs[1])
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].matmul(&inputs[1])
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (m, k, n) = (io.inputs[0][0], io.inputs[0][1], io.inputs[1][1]);
        let mut dispatch = Dispatch::new(&MATMUL_TILED, fields![m, n, k], &[Input(0), Input(1), Output], 1);
        dispatch.workgroups = [n.div_ceil(TILE) as u32, m.div_ceil(TILE) as u32, 1];
        vec![dispatch]
    }

    fn flops(&self, inputs: Shapes, output: &[usize]) -> u64 {
        2 * inputs[0][1] as u64 * output.iter().product::<usize>() as u64
    }
}

/// Rows and columns of a workgroup.
const TILE: usize = 16;

pub(super) static MATMUL_TILED: Kernel = kernel!("matmul_tiled");
