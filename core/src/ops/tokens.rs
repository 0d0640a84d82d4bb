//! Choosing, restoring and joining tokens: everything that masking moves about.

use candle_core::Tensor;

use super::kernel::Slot::{Input, Output, Scratch};
use super::kernel::{COLUMNS_A_GROUP, Dispatch, Kernel, Lowering, fields, kernel};
use super::reduce::{ROWS_A_CHUNK, SumAxis};
use super::{Op, ShapeProblem, Vjp, arity, ensure, numel};
use crate::cpu::math::Real;
use crate::cpu::pool::{unspecified, zeros};
use crate::cpu::slices::{Read, for_rows, indices, new_tensor, per_dtype};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];
type Problem = std::result::Result<(), ShapeProblem>;

/// `[N, T, D]` of a shape, or why not.
fn tokens(shape: &[usize]) -> std::result::Result<(usize, usize, usize), ShapeProblem> {
    match *shape {
        [n, t, d] => Ok((n, t, d)),
        _ => Err(format!("expected [N, T, D], got {shape:?}")),
    }
}

/// The visible patches of a permutation: `out[n,j] = x[n, ids[n/groups, j]]` for `j < keep`.
///
/// Inputs `x [N, L (+1), D]`, `ids_shuffle [B, L]` and `ids_restore [B, L]` (read by the gradient
/// only), with `N = B·groups`; result `[N, keep (+1), D]`. With `cls`, place 0 is a class token that is passed through. With `shared`,
/// `x` is one table `[1, L, D]` for all `B` images.
#[derive(Clone, Debug)]
pub struct GatherTokens {
    /// Patches kept.
    pub keep: usize,
    /// Whether place 0 is a class token.
    pub cls: bool,
    /// Rows of `x` that share a permutation.
    pub groups: usize,
    /// Whether `x` is one table for all images.
    pub shared: bool,
}

impl Op for GatherTokens {
    fn name(&self) -> &'static str {
        "gather_tokens"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 3)?;
        let (n, t, d) = tokens(inputs[0])?;
        let c = usize::from(self.cls);
        ensure(inputs[1] == inputs[2] && inputs[1].len() == 2 && inputs[1][1] + c == t, || {
            "ids must be [B, L]".into()
        })?;
        ensure(self.keep <= inputs[1][1], || {
            format!("cannot keep {} of {} patches", self.keep, inputs[1][1])
        })?;
        let rows = inputs[1][0] * self.groups;
        ensure(if self.shared { n == 1 && !self.cls } else { n == rows }, || {
            "batch of x and ids differ".into()
        })?;
        Ok(vec![rows, self.keep + c, d])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let (shuffle, restore, dy) = (cx.inputs[1], cx.inputs[2], cx.grad);
        let op = RestoreTokens { visible: self.keep, cls: self.cls, groups: self.groups };
        let dx = cx.when(0, |cx| {
            let dx = cx.graph.apply(op, &[dy, restore, shuffle])?;
            if !self.shared {
                return Ok(dx);
            }
            let (shape, n) = (cx.shape(0), cx.graph.shape(dx)[0]);
            let inner = numel(&shape);
            cx.graph.apply(super::reduce::SumAxis { outer: 1, n, inner, scale: 1.0, shape }, &[dx])
        })?;
        Ok(vec![dx, None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (n, _, _) = inputs[0].dims3()?;
        let l = inputs[1].dim(1)?;
        let rows = if self.shared { inputs[1].dim(0)? } else { n };
        let ids = inputs[1].flatten_all()?.to_vec1::<u32>()?;
        let c = usize::from(self.cls);
        let mut out = Vec::with_capacity(rows);
        for r in 0..rows {
            let mut places: Vec<u32> = (0..c as u32).collect();
            let first = r / self.groups * l;
            places.extend(ids[first..first + self.keep].iter().map(|&i| i + c as u32));
            let places = Tensor::new(places, inputs[0].device())?;
            let x = inputs[0].get(if self.shared { 0 } else { r })?;
            out.push(x.index_select(&places, 0)?);
        }
        Tensor::stack(&out, 0)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, ids) = (Read::<T>::new(&inputs[0])?, indices(&inputs[1])?);
            let (n, t, d) = inputs[0].dims3()?;
            let (b, l) = inputs[1].dims2()?;
            let (rows, c) = (if self.shared { b } else { n }, usize::from(self.cls));
            let kept = self.keep + c;
            let mut y = unspecified::<T>(rows * kept * d);
            for_rows(&mut y, d, |place, out| {
                let (r, j) = (place / kept, place % kept);
                let from = if j < c { j } else { ids[r / self.groups * l + j - c] as usize + c };
                let base = if self.shared { 0 } else { r * t };
                out.copy_from_slice(&x[(base + from) * d..(base + from + 1) * d]);
            });
            new_tensor(y, vec![rows, kept, d])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, dim) = (numel(&io.output), io.output[2]);
        let image_stride = if self.shared { 0 } else { io.inputs[0][1] * dim };
        let (patches, cls) = (io.inputs[1][1], usize::from(self.cls));
        let params = fields![len, dim, self.keep, patches, cls, self.groups, image_stride];
        vec![Dispatch::elements(&GATHER_TOKENS, params, &[Input(0), Input(1), Output], len)]
    }

    fn flops(&self, _: Shapes, _: &[usize]) -> u64 {
        0
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }
}

