//! Sums over one axis, repetition along one, and the outer sum of queries and memory.

use candle_core::Tensor;

use super::kernel::Slot::{self, Input, Output, Scratch};
use super::kernel::{COLUMNS_A_GROUP, Dispatch, Kernel, Lowering, fields, kernel};
use super::{Op, ShapeProblem, Vjp, arity, ensure, numel};
use crate::cpu::math::Real;
use crate::cpu::pool::{unspecified, zeros};
use crate::cpu::rows;
use crate::cpu::slices::{Read, for_row_blocks, for_rows, new_tensor, per_dtype};
use crate::error::Result;
use crate::graph::NodeId;
use rayon::prelude::*;

type Shapes<'a> = &'a [&'a [usize]];

/// `y[o,i] = scale · Σₙ x[o,n,i]`.
#[derive(Clone, Debug)]
pub struct SumAxis {
    /// Elements before the axis.
    pub outer: usize,
    /// Length of the axis.
    pub n: usize,
    /// Elements after the axis.
    pub inner: usize,
    /// Factor on the sum; `1/n` makes a mean.
    pub scale: f64,
    /// Shape of the result, of `outer·inner` elements.
    pub shape: Vec<usize>,
}

impl Op for SumAxis {
    fn name(&self) -> &'static str {
        "sum_axis"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        let want = self.outer * self.n * self.inner;
        ensure(numel(inputs[0]) == want, || format!("expected {want} elements"))?;
        ensure(numel(&self.shape) == self.outer * self.inner, || "the result shape does not fit".into())?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let shape = cx.shape(0);
        let Self { outer, n, inner, scale, .. } = *self;
        Ok(vec![cx.when(0, |cx| cx.graph.apply(BroadcastAxis { outer, n, inner, scale, shape }, &[dy]))?])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = inputs[0].reshape((self.outer, self.n, self.inner))?;
        x.sum(1)?.affine(self.scale, 0.0)?.reshape(self.shape.clone())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let x = Read::<T>::new(&inputs[0])?;
            let y = if self.outer == 1 { self.sum_columns::<T>(&x) } else { self.sum_parts::<T>(&x) };
            new_tensor(y, self.shape.clone())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let _ = io;
        self.dispatches(Input(0), 0)
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        numel(inputs[0]) as u64
    }
}

/// Rows of one partial sum: a fixed number, so that the result does not depend on the threads.
const ROWS_A_BLOCK: usize = 512;

impl SumAxis {
    fn sum_parts<T: Real>(&self, x: &[T]) -> Vec<T> {
        let mut y = zeros(self.outer * self.inner);
        for_rows(&mut y, self.inner, |o, sum| {
            let part = &x[o * self.n * self.inner..(o + 1) * self.n * self.inner];
            self.sum_rows(part, sum);
        });
        y
    }

    /// One outer part with many rows: blocks of rows in parallel, then their sums in order.
    fn sum_columns<T: Real>(&self, x: &[T]) -> Vec<T> {
        let parts: Vec<Vec<T>> = x
            .par_chunks(ROWS_A_BLOCK * self.inner.max(1))
            .map(|rows| {
                let mut sum = vec![T::ZERO; self.inner];
                rows::sum_rows(rows, &mut sum);
                sum
            })
            .collect();
        let mut total = vec![T::ZERO; self.inner];
        for part in &parts {
            rows::add_assign(&mut total, part);
        }
        self.rescale(&mut total);
        total
    }

    fn sum_rows<T: Real>(&self, rows: &[T], sum: &mut [T]) {
        rows::sum_rows(rows, sum);
        self.rescale(sum);
    }

    fn rescale<T: Real>(&self, sum: &mut [T]) {
        if self.scale != 1.0 {
            rows::rescale(sum, T::from_real(self.scale));
        }
    }
}

