//! Linear layers: `y = x·Wᵀ + b`, and the two products of its gradient.

use candle_core::Tensor;

use super::direct::{Direct, Matrices};
use super::elementwise;
use super::kernel::Slot::{self, Input, Output, Scratch};
use super::kernel::{Dispatch, Kernel, Lowering, MAX_GROUPS, Machine, MatrixUnits, Scalar, fields, kernel};
use super::reduce::SumAxis;
use super::variant::{Product, TILES, Tile, Variant};
use super::{Op, ShapeProblem, Uses, Vjp, ensure, numel, rows_of};
use crate::cpu::pool::unspecified;
use crate::cpu::slices::{Read, new_tensor, per_dtype};
use crate::cpu::{gemm, math::Real, packed};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

/// `y = x·Wᵀ + b` over the last dimension of `x [.., in]`; `W` has `out` as its first dimension and
/// `in` elements in the others (so a patch embedding `[D, C, p, p]` fits), `b [out]` is optional.
#[derive(Clone, Debug)]
pub struct Linear;

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        ensure(matches!(inputs.len(), 2 | 3), || "takes x, W and optionally b".into())?;
        let (x, w) = (inputs[0], inputs[1]);
        let (_, in_x) = rows_of(x);
        let out = w.first().copied().unwrap_or(0);
        ensure(out > 0 && numel(w) == out * in_x, || {
            format!("x has {in_x} features, the weight expects {}", numel(w) / out.max(1))
        })?;
        if let Some(b) = inputs.get(2) {
            ensure(numel(b) == out, || format!("the bias has {} elements, the weight {out} rows", numel(b)))?;
        }
        let mut shape = x.to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        Ok(shape)
    }

    #[cfg(feature = "training")]
    fn vjp(&self, cx: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        let (x, w, dy) = (cx.inputs[0], cx.inputs[1], cx.grad);
        let dx = cx.when(0, |cx| {
            let shape = cx.shape(0);
            cx.graph.apply(LinearGradInput { shape }, &[dy, w])
        })?;
        let dw = cx.when(1, |cx| {
            let shape = cx.shape(1);
            cx.graph.apply(LinearGradWeight { shape }, &[dy, x])
        })?;
        if cx.inputs.len() < 3 {
            return Ok(vec![dx, dw]);
        }
        let db = cx.when(2, |cx| {
            let (rows, out) = rows_of(cx.graph.shape(dy));
            let shape = cx.shape(2);
            cx.graph.apply(SumAxis { outer: 1, n: rows, inner: out, scale: 1.0, shape }, &[dy])
        })?;
        Ok(vec![dx, dw, db])
    }

    fn vjp_uses(&self) -> Uses {
        Uses { inputs: &[0, 1], output: false }
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (rows, k) = rows_of(inputs[0].dims());
        let out = inputs[1].dim(0)?;
        let y = inputs[0].reshape((rows, k))?.matmul(&inputs[1].reshape((out, k))?.t()?)?;
        let y = match inputs.get(2) {
            Some(b) => y.broadcast_add(&b.flatten_all()?)?,
            None => y,
        };
        let mut shape = inputs[0].dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = out;
        }
        y.reshape(shape)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => forward::<T>(inputs))
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let bias = (io.inputs.len() == 3).then_some(Input(2));
        dispatches(self, io, Epilogue { bias, then: Then::Nothing })
    }

    fn product(&self, inputs: Shapes, _: &[usize]) -> Option<Product> {
        let (m, k) = rows_of(inputs[0]);
        Some(Product { m, n: inputs[1][0], k, trans_a: false, trans_b: true, bias: inputs.len() == 3 })
    }

    fn flops(&self, inputs: Shapes, output: &[usize]) -> u64 {
        2 * rows_of(inputs[0]).0 as u64 * numel(inputs[1]) as u64 + numel(output) as u64
    }
}