/// Back into image order: `out[n,l] = x[n, r]` where `r = ids_restore[n/groups, l] < visible`, and
/// the fill token elsewhere.
///
/// Inputs `x [N, visible (+1), D]`, `ids_restore [B, L]`, `ids_shuffle [B, L]` (read by the
/// gradient only) and optionally `fill` of `D` elements (zeros without). Result `[N, L (+1), D]`.
#[derive(Clone, Debug)]
pub struct RestoreTokens {
    /// Patches present in `x`.
    pub visible: usize,
    /// Whether place 0 is a class token.
    pub cls: bool,
    /// Rows of `x` that share a permutation.
    pub groups: usize,
}

impl Op for RestoreTokens {
    fn name(&self) -> &'static str {
        "restore_tokens"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        ensure(matches!(inputs.len(), 3 | 4), || {
            "takes x, ids_restore, ids_shuffle and optionally fill".into()
        })?;
        let (n, t, d) = tokens(inputs[0])?;
        let c = usize::from(self.cls);
        ensure(t == self.visible + c, || format!("x has {t} places, expected {}", self.visible + c))?;
        let ids = inputs[1];
        ensure(ids == inputs[2] && ids.len() == 2 && ids[0] * self.groups == n, || {
            "ids must be [B, L]".into()
        })?;
        if let Some(fill) = inputs.get(3) {
            ensure(numel(fill) == d, || format!("the fill token needs {d} elements"))?;
        }
        Ok(vec![n, ids[1] + c, d])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let (restore, shuffle, dy) = (cx.inputs[1], cx.inputs[2], cx.grad);
        let Self { visible, cls, groups } = *self;
        let gather = GatherTokens { keep: visible, cls, groups, shared: false };
        let mut grads = vec![cx.when(0, |cx| cx.graph.apply(gather, &[dy, shuffle, restore]))?, None, None];
        if cx.inputs.len() == 4 {
            let shape = cx.shape(3);
            let op = RestoreFillGrad { visible, cls, groups, shape };
            grads.push(cx.when(3, |cx| cx.graph.apply(op, &[dy, restore]))?);
        }
        Ok(grads)
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (n, t, d) = inputs[0].dims3()?;
        let l = inputs[1].dim(1)?;
        let ids = inputs[1].flatten_all()?.to_vec1::<u32>()?;
        let c = usize::from(self.cls);
        let fill = match inputs.get(3) {
            Some(fill) => fill.reshape((1, d))?,
            None => Tensor::zeros((1, d), inputs[0].dtype(), inputs[0].device())?,
        };
        let mut out = Vec::with_capacity(n);
        for r in 0..n {
            // The fill token stands behind the visible ones, at place t.
            let pool = Tensor::cat(&[&inputs[0].get(r)?, &fill], 0)?;
            let ids = &ids[r / self.groups * l..][..l];
            let mut places: Vec<u32> = (0..c as u32).collect();
            places.extend(
                ids.iter().map(|&i| if (i as usize) < self.visible { i + c as u32 } else { t as u32 }),
            );
            out.push(pool.index_select(&Tensor::new(places, pool.device())?, 0)?);
        }
        Tensor::stack(&out, 0)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (x, ids) = (Read::<T>::new(&inputs[0])?, indices(&inputs[1])?);
            let (n, t, d) = inputs[0].dims3()?;
            let (l, c) = (inputs[1].dim(1)?, usize::from(self.cls));
            let fill = inputs.get(3).map(Read::<T>::new).transpose()?;
            let mut y = unspecified::<T>(n * (l + c) * d);
            for_rows(&mut y, d, |place, out| {
                let (r, j) = (place / (l + c), place % (l + c));
                let from = if j < c { j } else { ids[r / self.groups * l + j - c] as usize + c };
                if from < t {
                    out.copy_from_slice(&x[(r * t + from) * d..][..d]);
                } else if let Some(fill) = &fill {
                    out.copy_from_slice(fill);
                } else {
                    out.fill(T::ZERO);
                }
            });
            new_tensor(y, vec![n, l + c, d])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, dim) = (numel(&io.output), io.output[2]);
        let (patches, cls) = (io.inputs[1][1], usize::from(self.cls));
        let params = fields![len, dim, self.visible, patches, cls, self.groups];
        let has_fill = io.inputs.len() == 4;
        // Something has to be bound where there is no fill token.
        let bindings = [Input(0), Input(1), if has_fill { Input(3) } else { Input(0) }, Output];
        let constants = [("HAS_FILL", f64::from(u8::from(has_fill)))];
        vec![Dispatch::elements(&RESTORE_TOKENS, params, &bindings, len).with_constants(&constants)]
    }

    fn flops(&self, _: Shapes, _: &[usize]) -> u64 {
        0
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }
}

