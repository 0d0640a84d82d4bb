//! Multi-head attention in one op: scores are never kept, the backward pass computes them again.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::kernel::Slot::{self, Input, Output, Scratch};
use super::kernel::{Dispatch, Kernel, Lowering, fields, kernel};
use super::{Op, ShapeProblem, Uses, Vjp, ensure};
use crate::cpu::gemm::{self, Job, Mat};
use crate::cpu::math::Real;
use crate::cpu::pool::{unspecified, with_scratch};
use crate::cpu::rows;
use crate::cpu::slices::{Read, new_tensor, per_dtype};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

/// Where queries, keys and values stand in the channels of the inputs, and how many heads they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of heads.
    pub heads: usize,
    /// Width of queries, keys and values together over all heads.
    pub dim: usize,
    /// Whether queries, keys and values stand in one input `[N, T, 3·dim]` (self-attention), or
    /// queries in `[N, Tq, dim]` and keys and values in `[N, Tk, 2·dim]` (cross-attention).
    pub fused: bool,
}

impl Layout {
    /// Self-attention over one `qkv`.
    #[must_use]
    pub fn fused(heads: usize, dim: usize) -> Self {
        Self { heads, dim, fused: true }
    }

    /// Cross-attention of `q` to `kv`.
    #[must_use]
    pub fn cross(heads: usize, dim: usize) -> Self {
        Self { heads, dim, fused: false }
    }

    /// Channels of a head.
    #[must_use]
    pub fn head_dim(self) -> usize {
        self.dim / self.heads
    }

    /// The first channel of queries, keys and values in their inputs.
    #[must_use]
    pub fn offsets(self) -> [usize; 3] {
        if self.fused { [0, self.dim, 2 * self.dim] } else { [0, 0, self.dim] }
    }

    /// Number of inputs that hold queries, keys and values.
    #[must_use]
    pub fn inputs(self) -> usize {
        if self.fused { 1 } else { 2 }
    }

    /// Channels of the inputs with queries, and with keys and values.
    #[must_use]
    pub fn strides(self) -> [usize; 2] {
        if self.fused { [3 * self.dim; 2] } else { [self.dim, 2 * self.dim] }
    }

    fn check(self, inputs: Shapes) -> std::result::Result<Size, ShapeProblem> {
        ensure(self.heads > 0 && self.dim.is_multiple_of(self.heads), || {
            format!("{} channels do not divide into {} heads", self.dim, self.heads)
        })?;
        let (q, kv) = (inputs[0], inputs[self.inputs() - 1]);
        ensure(q.len() == 3 && kv.len() == 3 && q[0] == kv[0], || "takes [N, T, C] of one N".into())?;
        let [sq, skv] = self.strides();
        ensure(q[2] == sq && kv[2] == skv, || format!("needs {sq} and {skv} channels"))?;
        Ok(Size { n: q[0], tq: q[1], tk: kv[1] })
    }

    pub(super) fn scale(self) -> f64 {
        1.0 / (self.head_dim() as f64).sqrt()
    }

    /// Queries, keys and values as `[N, heads, T, head_dim]`, in candle ops.
    fn split(self, inputs: &[Tensor]) -> candle_core::Result<[Tensor; 3]> {
        let [oq, ok, ov] = self.offsets();
        let kv = &inputs[self.inputs() - 1];
        let part = |x: &Tensor, offset: usize| {
            let (n, t, _) = x.dims3()?;
            let x = x.narrow(2, offset, self.dim)?.contiguous()?;
            x.reshape((n, t, self.heads, self.head_dim()))?.transpose(1, 2)?.contiguous()
        };
        Ok([part(&inputs[0], oq)?, part(kv, ok)?, part(kv, ov)?])
    }
}

#[derive(Clone, Copy)]
struct Size {
    n: usize,
    tq: usize,
    tk: usize,
}