fn forward<T: Real>(inputs: &[Tensor]) -> candle_core::Result<Tensor> {
    let (rows, k) = rows_of(inputs[0].dims());
    let out = inputs[1].dim(0)?;
    let (x, w) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
    let bias = inputs.get(2).map(Read::<T>::new).transpose()?;
    let mut y = unspecified(rows * out);
    let job = gemm::Job { m: rows, n: out, k, accumulate: false, scale: T::from_real(1.0), parallel: true };
    let w = gemm::Mat::cols(&w, k);
    let packed = packed::of(&inputs[1], w, [k, out]);
    let (x, w) = (gemm::Mat::rows(&x, k), w.with_packed(packed.as_ref().map(|packed| &packed[..])));
    match bias {
        None => gemm::run(&job, &mut y, x, w),
        Some(bias) => gemm::run_with_bias(&job, &mut y, x, w, &bias),
    }
    let mut shape = inputs[0].dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = out;
    }
    new_tensor(y, shape)
}

/// `dx = dy·W`, the gradient of [`Linear`] with respect to `x`; `shape` is that of `x`.
#[derive(Clone, Debug)]
pub struct LinearGradInput {
    /// Shape of `x`.
    pub shape: Vec<usize>,
}

impl Op for LinearGradInput {
    fn name(&self) -> &'static str {
        "linear_grad_input"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        super::arity(inputs, 2)?;
        let (rows, out) = rows_of(inputs[0]);
        let (x_rows, k) = rows_of(&self.shape);
        ensure(rows == x_rows && numel(inputs[1]) == out * k, || "dy, W and x disagree".into())?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (rows, out) = rows_of(inputs[0].dims());
        let k = rows_of(&self.shape).1;
        let dx = inputs[0].reshape((rows, out))?.matmul(&inputs[1].reshape((out, k))?)?;
        dx.reshape(self.shape.clone())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (rows, out) = rows_of(inputs[0].dims());
            let k = rows_of(&self.shape).1;
            let (dy, w) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let job = gemm::Job { m: rows, n: k, k: out, accumulate: false, scale: T::from_real(1.0), parallel: true };
            let mut dx = unspecified(rows * k);
            gemm::run(&job, &mut dx, gemm::Mat::rows(&dy, out), gemm::Mat::rows(&w, k));
            new_tensor(dx, self.shape.clone())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        dispatches(self, io, Epilogue::default())
    }

    fn product(&self, inputs: Shapes, output: &[usize]) -> Option<Product> {
        let (m, k) = rows_of(inputs[0]);
        Some(Product { m, n: rows_of(output).1, k, trans_a: false, trans_b: false, bias: false })
    }

    fn flops(&self, inputs: Shapes, _: &[usize]) -> u64 {
        2 * rows_of(inputs[0]).0 as u64 * numel(inputs[1]) as u64
    }
}

/// `dW = dyᵀ·x`, the gradient of [`Linear`] with respect to `W`; `shape` is that of `W`.
#[derive(Clone, Debug)]
pub struct LinearGradWeight {
    /// Shape of `W`.
    pub shape: Vec<usize>,
}