/// `y[o,n,i] = scale · x[o,i]`.
#[derive(Clone, Debug)]
pub struct BroadcastAxis {
    /// Elements before the axis.
    pub outer: usize,
    /// Length of the axis.
    pub n: usize,
    /// Elements after the axis.
    pub inner: usize,
    /// Factor.
    pub scale: f64,
    /// Shape of the result, of `outer·n·inner` elements.
    pub shape: Vec<usize>,
}

impl Op for BroadcastAxis {
    fn name(&self) -> &'static str {
        "broadcast_axis"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        ensure(numel(inputs[0]) == self.outer * self.inner, || "the input does not fit".into())?;
        let want = self.outer * self.n * self.inner;
        ensure(numel(&self.shape) == want, || format!("the result shape needs {want} elements"))?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let shape = cx.shape(0);
        let Self { outer, n, inner, scale, .. } = *self;
        Ok(vec![cx.when(0, |cx| cx.graph.apply(SumAxis { outer, n, inner, scale, shape }, &[dy]))?])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = inputs[0].reshape((self.outer, 1, self.inner))?.affine(self.scale, 0.0)?;
        x.broadcast_as((self.outer, self.n, self.inner))?.contiguous()?.reshape(self.shape.clone())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let x = Read::<T>::new(&inputs[0])?;
            let scale = T::from_real(self.scale);
            let mut y = unspecified::<T>(self.outer * self.n * self.inner);
            for_rows(&mut y, self.inner, |row, y| {
                rows::scale(&x[row / self.n * self.inner..][..self.inner], scale, y);
            });
            new_tensor(y, self.shape.clone())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let len = numel(&io.output);
        let params = fields![len, self.n, self.inner, self.scale];
        vec![Dispatch::elements(&BROADCAST_AXIS, params, &[Input(0), Output], len)]
    }
}

/// `x[b,k,l,:] = q[b,k,:] + m[b,l,:]`: every region query added to every memory token, the heart of
/// the length-variant decoder (R-MAE, section 3.2). Inputs `q [B,k,D]`, `m [B,L,D]`.
#[derive(Clone, Debug)]
pub struct OuterAdd;

impl Op for OuterAdd {
    fn name(&self) -> &'static str {
        "outer_add"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        let (q, m) = (inputs[0], inputs[1]);
        ensure(q.len() == 3 && m.len() == 3, || "takes [B,k,D] and [B,L,D]".into())?;
        ensure(q[0] == m[0] && q[2] == m[2], || "batch or width differ".into())?;
        Ok(vec![q[0], q[1], m[1], q[2]])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let (q, m) = (cx.shape(0), cx.shape(1));
        let (b, k, l, d) = (q[0], q[1], m[1], q[2]);
        let dq = cx.when(0, |cx| {
            cx.graph.apply(SumAxis { outer: b * k, n: l, inner: d, scale: 1.0, shape: q }, &[dy])
        })?;
        let dm = cx.when(1, |cx| {
            cx.graph.apply(SumAxis { outer: b, n: k, inner: l * d, scale: 1.0, shape: m }, &[dy])
        })?;
        Ok(vec![dq, dm])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].unsqueeze(2)?.broadcast_add(&inputs[1].unsqueeze(1)?)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (q, m) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (b, k, d) = inputs[0].dims3()?;
            let l = inputs[1].dim(1)?;
            let mut y = unspecified::<T>(b * k * l * d);
            for_row_blocks(&mut y, l * d, |first, blocks| {
                for (i, block) in blocks.chunks_exact_mut(l * d).enumerate() {
                    let query = &q[(first + i) * d..(first + i + 1) * d];
                    let image = (first + i) / k;
                    rows::add_to_each(query, &m[image * l * d..(image + 1) * l * d], block);
                }
            });
            new_tensor(y, vec![b, k, l, d])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, q, m) = (numel(&io.output), &io.inputs[0], &io.inputs[1]);
        let params = fields![len, q[1], m[1], q[2]];
        vec![Dispatch::elements(&OUTER_ADD, params, &[Input(0), Input(1), Output], len)]
    }
}