/// `softmax(q·kᵀ/√head_dim)·v` for every head; result `[N, Tq, dim]`.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Heads and channels.
    pub layout: Layout,
    /// Whether sums over keys are taken in an order that does not depend on the order of the keys:
    /// permuting queries and keys together then permutes the result to the last bit (CPU only; for
    /// the few region queries, where it costs nothing).
    pub order_invariant: bool,
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        super::arity(inputs, self.layout.inputs())?;
        let size = self.layout.check(inputs)?;
        Ok(vec![size.n, size.tq, self.layout.dim])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let layout = self.layout;
        let mut inputs = cx.inputs.to_vec();
        inputs.push(cx.grad);
        let targets: &[Target] = if layout.fused { &[Target::Qkv] } else { &[Target::Q, Target::Kv] };
        let mut grads = vec![];
        for (i, &target) in targets.iter().enumerate() {
            grads.push(cx.when(i, |cx| cx.graph.apply(AttentionGrad { layout, target }, &inputs))?);
        }
        Ok(grads)
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: if self.layout.fused { &[0] } else { &[0, 1] }, output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (n, tq, _) = inputs[0].dims3()?;
        let [q, k, v] = self.layout.split(inputs)?;
        let scores = (q.matmul(&k.t()?)? * self.layout.scale())?;
        let out = softmax(&scores)?.matmul(&v)?;
        out.transpose(1, 2)?.contiguous()?.reshape((n, tq, self.layout.dim))
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => self.forward::<T>(inputs))
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        if let Some(dispatches) = self.layout.by_products(io) {
            return dispatches;
        }
        let bindings = [Input(0), Input(self.layout.inputs() - 1), Output];
        self.layout.dispatch(&ATTENTION, io, &bindings, false).into_iter().collect()
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        matmul_flops(self.layout, inputs, 2)
    }
}

/// FLOPs of `products` products of the size of `q·kᵀ`.
fn matmul_flops(layout: Layout, inputs: Shapes, products: u64) -> u64 {
    let (q, kv) = (inputs[0], inputs[layout.inputs() - 1]);
    2 * products * (q[0] * q[1] * kv[1] * layout.dim) as u64
}

/// Softmax over the last dimension, in candle's differentiable ops.
fn softmax(x: &Tensor) -> candle_core::Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

impl Attention {
    fn forward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let layout = self.layout;
        let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::dims).collect();
        let size = layout.check(&shapes).map_err(candle_core::Error::msg)?;
        let q = Read::<T>::new(&inputs[0])?;
        let kv = Read::<T>::new(&inputs[layout.inputs() - 1])?;
        let head = Heads { layout, size, q: &q, kv: &kv };
        let mut out = unspecified(size.n * size.tq * layout.dim);
        let place = Strided::new(&mut out, layout.dim);
        for_heads(layout, size, |n, h| {
            with_scratch(size.tq * (size.tk + 1), |scratch| {
                let (p, factors) = scratch.split_at_mut(size.tq * size.tk);
                if self.order_invariant {
                    head.forward_invariant(n, h, p, &place);
                } else {
                    head.forward(n, h, [p, factors], &place);
                }
            });
        });
        new_tensor(out, vec![size.n, size.tq, layout.dim])
    }
}

/// Calls `f(image, head)` for all of them, on all threads.
fn for_heads(layout: Layout, size: Size, f: impl Fn(usize, usize) + Sync + Send) {
    (0..size.n * layout.heads).into_par_iter().for_each(|i| f(i / layout.heads, i % layout.heads));
}

/// A result that several heads write at once, each its own columns.
struct Strided<T> {
    data: *mut T,
    len: usize,
    stride: usize,
}

// SAFETY: tasks write disjoint columns only (see `Strided::columns`).
unsafe impl<T: Send> Sync for Strided<T> {}