impl Op for LinearGradWeight {
    fn name(&self) -> &'static str {
        "linear_grad_weight"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        super::arity(inputs, 2)?;
        let (rows, out) = rows_of(inputs[0]);
        let (x_rows, k) = rows_of(inputs[1]);
        ensure(rows == x_rows && numel(&self.shape) == out * k, || "dy, x and W disagree".into())?;
        Ok(self.shape.clone())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None, None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (rows, out) = rows_of(inputs[0].dims());
        let k = rows_of(inputs[1].dims()).1;
        let dw = inputs[0].reshape((rows, out))?.t()?.matmul(&inputs[1].reshape((rows, k))?)?;
        dw.reshape(self.shape.clone())
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let (rows, out) = rows_of(inputs[0].dims());
            let k = rows_of(inputs[1].dims()).1;
            let (dy, x) = (Read::<T>::new(&inputs[0])?, Read::<T>::new(&inputs[1])?);
            let job = gemm::Job { m: out, n: k, k: rows, accumulate: false, scale: T::from_real(1.0), parallel: true };
            let mut dw = unspecified(out * k);
            gemm::run(&job, &mut dw, gemm::Mat::cols(&dy, out), gemm::Mat::rows(&x, k));
            new_tensor(dw, self.shape.clone())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        dispatches(self, io, Epilogue::default())
    }

    fn product(&self, inputs: Shapes, _: &[usize]) -> Option<Product> {
        let (k, m) = rows_of(inputs[0]);
        Some(Product { m, n: rows_of(inputs[1]).1, k, trans_a: true, trans_b: false, bias: false })
    }

    fn flops(&self, inputs: Shapes, output: &[usize]) -> u64 {
        2 * rows_of(inputs[0]).0 as u64 * numel(output) as u64
    }
}

/// Most work in one dispatch: a slow GPU finishes it long before a watchdog bites.
const DISPATCH_FLOPS: u64 = 20_000_000_000;

/// Workgroups that fill a large GPU; fewer tiles than this share out the sum over `k` too.
const ENOUGH_GROUPS: usize = 256;

/// Least depth of a part of a sum that is shared out.
const LEAST_SPLIT: usize = 256;

/// What becomes of a product before it is stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Epilogue {
    /// `[n]`, added to every row.
    pub bias: Option<Slot>,
    pub then: Then,
}

/// What becomes of it after the bias.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Then {
    #[default]
    Nothing,
    /// [`elementwise::Gelu`].
    Gelu,
    /// A matrix like the result is added.
    Add(Slot),
}

/// The dispatches of an op that is a product, by the variant that was chosen for it.
pub(super) fn dispatches(op: &dyn Op, io: &Lowering, epilogue: Epilogue) -> Vec<Dispatch> {
    let inputs: Vec<&[usize]> = io.inputs.iter().map(Vec::as_slice).collect();
    let Some(product) = op.product(&inputs, &io.output) else { return vec![] };
    let tiled = |tile, kernel, units| product.tiled(&Tiling { tile, kernel, units, epilogue });
    match io.choices.variant(io.machine, &product) {
        Variant::Cooperative(tile, units) if product.in_fours() => {
            tiled(tile, &MATMUL_COOPERATIVE, Some(units))
        }
        Variant::Fours(tile) if product.in_fours() => tiled(tile, &MATMUL_FOURS, None),
        Variant::Cooperative(..) | Variant::Fours(_) => tiled(&TILES[0], &MATMUL, None),
        Variant::Tiled(tile) => tiled(tile, &MATMUL, None),
        Variant::Lanes => product.on_processor(io.machine, epilogue),
        Variant::Direct => product.on_processor(Machine::Processor { lanes: None }, epilogue),
    }
}

/// The tiles of a product, and what multiplies them.
struct Tiling {
    tile: &'static Tile,
    kernel: &'static Kernel,
    /// A GPU's units for products of small matrices; its general ones where there are none.
    units: Option<MatrixUnits>,
    epilogue: Epilogue,
}

impl Tiling {
    /// The epilogue's number in the kernels' text, and the matrix that it adds.
    fn epilogue(&self) -> (usize, Option<Slot>) {
        match self.epilogue.then {
            Then::Nothing => (0, None),
            Then::Gelu => (1, None),
            Then::Add(residual) => (2, Some(residual)),
        }
    }
}

impl Product {
    fn direct(&self) -> Direct {
        let Self { m, n, k, trans_a, trans_b, .. } = *self;
        Direct {
            a: Matrices::one(if trans_a { m } else { k }),
            b: Matrices::one(if trans_b { k } else { n }),
            c: Matrices::one(n),
            trans_a,
            trans_b,
            ..Direct::new(m, n, k)
        }
    }

