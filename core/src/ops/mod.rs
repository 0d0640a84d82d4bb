//! The ops that the model is made of: one file a family, forward and backward side by side.
//!
//! An op states, in one place, its shape rule ([`Op::infer`]), its gradient rule ([`Op::vjp`]), its
//! plain definition in candle ([`Op::reference`]), a faster CPU evaluation ([`Op::cpu`]), and the
//! WGSL dispatches that compute it ([`Op::lower`]). Nothing else in the crate knows single ops.

pub mod attention;
mod attention_products;
pub mod boundary;
pub mod dice;
mod direct;
pub mod elementwise;
pub mod fused;
pub mod kernel;
pub mod layer_norm;
pub mod linear;
pub mod losses;
pub mod patches;
pub mod reduce;
pub mod tiled;
pub mod tokens;
pub mod variant;

use std::fmt;

use candle_core::Tensor;

use crate::error::Result;
use crate::graph::{Graph, NodeId};
use kernel::{Dispatch, Lowering};
use variant::Product;

/// Why an op cannot take its inputs; becomes [`crate::error::Error::Shape`] with the op's name and place.
pub type ShapeProblem = String;

/// One operation: its shapes, its gradient, and its evaluation on each executor.
pub trait Op: fmt::Debug + Send + Sync {
    /// Name in print-outs, errors and profiles, e.g. `layer_norm`.
    fn name(&self) -> &'static str;

    /// The shape of the result.
    ///
    /// # Errors
    /// What disagrees between the inputs.
    fn infer(&self, inputs: &[&[usize]]) -> std::result::Result<Vec<usize>, ShapeProblem>;

    /// Appends the gradient with respect to each input that needs one ([`Vjp::needs`]).
    ///
    /// # Errors
    /// Those of [`Graph::apply`].
    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>>;

    /// Which values the gradient reads; decides what is kept, or computed again, for it.
    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[], output: false }
    }

    /// The definition, in candle's differentiable ops: what every other evaluation is tested against.
    ///
    /// # Errors
    /// Those of candle.
    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor>;

    /// The CPU executor's evaluation; inputs are contiguous, and so must be the result.
    ///
    /// # Errors
    /// Those of candle.
    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor>;

    /// The GPU executor's evaluation, as a list of dispatches.
    fn lower(&self, io: &Lowering) -> Vec<Dispatch>;

    /// The product of matrices that the op is, where it is one of those whose kernel is chosen.
    fn product(&self, inputs: &[&[usize]], output: &[usize]) -> Option<Product> {
        let _ = (inputs, output);
        None
    }

    /// Floating-point operations of one evaluation.
    fn flops(&self, inputs: &[&[usize]], output: &[usize]) -> u64 {
        let _ = inputs;
        numel(output) as u64
    }

    /// Whether the result is the first input under another shape, sharing its storage.
    fn is_view(&self) -> bool {
        false
    }

    /// Inputs that hold indices; all others hold reals.
    fn index_inputs(&self) -> &'static [usize] {
        &[]
    }
}

/// The forward values that a gradient rule reads, besides the gradient of the result.
#[derive(Clone, Copy, Debug)]
pub struct Uses {
    /// Indices of inputs.
    pub inputs: &'static [usize],
    /// The result itself.
    pub output: bool,
}

/// What a gradient rule sees.
#[derive(Debug)]
pub struct Vjp<'a> {
    /// The graph to append to.
    pub graph: &'a mut Graph,
    /// The inputs of the op.
    pub inputs: &'a [NodeId],
    /// The result of the op.
    pub output: NodeId,
    /// The gradient of the loss with respect to the result.
    pub grad: NodeId,
    /// Which inputs need a gradient.
    pub needs: &'a [bool],
}

impl Vjp<'_> {
    /// Runs `rule` where input `i` needs a gradient.
    ///
    /// # Errors
    /// Those of `rule`.
    pub fn when(
        &mut self, i: usize, rule: impl FnOnce(&mut Self) -> Result<NodeId>,
    ) -> Result<Option<NodeId>> {
        if self.needs[i] { rule(self).map(Some) } else { Ok(None) }
    }

    /// The shape of input `i`.
    #[must_use]
    pub fn shape(&self, i: usize) -> Vec<usize> {
        self.graph.shape(self.inputs[i]).to_vec()
    }
}

/// Product of a shape.
#[must_use]
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A shape as `[rows, last]`.
pub(crate) fn rows_of(shape: &[usize]) -> (usize, usize) {
    let last = shape.last().copied().unwrap_or(1);
    (numel(shape).checked_div(last).unwrap_or(0), last)
}

/// Checks the number of inputs.
pub(crate) fn arity(inputs: &[&[usize]], n: usize) -> std::result::Result<(), ShapeProblem> {
    if inputs.len() == n { Ok(()) } else { Err(format!("takes {n} inputs, got {}", inputs.len())) }
}

/// Fails with a problem where a condition does not hold.
pub(crate) fn ensure(ok: bool, problem: impl FnOnce() -> String) -> std::result::Result<(), ShapeProblem> {
    if ok { Ok(()) } else { Err(problem()) }
}