impl<T: Real> Strided<T> {
    fn new(data: &mut [T], stride: usize) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), stride }
    }

    /// `c = job(a, b)` into the `job.n` columns from `column` of the rows from `row`.
    fn product(&self, row: usize, column: usize, job: &Job<T>, a: Mat<T>, b: Mat<T>) {
        let start = row * self.stride + column;
        assert!(
            column + job.n <= self.stride && (row + job.m) * self.stride <= self.len,
            "outside the result"
        );
        // SAFETY: checked against the length above. Each task has columns or rows of its own: no
        // two tasks are given the same head of the same image.
        unsafe { gemm::run_raw(job, self.data.add(start), self.stride, a, b) };
    }

    /// Multiplies `columns` of a row: from the first one on, so many.
    fn scale(&self, row: usize, [first, columns]: [usize; 2], factor: T) {
        let at = row * self.stride + first;
        assert!(at + columns <= self.len, "outside the result");
        // SAFETY: as in `product`.
        let part = unsafe { std::slice::from_raw_parts_mut(self.data.add(at), columns) };
        part.iter_mut().for_each(|x| *x *= factor);
    }

    /// Sets one element.
    fn set(&self, row: usize, column: usize, value: T) {
        let at = row * self.stride + column;
        assert!(at < self.len, "outside the result");
        // SAFETY: as in `product`.
        unsafe { *self.data.add(at) = value };
    }
}

/// The inputs of every head.
struct Heads<'a, T> {
    layout: Layout,
    size: Size,
    q: &'a [T],
    kv: &'a [T],
}

impl<'a, T: Real> Heads<'a, T> {
    fn part(&self, which: usize, n: usize, h: usize) -> (&'a [T], usize) {
        let [sq, skv] = self.layout.strides();
        let (data, t, stride) =
            if which == 0 { (self.q, self.size.tq, sq) } else { (self.kv, self.size.tk, skv) };
        let start = n * t * stride + self.layout.offsets()[which] + h * self.layout.head_dim();
        (&data[start..], stride)
    }

    fn job(m: usize, n: usize, k: usize, scale: f64) -> Job<T> {
        Job { m, n, k, accumulate: false, scale: T::from_real(scale), parallel: false }
    }

    /// `p = softmax(q·kᵀ·scale)`.
    fn probabilities(&self, n: usize, h: usize, p: &mut [T]) {
        self.scores(n, h, p);
        rows::softmax(p, self.size.tk);
    }

    fn scores(&self, n: usize, h: usize, p: &mut [T]) {
        let ((q, sq), (k, sk)) = (self.part(0, n, h), self.part(1, n, h));
        let job = Self::job(self.size.tq, self.size.tk, self.layout.head_dim(), self.layout.scale());
        gemm::run(&job, p, Mat::rows(q, sq), Mat::cols(k, sk));
    }

    /// The factor that makes exponentials probabilities is put on the result, which is smaller.
    fn forward(&self, n: usize, h: usize, [p, factors]: [&mut [T]; 2], out: &Strided<T>) {
        let Size { tq, tk, .. } = self.size;
        let hd = self.layout.head_dim();
        self.scores(n, h, p);
        rows::exponentials(p, tk, factors);
        let (v, sv) = self.part(2, n, h);
        out.product(n * tq, h * hd, &Self::job(tq, hd, tk, 1.0), Mat::rows(p, tk), Mat::rows(v, sv));
        for (i, &factor) in factors.iter().enumerate() {
            out.scale(n * tq + i, [h * hd, hd], factor);
        }
    }

    /// The same, with every sum over keys taken in order of the size of its terms.
    fn forward_invariant(&self, n: usize, h: usize, p: &mut [T], out: &Strided<T>) {
        let Size { tq, tk, .. } = self.size;
        let hd = self.layout.head_dim();
        self.scores(n, h, p);
        let (v, sv) = self.part(2, n, h);
        let mut terms = vec![T::ZERO; tk];
        for (i, row) in p.chunks_exact_mut(tk).enumerate() {
            let top = row.iter().copied().fold(row[0], T::larger);
            for x in row.iter_mut() {
                *x = (*x - top).exponential();
            }
            terms.copy_from_slice(row);
            let total = sum_sorted(&mut terms);
            for c in 0..hd {
                for (j, term) in terms.iter_mut().enumerate() {
                    *term = row[j] * v[j * sv + c];
                }
                out.set(n * tq + i, h * hd + c, sum_sorted(&mut terms) / total);
            }
        }
    }
}

/// The sum in an order that depends on the values only.
fn sum_sorted<T: Real>(terms: &mut [T]) -> T {
    terms.sort_unstable_by(|a, b| a.to_real().total_cmp(&b.to_real()));
    terms.iter().copied().sum()
}