/// `y[o,j,i,:] = x[o,i,j,:]`: two neighbouring axes of lengths `a` and `b` change places.
#[derive(Clone, Debug)]
pub struct SwapAxes {
    /// Elements before the axes.
    pub outer: usize,
    /// Length of the first axis of the input.
    pub a: usize,
    /// Length of its second axis.
    pub b: usize,
    /// Elements after the axes.
    pub inner: usize,
    /// Shape of the result.
    pub shape: Vec<usize>,
}

impl Op for SwapAxes {
    fn name(&self) -> &'static str {
        "swap_axes"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        let want = self.outer * self.a * self.b * self.inner;
        let fits = numel(inputs[0]) == want && numel(&self.shape) == want;
        ensure(fits, || format!("expected {want} elements"))?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let (dy, shape) = (cx.grad, cx.shape(0));
        let back = Self { outer: self.outer, a: self.b, b: self.a, inner: self.inner, shape };
        Ok(vec![cx.when(0, |cx| cx.graph.apply(back, &[dy]))?])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = inputs[0].reshape((self.outer, self.a, self.b, self.inner))?;
        x.transpose(1, 2)?.contiguous()?.reshape(self.shape.clone())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let Self { a, b, inner, .. } = *self;
        per_dtype!(inputs[0].dtype(), T => {
            let x = Read::<T>::new(&inputs[0])?;
            let mut y = unspecified::<T>(x.len());
            for_rows(&mut y, inner, |row, y| {
                let (outer, j, i) = (row / (a * b), row / a % b, row % a);
                let from = ((outer * a + i) * b + j) * inner;
                y.copy_from_slice(&x[from..from + inner]);
            });
            new_tensor(y, self.shape.clone())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let len = numel(&io.output);
        let params = fields![len, self.a, self.b, self.inner];
        vec![Dispatch::elements(&SWAP_AXES, params, &[Input(0), Output], len)]
    }

    fn flops(&self, _: Shapes, _: &[usize]) -> u64 {
        0
    }
}

/// Rows that one GPU thread adds up where there are many.
pub(super) const ROWS_A_CHUNK: usize = 64;

/// Threads that keep a large GPU busy.
const ENOUGH_THREADS: usize = 1 << 16;

impl SumAxis {
    /// The sum of `x` into the output, in chunks of rows first where one thread a column would be too
    /// few; scratch buffers from `scratch` on hold the sums of the chunks.
    pub(super) fn dispatches(&self, x: Slot, scratch: usize) -> Vec<Dispatch> {
        let columns = self.outer * self.inner;
        if self.n <= 2 * ROWS_A_CHUNK || columns >= ENOUGH_THREADS {
            return vec![self.dispatch(x, Output, self.n.max(1), self.scale)];
        }
        let chunks = self.n.div_ceil(ROWS_A_CHUNK);
        let sums = Scratch(scratch, columns * chunks);
        let mut all = vec![self.dispatch(x, sums, ROWS_A_CHUNK, 1.0)];
        all.extend(Self { n: chunks, ..self.clone() }.dispatches(sums, scratch + 1));
        all
    }

    fn dispatch(&self, x: Slot, y: Slot, chunk: usize, scale: f64) -> Dispatch {
        let chunks = self.n.div_ceil(chunk).max(1);
        let len = self.outer * chunks * self.inner;
        let params = fields![len, self.n, self.inner, chunk, chunks, scale];
        Dispatch::new(&SUM_AXIS, params, &[x, y], len.div_ceil(COLUMNS_A_GROUP))
    }
}

pub(super) static SUM_AXIS: Kernel = kernel!("sum_axis");
pub(super) static BROADCAST_AXIS: Kernel = kernel!("broadcast_axis");
pub(super) static OUTER_ADD: Kernel = kernel!("outer_add");
pub(super) static SWAP_AXES: Kernel = kernel!("swap_axes");