/// The gradient of [`RestoreTokens`] with respect to the fill token: the sum of `dy` over removed
/// places. Inputs `dy [N, L (+1), D]`, `ids_restore [B, L]`.
#[derive(Clone, Debug)]
pub struct RestoreFillGrad {
    /// Patches that were present.
    pub visible: usize,
    /// Whether place 0 is a class token.
    pub cls: bool,
    /// Rows of `dy` that share a permutation.
    pub groups: usize,
    /// Shape of the fill token.
    pub shape: Vec<usize>,
}

impl Op for RestoreFillGrad {
    fn name(&self) -> &'static str {
        "restore_fill_grad"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        let (n, t, d) = tokens(inputs[0])?;
        let ids = inputs[1];
        let fits = ids.len() == 2 && ids[0] * self.groups == n && ids[1] + usize::from(self.cls) == t;
        ensure(fits && numel(&self.shape) == d, || "dy, ids and fill disagree".into())?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (n, t, d) = inputs[0].dims3()?;
        let (l, c) = (inputs[1].dim(1)?, usize::from(self.cls));
        let ids = inputs[1].flatten_all()?.to_vec1::<u32>()?;
        let places = self.removed(&ids, n, l).map(|(r, j)| (r * t + j + c) as u32).collect::<Vec<_>>();
        let picked =
            inputs[0].reshape((n * t, d))?.index_select(&Tensor::new(places, inputs[0].device())?, 0)?;
        picked.sum(0)?.reshape(self.shape.clone())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (dy, ids) = (Read::<T>::new(&inputs[0])?, indices(&inputs[1])?);
            let (n, t, d) = inputs[0].dims3()?;
            let (l, c) = (inputs[1].dim(1)?, usize::from(self.cls));
            let mut sum = vec![T::ZERO; d];
            for (r, j) in self.removed(&ids, n, l) {
                crate::cpu::rows::add_assign(&mut sum, &dy[(r * t + j + c) * d..][..d]);
            }
            new_tensor(sum, self.shape.clone())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (n, dim, patches) = (io.inputs[0][0], io.inputs[0][2], io.inputs[1][1]);
        let (rows, cls) = (n * patches, usize::from(self.cls));
        let chunks = rows.div_ceil(ROWS_A_CHUNK);
        let params = fields![chunks * dim, dim, self.visible, patches, cls, self.groups, rows, ROWS_A_CHUNK];
        let sums = if chunks == 1 { Output } else { Scratch(0, chunks * dim) };
        let groups = (chunks * dim).div_ceil(COLUMNS_A_GROUP);
        let mut all = vec![Dispatch::new(&RESTORE_FILL_GRAD, params, &[Input(0), Input(1), sums], groups)];
        if chunks > 1 {
            let total = SumAxis { outer: 1, n: chunks, inner: dim, scale: 1.0, shape: self.shape.clone() };
            all.extend(total.dispatches(sums, 1));
        }
        all
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        numel(inputs[0]) as u64
    }

    fn index_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

