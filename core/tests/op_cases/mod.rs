//! Every op over ragged sizes: what the kernels are tested with.
// Each test binary uses its own part of it.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use rmae_core::exec::Tensors;
use rmae_core::graph::{Graph, NodeId};
use rmae_core::ops::Op;
use rmae_core::ops::attention::{Attention, AttentionGrad, Layout, Target};
use rmae_core::ops::boundary::{RegionBoundary, RegionBoundaryGrad};
use rmae_core::ops::dice::{RegionDice, RegionDiceGrad};
use rmae_core::ops::elementwise::{Add, Fill, Gelu, GeluGrad, Scale};
use rmae_core::ops::fused::{LinearAdd, LinearGelu};
use rmae_core::ops::layer_norm::{LayerNorm, LayerNormGradGamma, LayerNormGradInput};
use rmae_core::ops::linear::{Linear, LinearGradInput, LinearGradWeight};
use rmae_core::ops::losses::{MaskedMse, MaskedMseGrad, RegionBce, RegionBceGrad};
use rmae_core::ops::patches::{PatchLayout, PatchNorm, Patchify};
use rmae_core::ops::reduce::{BroadcastAxis, OuterAdd, SumAxis, SwapAxes};
use rmae_core::ops::tiled::TiledProduct;
use rmae_core::ops::tokens::{
    GatherTokens, PadTokens, PrependToken, RestoreFillGrad, RestoreTokens, SliceTokens,
};
use rmae_core::tensor::HostTensor;

/// An op of one graph, with inputs `i0`, `i1`, … and the output `y`.
pub struct Case {
    pub name: String,
    pub graph: Graph,
    /// The same op, whose reals come from another op and go to one, all of which may be stored as f16.
    pub between: Graph,
    pub inputs: Tensors,
}

/// What an input holds.
#[derive(Clone)]
pub enum Of {
    Real(Vec<usize>),
    /// 0 and 1.
    Binary(Vec<usize>),
    /// Permutations of `l` for each of `b`, or their inverses.
    Shuffle(usize, usize),
    Restore(usize, usize),
}

/// Small reproducible random numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    pub fn real(&mut self) -> f32 {
        let sum: f32 = (0..4).map(|_| self.next() as f32 / (1u64 << 31) as f32).sum();
        (sum - 2.0) * 1.7
    }

    fn permutation(&mut self, l: usize) -> Vec<u32> {
        let mut ids: Vec<u32> = (0..l as u32).collect();
        for i in (1..l).rev() {
            ids.swap(i, self.next() as usize % (i + 1));
        }
        ids
    }
}

fn inverse(ids: &[u32]) -> Vec<u32> {
    let mut inverse = vec![0; ids.len()];
    for (place, &id) in ids.iter().enumerate() {
        inverse[id as usize] = place as u32;
    }
    inverse
}

fn tensor(of: &Of, random: &mut Random) -> HostTensor {
    let numel = |shape: &[usize]| shape.iter().product::<usize>();
    match of {
        Of::Real(shape) => HostTensor::f32(shape, (0..numel(shape)).map(|_| random.real()).collect()),
        Of::Binary(shape) => {
            HostTensor::f32(shape, (0..numel(shape)).map(|_| (random.next() % 2) as f32).collect())
        }
        Of::Shuffle(b, l) => {
            HostTensor::u32(&[*b, *l], (0..*b).flat_map(|_| random.permutation(*l)).collect())
        }
        Of::Restore(b, l) => {
            HostTensor::u32(&[*b, *l], (0..*b).flat_map(|_| inverse(&random.permutation(*l))).collect())
        }
    }
    .unwrap()
}

pub fn case(name: &str, op: impl Op + 'static, inputs: &[Of]) -> Case {
    let (mut graph, mut between) = (Graph::new(), Graph::new());
    let mut random = Random::new(name.len() as u64 + inputs.len() as u64);
    let mut tensors = Tensors::new();
    let (mut ids, mut scaled): (Vec<NodeId>, Vec<NodeId>) = (vec![], vec![]);
    for (i, of) in inputs.iter().enumerate() {
        let value = tensor(of, &mut random);
        let input = format!("i{i}");
        let add = |graph: &mut Graph| match of {
            Of::Real(s) | Of::Binary(s) => graph.input(&input, s),
            Of::Shuffle(b, l) | Of::Restore(b, l) => graph.index_input(&input, &[*b, *l]),
        };
        ids.push(add(&mut graph));
        let id = add(&mut between);
        let is_real = matches!(of, Of::Real(_) | Of::Binary(_));
        scaled.push(if is_real { between.apply(Scale { factor: 1.0 }, &[id]).unwrap() } else { id });
        tensors.insert(input, value);
    }
    let name = format!("{name} {op:?}");
    let op: Arc<dyn Op> = Arc::new(op);
    let y = graph.apply_shared(op.clone(), &ids).unwrap_or_else(|e| panic!("{name}: {e}"));
    graph.set_output("y", y);
    let y =
        between.apply_shared(op, &scaled).and_then(|y| between.apply(Scale { factor: 1.0 }, &[y])).unwrap();
    between.set_output("y", y);
    Case { name, graph, between, inputs: tensors }
}