    /// Epilogues by kernels of their own: compilers of such adapters repeat their text for every element
    /// stored.
    fn on_processor(&self, machine: Machine, epilogue: Epilogue) -> Vec<Dispatch> {
        let len = self.m * self.n;
        let product = if matches!(epilogue.then, Then::Nothing) { Output } else { Scratch(0, len) };
        let mut all = self.direct().dispatches(machine, Input(0), Input(1), epilogue.bias, product);
        match epilogue.then {
            Then::Nothing => {}
            Then::Gelu => {
                let bindings = [product, Output];
                all.push(Dispatch::elements(&elementwise::GELU, fields![len], &bindings, len));
            }
            Then::Add(residual) => {
                let bindings = [product, residual, Output];
                all.push(Dispatch::elements(&elementwise::ADD, fields![len, 1usize, len], &bindings, len));
            }
        }
        all
    }

    fn tiled(&self, tiling: &Tiling) -> Vec<Dispatch> {
        let tile = tiling.tile;
        let k_per_split = self.k_per_split(tile);
        let splits = self.k.div_ceil(k_per_split).max(1);
        let len = self.m * self.n;
        let out = if splits == 1 { Output } else { Scratch(0, splits * len) };
        let tile_rows = self.m.div_ceil(tile.rows);
        let row_flops = 2 * tile.rows as u64 * self.n as u64 * self.k as u64;
        let at_once = (DISPATCH_FLOPS / row_flops.max(1)).clamp(1, MAX_GROUPS as u64) as usize;
        let mut all = vec![];
        for first in (0..tile_rows).step_by(at_once) {
            let groups = [self.n.div_ceil(tile.columns), at_once.min(tile_rows - first), splits];
            let params = fields![self.m, self.n, self.k, first, k_per_split, tiling.epilogue().0];
            let mut dispatch = self.dispatch(tiling, params, out);
            dispatch.workgroups = groups.map(|g| g as u32);
            all.push(dispatch);
        }
        if splits > 1 {
            let total = SumAxis { outer: 1, n: splits, inner: len, scale: 1.0, shape: vec![len] };
            all.extend(total.dispatches(out, 1));
        }
        all
    }

    fn dispatch(&self, tiling: &Tiling, params: Vec<Scalar>, out: Slot) -> Dispatch {
        let (bias, (_, residual)) = (tiling.epilogue.bias, tiling.epilogue());
        let bindings = [Input(0), Input(1), bias.unwrap_or(Input(1)), residual.unwrap_or(Input(1)), out];
        let flag = |on: bool| f64::from(u8::from(on));
        let mut constants = vec![
            ("TRANS_A", flag(self.trans_a)),
            ("TRANS_B", flag(self.trans_b)),
            ("HAS_BIAS", flag(bias.is_some())),
        ];
        constants.extend(tiling.units.map(|units| ("LANES", f64::from(units.lanes))));
        Dispatch::new(tiling.kernel, params, &bindings, 1)
            .with_constants(&constants)
            .with_sizes(tiling.tile.sizes)
    }

    /// The depth that one workgroup sums: all of it where there are tiles enough for the device, or a bias
    /// to add once.
    fn k_per_split(&self, tile: &Tile) -> usize {
        let tiles = self.m.div_ceil(tile.rows) * self.n.div_ceil(tile.columns);
        let splits = (2 * ENOUGH_GROUPS / tiles.max(1)).min(self.k / LEAST_SPLIT);
        let shared = tiles < ENOUGH_GROUPS && !self.bias;
        self.k.div_ceil(if shared { splits.max(1) } else { 1 }).next_multiple_of(tile.step)
    }
}

pub(super) static MATMUL: Kernel = kernel!("matmul" after "erf", "matmul_tile");
pub(super) static MATMUL_FOURS: Kernel = kernel!("matmul_fours" after "erf", "matmul_tile");
pub(super) static MATMUL_COOPERATIVE: Kernel = kernel!("matmul_cooperative" after "erf");