impl RestoreFillGrad {
    /// The removed places, as row and patch.
    fn removed<'a>(
        &'a self, ids: &'a [u32], n: usize, l: usize,
    ) -> impl Iterator<Item = (usize, usize)> + 'a {
        (0..n * l)
            .map(move |i| (i / l, i % l))
            .filter(move |&(r, j)| ids[r / self.groups * l + j] as usize >= self.visible)
    }
}

/// Puts one token before each sequence: `token` of `D` elements, `x [B, V, D]` → `[B, V+1, D]`.
#[derive(Clone, Debug)]
pub struct PrependToken;

impl Op for PrependToken {
    fn name(&self) -> &'static str {
        "prepend_token"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 2)?;
        let (b, v, d) = tokens(inputs[1])?;
        ensure(numel(inputs[0]) == d, || format!("the token needs {d} elements"))?;
        Ok(vec![b, v + 1, d])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let (token, x) = (cx.shape(0), cx.shape(1));
        let dtoken = cx.when(0, |cx| {
            let first = cx.graph.apply(SliceTokens { start: 0, len: 1 }, &[dy])?;
            let sum = super::reduce::SumAxis { outer: 1, n: x[0], inner: x[2], scale: 1.0, shape: token };
            cx.graph.apply(sum, &[first])
        })?;
        let dx = cx.when(1, |cx| cx.graph.apply(SliceTokens { start: 1, len: x[1] }, &[dy]))?;
        Ok(vec![dtoken, dx])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (b, _, d) = inputs[1].dims3()?;
        let token = inputs[0].reshape((1, 1, d))?.broadcast_as((b, 1, d))?;
        Tensor::cat(&[&token, &inputs[1]], 1)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (token, x) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let (b, v, d) = inputs[1].dims3()?;
            let mut y = Vec::with_capacity(b * (v + 1) * d);
            for r in 0..b {
                y.extend_from_slice(&token);
                y.extend_from_slice(&x[r * v * d..(r + 1) * v * d]);
            }
            new_tensor::<T>(y, vec![b, v + 1, d])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, dim) = (numel(&io.output), io.output[2]);
        let params = fields![len, dim, io.output[1]];
        vec![Dispatch::elements(&PREPEND_TOKEN, params, &[Input(0), Input(1), Output], len)]
    }

    fn flops(&self, _: Shapes, _: &[usize]) -> u64 {
        0
    }
}

