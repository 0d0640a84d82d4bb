//! Attention by way of its scores, as products of matrices: what adapters that compute on the processor
//! do best.

use super::attention::{Layout, Target};
use super::direct::{Direct, Matrices};
use super::kernel::Slot::{Input, Output, Scratch};
use super::kernel::{Dispatch, Kernel, Lowering, MAX_GROUPS, Machine, Slot, fields, kernel};

/// Most scores that are kept at once, in elements: 64 MiB.
const MOST_SCORES: usize = 1 << 24;

/// Rows of a workgroup of `softmax_rows.wgsl` and `softmax_rows_grad.wgsl`.
const ROWS_A_GROUP: usize = 64;

/// Sizes of an attention, and where its parts lie.
#[derive(Clone, Copy)]
struct Parts {
    layout: Layout,
    machine: Machine,
    batch: usize,
    tq: usize,
    tk: usize,
    /// Elements from one row of scores to the next: whole vectors.
    row: usize,
}

impl Layout {
    /// The result as two products and a softmax. None on GPUs, and where the scores are too many.
    pub(super) fn by_products(self, io: &Lowering) -> Option<Vec<Dispatch>> {
        let parts = Parts::new(self, io)?;
        let mut all = parts.probabilities();
        all.extend(parts.mix());
        Some(all)
    }

    /// The gradient for `target`. None where [`Layout::by_products`] has none.
    pub(super) fn grad_by_products(self, io: &Lowering, target: Target) -> Option<Vec<Dispatch>> {
        let parts = Parts::new(self, io)?;
        let mut all = parts.probabilities();
        if target != Target::Q {
            all.extend(parts.grad_values());
        }
        all.extend(parts.grad_scores());
        if target != Target::Kv {
            all.extend(parts.grad_queries());
        }
        if target != Target::Q {
            all.extend(parts.grad_keys());
        }
        Some(all)
    }
}

impl Parts {
    fn new(layout: Layout, io: &Lowering) -> Option<Self> {
        let (batch, tq, tk) = (io.inputs[0][0], io.inputs[0][1], io.inputs[layout.inputs() - 1][1]);
        let parts = Self { layout, machine: io.machine, batch, tq, tk, row: tk.next_multiple_of(4) };
        let fits = parts.rows() * parts.row <= MOST_SCORES && batch * layout.heads <= MAX_GROUPS;
        (io.machine.is_processor() && fits).then_some(parts)
    }

    /// Rows of scores.
    fn rows(self) -> usize {
        self.batch * self.layout.heads * self.tq
    }

    /// The scores of every head, in a buffer of their own.
    fn scores(self) -> Matrices {
        let head = self.tq * self.row;
        Matrices { start: 0, head, batch: self.layout.heads * head, row: self.row }
    }

    fn probabilities_slot(self) -> Slot {
        Scratch(0, self.rows() * self.row)
    }

    fn grad_scores_slot(self) -> Slot {
        Scratch(1, self.rows() * self.row)
    }

    fn keys_slot(self) -> Slot {
        Input(self.layout.inputs() - 1)
    }

    /// The gradient of the result follows the inputs.
    fn dy_slot(self) -> Slot {
        Input(self.layout.inputs())
    }

    /// The heads' channels from `start` on, in `tokens` tokens of `stride` channels an image.
    fn heads(self, start: usize, tokens: usize, stride: usize) -> Matrices {
        Matrices { start, head: self.layout.head_dim(), batch: tokens * stride, row: stride }
    }

    fn queries(self) -> Matrices {
        self.heads(self.layout.offsets()[0], self.tq, self.layout.strides()[0])
    }

    fn keys(self) -> Matrices {
        self.heads(self.layout.offsets()[1], self.tk, self.layout.strides()[1])
    }

    fn values(self) -> Matrices {
        self.heads(self.layout.offsets()[2], self.tk, self.layout.strides()[1])
    }

    /// The result, and its gradient.
    fn result(self) -> Matrices {
        self.heads(0, self.tq, self.layout.dim)
    }

    /// A product for every head of every image.
    fn product(self, product: Direct, a: Slot, b: Slot, c: Slot) -> Vec<Dispatch> {
        let product = Direct { heads: self.layout.heads, batch: self.batch, ..product };
        product.dispatches(self.machine, a, b, None, c)
    }

    /// `softmax(scale·q·kᵀ)`.
    fn probabilities(self) -> Vec<Dispatch> {
        let scoring = Direct {
            scale: self.layout.scale(),
            a: self.queries(),
            b: self.keys(),
            c: self.scores(),
            trans_b: true,
            ..Direct::new(self.tq, self.tk, self.layout.head_dim())
        };
        let place = self.probabilities_slot();
        let mut all = self.product(scoring, Input(0), self.keys_slot(), place);
        all.push(self.by_rows(&SOFTMAX_ROWS, &[place]));
        all
    }

    fn by_rows(self, kernel: &'static Kernel, bindings: &[Slot]) -> Dispatch {
        let params = fields![self.rows(), self.tk, self.row / 4];
        Dispatch::new(kernel, params, bindings, self.rows().div_ceil(ROWS_A_GROUP))
    }

    /// `y = p·v`.
    fn mix(self) -> Vec<Dispatch> {
        let mixing = Direct {
            a: self.scores(),
            b: self.values(),
            c: self.result(),
            ..Direct::new(self.tq, self.layout.head_dim(), self.tk)
        };
        self.product(mixing, self.probabilities_slot(), self.keys_slot(), Output)
    }

    /// `dv = pᵀ·dy`.
    fn grad_values(self) -> Vec<Dispatch> {
        let product = Direct {
            a: self.scores(),
            trans_a: true,
            b: self.result(),
            c: self.values(),
            ..Direct::new(self.tk, self.layout.head_dim(), self.tq)
        };
        self.product(product, self.probabilities_slot(), self.dy_slot(), Output)
    }

    /// `ds`: from `dp = dy·vᵀ`, through the softmax.
    fn grad_scores(self) -> Vec<Dispatch> {
        let product = Direct {
            a: self.result(),
            b: self.values(),
            trans_b: true,
            c: self.scores(),
            ..Direct::new(self.tq, self.tk, self.layout.head_dim())
        };
        let place = self.grad_scores_slot();
        let mut all = self.product(product, self.dy_slot(), self.keys_slot(), place);
        all.push(self.by_rows(&SOFTMAX_ROWS_GRAD, &[self.probabilities_slot(), place]));
        all
    }

    /// `dq = scale·ds·k`.
    fn grad_queries(self) -> Vec<Dispatch> {
        let product = Direct {
            scale: self.layout.scale(),
            a: self.scores(),
            b: self.keys(),
            c: self.queries(),
            ..Direct::new(self.tq, self.layout.head_dim(), self.tk)
        };
        self.product(product, self.grad_scores_slot(), self.keys_slot(), Output)
    }

    /// `dk = scale·dsᵀ·q`.
    fn grad_keys(self) -> Vec<Dispatch> {
        let product = Direct {
            scale: self.layout.scale(),
            a: self.scores(),
            trans_a: true,
            b: self.queries(),
            c: self.keys(),
            ..Direct::new(self.tk, self.layout.head_dim(), self.tq)
        };
        self.product(product, self.grad_scores_slot(), Input(0), Output)
    }
}

pub(super) static SOFTMAX_ROWS: Kernel = kernel!("softmax_rows");
pub(super) static SOFTMAX_ROWS_GRAD: Kernel = kernel!("softmax_rows_grad");