fn real(shape: &[usize]) -> Of {
    Of::Real(shape.to_vec())
}

/// Every op.
pub fn all() -> Vec<Case> {
    let mut cases = elementwise();
    cases.extend(linear());
    cases.extend(reduce());
    cases.extend(layer_norm());
    cases.extend(attention());
    cases.extend(tokens());
    cases.extend(patches());
    cases.extend(losses());
    cases
}

fn elementwise() -> Vec<Case> {
    let mut cases = vec![
        case("fill", Fill { shape: vec![3, 87], value: 0.25 }, &[]),
        case("add same", Add::same(), &[real(&[5, 7]), real(&[5, 7])]),
        case("add leading", Add::leading(3), &[real(&[3, 5, 7]), real(&[5, 7])]),
        case("add middle", Add { n: 4, outer: 3 }, &[real(&[3, 4, 11]), real(&[3, 11])]),
    ];
    for len in [1, 255, 257, 1031] {
        cases.push(case("scale", Scale { factor: -1.75 }, &[real(&[len])]));
        cases.push(case("gelu", Gelu, &[real(&[len])]));
        cases.push(case("gelu_grad", GeluGrad, &[real(&[len]), real(&[len])]));
    }
    cases
}

fn linear() -> Vec<Case> {
    let mut cases = vec![];
    // (rows, in, out): one, primes, a tile, just above one, deep enough to share out the sum; fours,
    // below and above tiles of 32 x 64 and steps of 32.
    let sizes = [
        (1, 1, 1),
        (7, 13, 5),
        (64, 64, 64),
        (65, 17, 66),
        (130, 129, 67),
        (1100, 24, 37),
        (1100, 24, 36),
        (5, 1100, 3),
        (37, 20, 36),
        (68, 44, 132),
    ];
    for (rows, k, out) in sizes {
        let (x, w, dy) = (real(&[rows, k]), real(&[out, k]), real(&[rows, out]));
        cases.push(case("bias", Linear, &[x.clone(), w.clone(), real(&[out])]));
        cases.push(case("no bias", Linear, &[x.clone(), w.clone()]));
        cases.push(case("gelu", LinearGelu, &[x.clone(), w.clone(), real(&[out])]));
        let residual = real(&[rows, out]);
        cases.push(case("residual", LinearAdd, &[x.clone(), w.clone(), real(&[out]), residual]));
        cases.push(case("dx", LinearGradInput { shape: vec![rows, k] }, &[dy.clone(), w]));
        cases.push(case("tiled", TiledProduct, &[real(&[rows, k]), real(&[k, out])]));
        cases.push(case("dw", LinearGradWeight { shape: vec![out, k] }, &[dy, x]));
    }
    cases.push(case("patch embedding", Linear, &[real(&[2, 9, 48]), real(&[10, 3, 4, 4]), real(&[10])]));
    cases
}

fn reduce() -> Vec<Case> {
    let sum = |outer: usize, n: usize, inner: usize| {
        let op = SumAxis { outer, n, inner, scale: 0.5, shape: vec![outer, inner] };
        case("sum", op, &[real(&[outer, n, inner])])
    };
    let repeat = |outer: usize, n: usize, inner: usize| {
        let op = BroadcastAxis { outer, n, inner, scale: 0.5, shape: vec![outer, n, inner] };
        case("broadcast", op, &[real(&[outer, inner])])
    };
    let mut cases: Vec<Case> = [(1, 1, 1), (3, 5, 7), (1, 129, 3), (2, 128, 65), (1, 9001, 1), (3, 4200, 5)]
        .map(|(o, n, i)| sum(o, n, i))
        .into();
    cases.extend([(1, 1, 1), (3, 5, 7), (2, 100, 13)].map(|(o, n, i)| repeat(o, n, i)));
    cases.push(case("outer", OuterAdd, &[real(&[2, 3, 5]), real(&[2, 7, 5])]));
    let swap = SwapAxes { outer: 2, a: 3, b: 5, inner: 7, shape: vec![2, 5, 3, 7] };
    cases.push(case("swap", swap, &[real(&[2, 3, 5, 7])]));
    cases
}

fn layer_norm() -> Vec<Case> {
    let mut cases = vec![];
    for (rows, cols) in [(1, 2), (3, 63), (67, 64), (200, 65), (5, 771)] {
        let (x, c) = (real(&[rows, cols]), real(&[cols]));
        cases.push(case("norm", LayerNorm { eps: 1e-6 }, &[x.clone(), c.clone(), c.clone()]));
        cases.push(case("dx", LayerNormGradInput { eps: 1e-6 }, &[x.clone(), c, x.clone()]));
        cases.push(case("dgamma", LayerNormGradGamma { eps: 1e-6, shape: vec![cols] }, &[x.clone(), x]));
    }
    cases
}

