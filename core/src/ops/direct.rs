//! Matrix products on adapters that compute on the processor.

use super::kernel::{Dispatch, Kernel, MAX_GROUPS, Machine, Scalar, Slot, fields, kernel};

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

/// Most work in one dispatch: a slow machine finishes it long before a watchdog bites.
const DISPATCH_FLOPS: u64 = 2_000_000_000;

impl Direct {
    /// One product of dense matrices.
    pub fn new(m: usize, n: usize, k: usize) -> Self {
        let (a, b, c) = (Matrices::one(k), Matrices::one(n), Matrices::one(n));
        Self { m, n, k, heads: 1, batch: 1, scale: 1.0, a, b, c, trans_a: false, trans_b: false }
    }

    /// By the fastest kernel that the machine and the layout of the matrices allow.
    pub fn dispatches(
        &self, machine: Machine, a: Slot, b: Slot, bias: Option<Slot>, c: Slot,
    ) -> Vec<Dispatch> {
        let lanes = machine.lanes().filter(|_| self.in_fours());
        let [rows, columns] = lanes.map_or(DIRECT_TILE, tile_of_lanes);
        let tile_rows = self.m.div_ceil(rows);
        let matrices = self.heads * self.batch;
        let row_flops = 2 * (rows * matrices) as u64 * self.n as u64 * self.k as u64;
        let at_once = (DISPATCH_FLOPS / row_flops.max(1)).clamp(1, MAX_GROUPS as u64) as usize;
        let bindings = [a, b, bias.unwrap_or(b), c];
        let one = |first: usize| {
            let groups = [self.n.div_ceil(columns), at_once.min(tile_rows - first), matrices];
            let mut dispatch = self.dispatch(bindings, first, bias.is_some(), lanes);
            dispatch.workgroups = groups.map(|g| g as u32);
            dispatch
        };
        (0..tile_rows).step_by(at_once).map(one).collect()
    }

    /// Whether every row of every matrix begins at a multiple of four elements, and can be read and
    /// written four elements at a time to its end or beyond, into elements that nobody reads.
    fn in_fours(&self) -> bool {
        let Self { a, b, c, .. } = self;
        let begin = |x: &Matrices| [x.start, x.head, x.batch, x.row].iter().all(|x| x.is_multiple_of(4));
        let padded = |columns: usize, x: &Matrices| columns.next_multiple_of(4) <= x.row;
        let own_rows = self.n.is_multiple_of(4) || (padded(self.n, c) && c.head >= self.m * c.row);
        let whole_k = !self.trans_b || (self.k.is_multiple_of(4) && !self.trans_a);
        let readable = |columns: usize, x: &Matrices| columns.is_multiple_of(4) || padded(columns, x);
        let readable_a = readable(if self.trans_a { self.m } else { self.k }, a);
        let readable_b = self.trans_b || readable(self.n, b);
        [a, b, c].into_iter().all(begin) && own_rows && whole_k && readable_a && readable_b
    }

    /// All kernels take the same, but that `matmul_lanes` is told how many threads a subgroup has.
    fn dispatch(&self, bindings: [Slot; 4], first: usize, bias: bool, lanes: Option<u32>) -> Dispatch {
        let mut params = fields![self.m, self.n, self.k, first, self.heads, self.scale, usize::from(bias)];
        params.extend(self.places());
        let mut constants = vec![("TRANS_A", flag(self.trans_a)), ("TRANS_B", flag(self.trans_b))];
        let kernel = match lanes {
            None => &MATMUL_DIRECT,
            Some(QUAD) => &MATMUL_QUADS,
            Some(lanes) => {
                constants.push(("LANES", f64::from(lanes)));
                &MATMUL_LANES
            }
        };
        Dispatch::new(kernel, params, &bindings, 1).with_constants(&constants)
    }

    /// Where the matrices lie.
    fn places(&self) -> Vec<Scalar> {
        let of = |x: &Matrices| fields![x.start, x.head, x.batch, x.row];
        [of(&self.a), of(&self.b), of(&self.c)].concat()
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

/// Rows and columns of a workgroup's tile in `matmul_direct.wgsl`.
const DIRECT_TILE: [usize; 2] = [8, 128];

/// Threads of the subgroups for which `matmul_quads.wgsl` is.
const QUAD: u32 = 4;

/// The same in `matmul_quads.wgsl`, for subgroups of four threads, and in `matmul_lanes.wgsl`, for others.
fn tile_of_lanes(lanes: u32) -> [usize; 2] {
    [if lanes == QUAD { 16 } else { 32 }, 8 * lanes as usize]
}

pub(super) static MATMUL_DIRECT: Kernel = kernel!("matmul_direct" after "matmul_strided");
pub(super) static MATMUL_LANES: Kernel = kernel!("matmul_lanes" after "matmul_strided", "matmul_blocks");
pub(super) static MATMUL_QUADS: Kernel = kernel!("matmul_quads" after "matmul_strided", "matmul_blocks");
