//! Matrix products on adapters that compute on the processor.

use super::kernel::{Dispatch, Kernel, MAX_GROUPS, Slot, fields, kernel};

/// Where the matrices of a batch of heads lie in a buffer, in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrices {
    /// The first element.
    pub start: usize,
    /// From one head to the next, and from one element of the batch to the next.
    pub head: usize,
    pub batch: usize,
    /// From one row to the next, as the matrix is stored.
    pub row: usize,
}

impl Matrices {
    /// A single dense matrix.
    pub fn one(row: usize) -> Self {
        Self { start: 0, head: 0, batch: 0, row }
    }
}

/// `C = scale·A·B (+ bias)`, for every head of every element of a batch.
#[derive(Clone, Debug)]
pub(super) struct Direct {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub heads: usize,
    pub batch: usize,
    pub scale: f64,
    pub a: Matrices,
    pub b: Matrices,
    pub c: Matrices,
    /// `A` is stored `[k, m]`.
    pub trans_a: bool,
    /// `B` is stored `[n, k]`.
    pub trans_b: bool,
}

/// Rows and columns of a workgroup's tile; those of `matmul_direct.wgsl`.
const TILE_ROWS: usize = 8;
const TILE_COLUMNS: usize = 128;

/// Most work in one dispatch: a slow machine finishes it long before a watchdog bites.
const DISPATCH_FLOPS: u64 = 2_000_000_000;

impl Direct {
    /// One product of dense matrices.
    pub fn new(m: usize, n: usize, k: usize) -> Self {
        let (a, b, c) = (Matrices::one(k), Matrices::one(n), Matrices::one(n));
        Self { m, n, k, heads: 1, batch: 1, scale: 1.0, a, b, c, trans_a: false, trans_b: false }
    }

    pub fn dispatches(&self, a: Slot, b: Slot, bias: Option<Slot>, c: Slot) -> Vec<Dispatch> {
        let tile_rows = self.m.div_ceil(TILE_ROWS);
        let matrices = self.heads * self.batch;
        let row_flops = 2 * (TILE_ROWS * matrices) as u64 * self.n as u64 * self.k as u64;
        let at_once = (DISPATCH_FLOPS / row_flops.max(1)).clamp(1, MAX_GROUPS as u64) as usize;
        let one = |first: usize| {
            let groups = [self.n.div_ceil(TILE_COLUMNS), at_once.min(tile_rows - first), matrices];
            let mut dispatch = self.dispatch([a, b, bias.unwrap_or(b), c], first, bias.is_some());
            dispatch.workgroups = groups.map(|g| g as u32);
            dispatch
        };
        (0..tile_rows).step_by(at_once).map(one).collect()
    }

    fn dispatch(&self, bindings: [Slot; 4], first: usize, bias: bool) -> Dispatch {
        let Self { a, b, c, .. } = self;
        let params = fields![
            self.m, self.n, self.k, first, self.heads, self.scale, a.start, a.head, a.batch, a.row, b.start,
            b.head, b.batch, b.row, c.head, c.batch, c.row,
        ];
        let flag = |on: bool| f64::from(u8::from(on));
        let constants =
            [("TRANS_A", flag(self.trans_a)), ("TRANS_B", flag(self.trans_b)), ("HAS_BIAS", flag(bias))];
        Dispatch::new(&MATMUL_DIRECT, params, &bindings, 1).with_constants(&constants)
    }
}

pub(super) static MATMUL_DIRECT: Kernel = kernel!("matmul_direct");