fn attention() -> Vec<Case> {
    let mut cases = vec![];
    for (n, t, heads, hd) in
        [(1, 1, 1, 4), (2, 5, 3, 6), (2, 65, 2, 16), (1, 131, 1, 64), (1, 66, 2, 80), (1, 9, 1, 128)]
    {
        let (layout, dim) = (Layout::fused(heads, heads * hd), heads * hd);
        let (qkv, dy) = (real(&[n, t, 3 * dim]), real(&[n, t, dim]));
        cases.push(case("self", Attention { layout, order_invariant: false }, std::slice::from_ref(&qkv)));
        cases.push(case("dqkv", AttentionGrad { layout, target: Target::Qkv }, &[qkv, dy]));
    }
    for (n, tq, tk, heads, hd) in [(2, 3, 70, 2, 5), (1, 67, 33, 1, 8)] {
        let (layout, dim) = (Layout::cross(heads, heads * hd), heads * hd);
        let (q, kv, dy) = (real(&[n, tq, dim]), real(&[n, tk, 2 * dim]), real(&[n, tq, dim]));
        cases.push(case("cross", Attention { layout, order_invariant: true }, &[q.clone(), kv.clone()]));
        for target in [Target::Q, Target::Kv] {
            cases.push(case("grad", AttentionGrad { layout, target }, &[q.clone(), kv.clone(), dy.clone()]));
        }
    }
    cases
}

fn tokens() -> Vec<Case> {
    let mut cases = vec![];
    for (b, l, keep, d) in [(1, 4, 1, 1), (2, 9, 4, 5), (3, 49, 12, 24)] {
        let (shuffle, restore) = (Of::Shuffle(b, l), Of::Restore(b, l));
        for (cls, groups) in [(false, 1), (true, 1), (false, 3)] {
            let (n, c) = (b * groups, usize::from(cls));
            let whole = real(&[n, l + c, d]);
            let kept = real(&[n, keep + c, d]);
            let gather = GatherTokens { keep, cls, groups, shared: false };
            cases.push(case("gather", gather, &[whole.clone(), shuffle.clone(), restore.clone()]));
            let back = RestoreTokens { visible: keep, cls, groups };
            let inputs = [kept, restore.clone(), shuffle.clone(), real(&[d])];
            cases.push(case("restore", back.clone(), &inputs[..3]));
            cases.push(case("restore with fill", back, &inputs));
            let fill = RestoreFillGrad { visible: keep, cls, groups, shape: vec![1, 1, d] };
            cases.push(case("fill", fill, &[whole, restore.clone()]));
        }
        let shared = GatherTokens { keep, cls: false, groups: 1, shared: true };
        cases.push(case("gather shared", shared, &[real(&[1, l, d]), shuffle, restore]));
        cases.push(case("prepend", PrependToken, &[real(&[d]), real(&[b, l, d])]));
        cases.push(case("slice", SliceTokens { start: 1, len: l - 2 }, &[real(&[b, l, d])]));
        cases.push(case("pad", PadTokens { start: 1, total: l + 3 }, &[real(&[b, l, d])]));
    }
    cases
}

fn patches() -> Vec<Case> {
    let mut cases = vec![];
    for (n, c, h, w, patch) in [(1, 1, 4, 4, 4), (2, 3, 8, 12, 4), (2, 1, 10, 5, 5)] {
        for layout in [PatchLayout::ChannelsFirst, PatchLayout::ChannelsLast] {
            cases.push(case("patchify", Patchify { patch, layout, subtract: 0.5 }, &[real(&[n, c, h, w])]));
        }
    }
    for (rows, cols) in [(1, 2), (7, 48), (70, 65)] {
        cases.push(case("norm", PatchNorm { eps: 1e-6 }, &[real(&[rows, cols])]));
    }
    cases
}

fn losses() -> Vec<Case> {
    let mut cases = vec![];
    for (b, k, l, visible, p) in [(1, 1, 2, 1, 1), (2, 3, 9, 2, 16), (3, 2, 49, 12, 67)] {
        let (pred, target, ids, one) = (real(&[b, l, p]), real(&[b, l, p]), Of::Restore(b, l), real(&[1]));
        cases.push(case("mse", MaskedMse { visible }, &[pred.clone(), target.clone(), ids.clone()]));
        cases.push(case("mse", MaskedMseGrad { visible }, &[pred, target, ids.clone(), one.clone()]));
        let (logits, target) = (real(&[b, k, l, p]), Of::Binary(vec![b, k, l, p]));
        let background_weight = 0.25;
        let inputs = [logits, target, ids, one];
        cases.push(case("bce", RegionBce { visible, background_weight }, &inputs[..3]));
        cases.push(case("bce", RegionBceGrad { visible, background_weight }, &inputs));
        let [logits, target, _, one] = inputs;
        cases.push(case("dice", RegionDice, &[logits.clone(), target.clone()]));
        cases.push(case("dice", RegionDiceGrad, &[logits.clone(), target, one.clone()]));
        let distance = real(&[b, k, l, p]);
        cases.push(case("boundary", RegionBoundary, &[logits.clone(), distance.clone()]));
        cases.push(case("boundary", RegionBoundaryGrad, &[logits, distance, one]));
    }
    cases
}