/// Which input a gradient is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The fused input of self-attention.
    Qkv,
    /// The queries of cross-attention.
    Q,
    /// The keys and values of cross-attention.
    Kv,
}

/// The gradient of [`Attention`] with respect to one of its inputs. Inputs: those of the attention,
/// then `dy [N, Tq, dim]`; the result has the shape of the target.
#[derive(Clone, Debug)]
pub struct AttentionGrad {
    /// Heads and channels.
    pub layout: Layout,
    /// The input that the gradient is for.
    pub target: Target,
}

impl Op for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        super::arity(inputs, self.layout.inputs() + 1)?;
        let size = self.layout.check(&inputs[..self.layout.inputs()])?;
        let dy = inputs[inputs.len() - 1];
        ensure(dy == [size.n, size.tq, self.layout.dim], || "dy has not the shape of the result".into())?;
        ensure(self.layout.fused == (self.target == Target::Qkv), || "the target is not an input".into())?;
        Ok(inputs[usize::from(self.target == Target::Kv)].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None; cx.inputs.len()])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let [q, k, v] = self.layout.split(inputs)?;
        let dy = inputs.last().ok_or_else(|| candle_core::Error::msg("no dy"))?;
        let (n, tq, dim) = dy.dims3()?;
        let hd = self.layout.head_dim();
        let dy = dy.reshape((n, tq, self.layout.heads, hd))?.transpose(1, 2)?.contiguous()?;
        let p = softmax(&(q.matmul(&k.t()?)? * self.layout.scale())?)?;
        let dv = p.t()?.contiguous()?.matmul(&dy)?;
        let dp = dy.matmul(&v.t()?)?;
        let inner = (&dp * &p)?.sum_keepdim(D::Minus1)?;
        let ds = ((p * dp.broadcast_sub(&inner)?)? * self.layout.scale())?;
        let (dq, dk) = (ds.matmul(&k)?, ds.t()?.contiguous()?.matmul(&q)?);
        let join = |x: Tensor| {
            let t = x.dim(2)?;
            x.transpose(1, 2)?.contiguous()?.reshape((n, t, dim))
        };
        match self.target {
            Target::Qkv => Tensor::cat(&[join(dq)?, join(dk)?, join(dv)?], 2),
            Target::Q => join(dq),
            Target::Kv => Tensor::cat(&[join(dk)?, join(dv)?], 2),
        }
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => self.backward::<T>(inputs))
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        if let Some(dispatches) = self.layout.grad_by_products(io, self.target) {
            return dispatches;
        }
        let kv = self.layout.inputs() - 1;
        let (tq, n) = (io.inputs[0][1], io.inputs[0][0]);
        let stats = Scratch(0, 2 * n * self.layout.heads * tq);
        let read = [Input(0), Input(kv), Input(kv + 1), stats];
        let write = [Input(0), Input(kv), Input(kv + 1), stats, Output];
        let mut all = vec![self.layout.dispatch(&ATTENTION_STATS, io, &read, false)];
        if self.target != Target::Kv {
            all.push(self.layout.dispatch(&ATTENTION_GRAD_Q, io, &write, false));
        }
        if self.target != Target::Q {
            all.push(self.layout.dispatch(&ATTENTION_GRAD_K, io, &write, true));
            all.push(self.layout.dispatch(&ATTENTION_GRAD_V, io, &write, true));
        }
        all.into_iter().collect::<Option<_>>().unwrap_or_default()
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        matmul_flops(self.layout, inputs, if self.target == Target::Q { 3 } else { 5 })
    }
}

