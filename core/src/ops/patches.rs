//! Images to patches and patch statistics: only ever applied to inputs, so without gradients.

use candle_core::Tensor;

use super::kernel::Slot::{Input, Output};
use super::kernel::{Dispatch, Kernel, Lowering, fields, kernel};
use super::{Op, ShapeProblem, Vjp, arity, ensure, numel, rows_of};
use crate::cpu::math::Real;
use crate::cpu::pool::unspecified;
use crate::cpu::slices::{Read, for_rows, new_tensor, per_dtype};
use crate::error::Result;
use crate::graph::NodeId;

type Shapes<'a> = &'a [&'a [usize]];

/// Order of the elements of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchLayout {
    /// Channel, row, column: as a patch embedding's weight has them.
    ChannelsFirst,
    /// Row, column, channel: as the pixel loss has them.
    ChannelsLast,
}

/// Images `[N, C, S, S]` as patches `[N, (S/p)², C·p·p]`, less a constant.
#[derive(Clone, Debug)]
pub struct Patchify {
    /// Patch side `p`.
    pub patch: usize,
    /// Order inside a patch.
    pub layout: PatchLayout,
    /// Subtracted from every element (0.5 for region maps).
    pub subtract: f64,
}

impl Op for Patchify {
    fn name(&self) -> &'static str {
        "patchify"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        let [n, c, h, w] = *inputs[0] else { return Err("takes [N, C, S, S]".into()) };
        let p = self.patch;
        let fits = p > 0 && h.is_multiple_of(p) && w.is_multiple_of(p);
        ensure(fits, || format!("{h}x{w} pixels do not divide into patches of {p}"))?;
        Ok(vec![n, (h / p) * (w / p), c * p * p])
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let (n, c, h, w) = inputs[0].dims4()?;
        let p = self.patch;
        let x = inputs[0].reshape(vec![n, c, h / p, p, w / p, p])?;
        let order = match self.layout {
            PatchLayout::ChannelsFirst => [0, 2, 4, 1, 3, 5],
            PatchLayout::ChannelsLast => [0, 2, 4, 3, 5, 1],
        };
        let x = x.permute(order)?.contiguous()?.affine(1.0, -self.subtract)?;
        x.reshape((n, (h / p) * (w / p), c * p * p))
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let x = Read::<T>::new(&inputs[0])?;
            let (n, c, h, w) = inputs[0].dims4()?;
            let p = self.patch;
            let (l, len) = ((h / p) * (w / p), c * p * p);
            let mut y = unspecified::<T>(n * l * len);
            let subtract = T::from_real(self.subtract);
            for_rows(&mut y, len, |row, out| {
                let (image, patch) = (row / l, row % l);
                let (top, left) = (patch / (w / p) * p, patch % (w / p) * p);
                for ch in 0..c {
                    for i in 0..p {
                        let line = &x[((image * c + ch) * h + top + i) * w + left..][..p];
                        let (first, step) = self.place(ch, i, c);
                        if step == 1 {
                            // Apart, as a loop without a stride is one over vectors.
                            out[first..].iter_mut().zip(line).for_each(|(out, &value)| *out = value - subtract);
                            continue;
                        }
                        for (out, &value) in out[first..].iter_mut().step_by(step).zip(line) {
                            *out = value - subtract;
                        }
                    }
                }
            });
            new_tensor(y, vec![n, l, len])
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (len, image) = (numel(&io.output), &io.inputs[0]);
        let params = fields![len, image[1], image[2], image[3], self.patch, self.subtract];
        let last = self.layout == PatchLayout::ChannelsLast;
        let constants = [("CHANNELS_LAST", f64::from(u8::from(last)))];
        vec![Dispatch::elements(&PATCHIFY, params, &[Input(0), Output], len).with_constants(&constants)]
    }
}

impl Patchify {
    /// Where the first element of a line of a patch goes, and how far apart its elements are.
    fn place(&self, channel: usize, row: usize, channels: usize) -> (usize, usize) {
        let p = self.patch;
        match self.layout {
            PatchLayout::ChannelsFirst => ((channel * p + row) * p, 1),
            PatchLayout::ChannelsLast => (row * p * channels + channel, channels),
        }
    }
}

/// Each patch standardised by its own mean and unbiased variance: the target of `norm_pix_loss`
/// (MAE, section 3).
#[derive(Clone, Debug)]
pub struct PatchNorm {
    /// Added to the variance.
    pub eps: f64,
}

impl Op for PatchNorm {
    fn name(&self) -> &'static str {
        "patch_norm"
    }

    fn infer(&self, inputs: Shapes) -> std::result::Result<Vec<usize>, ShapeProblem> {
        arity(inputs, 1)?;
        ensure(rows_of(inputs[0]).1 > 1, || "an unbiased variance needs two elements".into())?;
        Ok(inputs[0].to_vec())
    }

    #[cfg(feature = "training")]
    fn vjp(&self, _: &mut Vjp) -> Result<Vec<Option<NodeId>>> {
        Ok(vec![None])
    }

    #[cfg(feature = "training")]
    fn reference(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        let x = &inputs[0];
        let last = x.rank() - 1;
        let n = x.dim(last)? as f64;
        let centred = x.broadcast_sub(&x.mean_keepdim(last)?)?;
        let var = (centred.sqr()?.sum_keepdim(last)? / (n - 1.0))?;
        centred.broadcast_div(&(var + self.eps)?.sqrt()?)
    }

    fn cpu(&self, inputs: &[Tensor]) -> candle_core::Result<Tensor> {
        per_dtype!(inputs[0].dtype(), T => {
            let x = Read::<T>::new(&inputs[0])?;
            let width = rows_of(inputs[0].dims()).1;
            let mut y = x.to_vec();
            for_rows(&mut y, width, |_, row| standardise(row, self.eps));
            new_tensor(y, inputs[0].dims().to_vec())
        })
    }

    fn lower(&self, io: &Lowering) -> Vec<Dispatch> {
        let (rows, cols) = rows_of(&io.output);
        vec![Dispatch::new(&PATCH_NORM, fields![rows, cols, self.eps], &[Input(0), Output], rows)]
    }

    fn flops(&self, _: Shapes, output: &[usize]) -> u64 {
        6 * numel(output) as u64
    }
}

/// Standardises a patch in place. Sums are taken in f64: a patch of one colour must come out as
/// zero, not as rounding noise divided by the root of epsilon.
fn standardise<T: Real>(row: &mut [T], eps: f64) {
    let n = row.len() as f64;
    let mean = row.iter().map(|x| x.to_real()).sum::<f64>() / n;
    let var = row.iter().map(|x| (x.to_real() - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let rstd = 1.0 / (var + eps).sqrt();
    for x in row {
        *x = T::from_real((x.to_real() - mean) * rstd);
    }
}

pub(super) static PATCHIFY: Kernel = kernel!("patchify");
pub(super) static PATCH_NORM: Kernel = kernel!("patch_norm");