/// Tokens `start .. start+len` of each sequence, `[B, T, D]` → `[B, len, D]`.
#[derive(Clone, Debug)]
pub struct SliceTokens {
    /// First token.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
}

impl Op for SliceTokens {
    fn name(&self) -> &'static str {
        "slice_tokens"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        let (b, t, d) = tokens(inputs[0])?;
        let fits = self.start + self.len <= t;
        ensure(fits, || format!("tokens {}..{} of {t}", self.start, self.start + self.len))?;
        Ok(vec![b, self.len, d])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let total = cx.shape(0)[1];
        let start = self.start;
        Ok(vec![cx.when(0, |cx| cx.graph.apply(PadTokens { start, total }, &[dy]))?])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        inputs[0].narrow(1, self.start, self.len)?.contiguous()
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (b, t, d) = inputs[0].dims3()?;
            let x = Read::<T>::new(&inputs[0])?;
            let mut y = unspecified::<T>(b * self.len * d);
            for_rows(&mut y, (self.len * d).max(1), |r, y| {
                y.copy_from_slice(&x[(r * t + self.start) * d..][..y.len()]);
            });
            new_tensor(y, vec![b, self.len, d])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, dim) = (numel(&io.output), io.output[2]);
        let params = fields![len, dim, self.start, self.len, io.inputs[0][1]];
        vec![Dispatch::elements(&SLICE_TOKENS, params, &[Input(0), Output], len)]
    }

    fn flops(&self, _: Shapes, _: &[usize]) -> u64 {
        0
    }
}

/// Sequences of `total` tokens with `x` at `start` and zeros elsewhere; the gradient of [`SliceTokens`].
#[derive(Clone, Debug)]
pub struct PadTokens {
    /// Where `x` goes.
    pub start: usize,
    /// Length of the result.
    pub total: usize,
}

impl Op for PadTokens {
    fn name(&self) -> &'static str {
        "pad_tokens"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        let (b, t, d) = tokens(inputs[0])?;
        let checked: Problem = ensure(self.start + t <= self.total, || "x does not fit".into());
        checked?;
        Ok(vec![b, self.total, d])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let dy = cx.grad;
        let len = cx.shape(0)[1];
        let start = self.start;
        Ok(vec![cx.when(0, |cx| cx.graph.apply(SliceTokens { start, len }, &[dy]))?])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let t = inputs[0].dim(1)?;
        inputs[0].pad_with_zeros(1, self.start, self.total - self.start - t)?.contiguous()
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => pad::<T>(&inputs[0], self.start, self.total))
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, dim) = (numel(&io.output), io.output[2]);
        let params = fields![len, dim, self.start, self.total, io.inputs[0][1]];
        vec![Dispatch::elements(&PAD_TOKENS, params, &[Input(0), Output], len)]
    }

    fn flops(&self, _: Shapes, _: &[usize]) -> u64 {
        0
    }
}

fn pad<T: Real>(x: &Tensor, start: usize, total: usize) -> candle_core::Result<Tensor> {
    let (b, t, d) = x.dims3()?;
    let x = Read::<T>::new(x)?;
    let mut y = zeros(b * total * d);
    for r in 0..b {
        y[(r * total + start) * d..(r * total + start + t) * d]
            .copy_from_slice(&x[r * t * d..(r + 1) * t * d]);
    }
    new_tensor(y, vec![b, total, d])
}

pub(super) static GATHER_TOKENS: Kernel = kernel!("gather_tokens");
pub(super) static RESTORE_TOKENS: Kernel = kernel!("restore_tokens");
pub(super) static RESTORE_FILL_GRAD: Kernel = kernel!("restore_fill_grad");
pub(super) static PREPEND_TOKEN: Kernel = kernel!("prepend_token");
pub(super) static SLICE_TOKENS: Kernel = kernel!("slice_tokens");
pub(super) static PAD_TOKENS: Kernel = kernel!("pad_tokens");