impl AttentionGrad {
    fn backward<T: Real>(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let layout = self.layout;
        let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::dims).collect();
        let size = layout.check(&shapes).map_err(candle_core::Error::msg)?;
        let q = Read::<T>::new(&inputs[0])?;
        let kv = Read::<T>::new(&inputs[layout.inputs() - 1])?;
        let dy = Read::<T>::new(&inputs[layout.inputs()])?;
        let heads = Heads { layout, size, q: &q, kv: &kv };
        let shape = inputs[usize::from(self.target == Target::Kv)].dims().to_vec();
        let mut out = unspecified(shape.iter().product());
        let place = Strided::new(&mut out, shape[2]);
        let scores = size.tq * size.tk;
        for_heads(layout, size, |n, h| {
            with_scratch(2 * scores, |scratch| {
                let (p, ds) = scratch.split_at_mut(scores);
                self.head(&heads, &dy, [n, h], [p, ds], &place);
            });
        });
        new_tensor(out, shape)
    }

    /// One head's gradient; `p` and `ds` are memory for `tq × tk` scores each.
    fn head<T: Real>(
        &self, heads: &Heads<T>, dy: &[T], [n, h]: [usize; 2], [p, ds]: [&mut [T]; 2], out: &Strided<T>,
    ) {
        let Size { tq, tk, .. } = heads.size;
        let (dim, hd) = (self.layout.dim, self.layout.head_dim());
        let dy = Mat::rows(&dy[n * tq * dim + h * hd..], dim);
        heads.probabilities(n, h, p);
        let column = h * hd;
        if self.target != Target::Q {
            let value = if self.target == Target::Qkv { 2 * dim } else { dim };
            out.product(n * tk, value + column, &Heads::job(tk, hd, tq, 1.0), Mat::cols(p, tk), dy);
        }
        let (v, sv) = heads.part(2, n, h);
        gemm::run(&Heads::job(tq, tk, hd, 1.0), ds, dy, Mat::cols(v, sv));
        rows::softmax_grad(p, ds, tk);
        let scale = self.layout.scale();
        if self.target != Target::Kv {
            let (k, sk) = heads.part(1, n, h);
            out.product(n * tq, column, &Heads::job(tq, hd, tk, scale), Mat::rows(ds, tk), Mat::rows(k, sk));
        }
        if self.target != Target::Q {
            let key = if self.target == Target::Qkv { dim } else { 0 };
            let (q, sq) = heads.part(0, n, h);
            out.product(
                n * tk,
                key + column,
                &Heads::job(tk, hd, tq, scale),
                Mat::cols(ds, tk),
                Mat::rows(q, sq),
            );
        }
    }
}

/// Queries (or keys) of one head that a workgroup takes, a thread each; ROWS in the shaders.
const ROWS_A_GROUP: usize = 64;

/// Widest head of the shaders, in vectors of four channels.
const MAX_VECS: usize = 32;

/// Vectors of one of the two tiles in workgroup memory: together 16 KiB.
const TILE_VECS: usize = 512;

impl Layout {
    /// A dispatch with a thread for each query, or for each key, of each head; none where the heads
    /// are too wide for the shaders.
    fn dispatch(
        self, kernel: &'static Kernel, io: &Lowering, bindings: &[Slot], per_key: bool,
    ) -> Option<Dispatch> {
        let (hd, vecs) = (self.head_dim(), self.head_dim().div_ceil(4));
        if vecs > MAX_VECS {
            return None;
        }
        let (n, tq, tk) = (io.inputs[0][0], io.inputs[0][1], io.inputs[self.inputs() - 1][1]);
        let ([oq, ok, ov], [sq, skv]) = (self.offsets(), self.strides());
        let params = fields![n, self.heads, hd, tq, tk, sq, skv, oq, ok, ov, self.scale()];
        let blocks = if per_key { tk } else { tq }.div_ceil(ROWS_A_GROUP);
        let tile = (TILE_VECS / vecs).min(32);
        let constants = [("VECS", vecs as f64), ("TILE", tile as f64)];
        Some(Dispatch::new(kernel, params, bindings, n * self.heads * blocks).with_constants(&constants))
    }
}

pub(super) static ATTENTION: Kernel = kernel!("attention");
pub(super) static ATTENTION_STATS: Kernel = kernel!("attention_stats");
pub(super) static ATTENTION_GRAD_Q: Kernel = kernel!("attention_grad_q");
pub(super) static ATTENTION_GRAD_K: Kernel = kernel!("attention_grad_k");
pub(super) static ATTENTION_GRAD_V: Kernel = kernel!("attention_grad_v");
