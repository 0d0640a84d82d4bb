//! One small instance of every op, over sizes that fit no tile: what the op tests run over.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rmae_core::model::{restore_ids, shuffle_ids};
use rmae_core::ops::Op;
use rmae_core::ops::attention::{Attention, AttentionGrad, Layout, Target};
use rmae_core::ops::boundary::{RegionBoundary, RegionBoundaryGrad};
use rmae_core::ops::dice::{RegionDice, RegionDiceGrad};
use rmae_core::ops::elementwise::{Add, Fill, Gelu, GeluGrad, Reshape, Scale};
use rmae_core::ops::layer_norm::{LayerNorm, LayerNormGradGamma, LayerNormGradInput};
use rmae_core::ops::linear::{Linear, LinearGradInput, LinearGradWeight};
use rmae_core::ops::losses::{MaskedMse, MaskedMseGrad, RegionBce, RegionBceGrad};
use rmae_core::ops::patches::{PatchLayout, PatchNorm, Patchify};
use rmae_core::ops::reduce::{BroadcastAxis, OuterAdd, SumAxis, SwapAxes};
use rmae_core::ops::tokens::{
    GatherTokens, PadTokens, PrependToken, RestoreFillGrad, RestoreTokens, SliceTokens,
};
use rmae_core::tensor::HostTensor;

/// An op and inputs for it.
pub struct Case {
    pub name: String,
    pub op: Arc<dyn Op>,
    pub inputs: Vec<HostTensor>,
    /// Inputs that its gradient rule covers.
    pub differentiable: Vec<usize>,
}

/// What an input of a case holds.
enum In {
    /// Normal-ish numbers of a shape.
    Real(Vec<usize>),
    /// 0 and 1.
    Binary(Vec<usize>),
    /// `[B, L]` permutations, or their inverses (of the permutations made last).
    Shuffle(usize, usize),
    Restore,
}
use In::{Binary, Real, Restore, Shuffle};

fn make(spec: &[In], rng: &mut ChaCha8Rng) -> Vec<HostTensor> {
    let mut last: Option<(usize, usize, Vec<u32>)> = None;
    let mut inputs = vec![];
    for input in spec {
        inputs.push(match input {
            Real(shape) => {
                let n = shape.iter().product();
                let values = (0..n).map(|_| rng.random_range(-2.0f32..2.0)).collect();
                HostTensor::f32(shape, values).unwrap()
            }
            Binary(shape) => {
                let n = shape.iter().product();
                let values = (0..n).map(|_| f32::from(u8::from(rng.random::<bool>()))).collect();
                HostTensor::f32(shape, values).unwrap()
            }
            Shuffle(b, l) => {
                let ids: Vec<u32> = (0..*b).flat_map(|_| shuffle_ids(*l, rng)).collect();
                last = Some((*b, *l, ids.clone()));
                HostTensor::u32(&[*b, *l], ids).unwrap()
            }
            Restore => {
                let (b, l, ids) = last.clone().unwrap();
                HostTensor::u32(&[b, l], restore_ids(&ids, l)).unwrap()
            }
        });
    }
    inputs
}

/// Every op, most of them at several ragged sizes.
pub fn cases() -> Vec<Case> {
    let mut list = Cases { rng: ChaCha8Rng::seed_from_u64(11), cases: vec![] };
    list.linear();
    list.elementwise();
    list.layer_norm();
    list.reductions();
    list.attention();
    list.tokens();
    list.patches();
    list.losses();
    list.cases
}

struct Cases {
    rng: ChaCha8Rng,
    cases: Vec<Case>,
}

impl Cases {
    fn add(&mut self, op: impl Op + 'static, spec: &[In], differentiable: &[usize]) {
        let inputs = make(spec, &mut self.rng);
        let shapes: Vec<&[usize]> = inputs.iter().map(HostTensor::shape).collect();
        let name = format!("{op:?} {shapes:?}");
        self.cases.push(Case { name, op: Arc::new(op), inputs, differentiable: differentiable.to_vec() });
    }

    fn linear(&mut self) {
        for (rows, k, n) in [(1, 1, 1), (5, 7, 3), (65, 17, 33), (3, 130, 67)] {
            let (x, w, b) = (vec![rows, k], vec![n, k], vec![n]);
            let dy = vec![rows, n];
            self.add(Linear, &[Real(x.clone()), Real(w.clone()), Real(b)], &[0, 1, 2]);
            self.add(Linear, &[Real(x.clone()), Real(w.clone())], &[0, 1]);
            self.add(LinearGradInput { shape: x.clone() }, &[Real(dy.clone()), Real(w.clone())], &[]);
            self.add(LinearGradWeight { shape: w }, &[Real(dy), Real(x)], &[]);
        }
        self.add(Linear, &[Real(vec![2, 3, 12]), Real(vec![5, 3, 2, 2]), Real(vec![5])], &[0, 1, 2]);
    }

    fn elementwise(&mut self) {
        self.add(Fill { shape: vec![3, 5], value: -1.5 }, &[], &[]);
        self.add(Add::same(), &[Real(vec![3, 7]), Real(vec![3, 7])], &[0, 1]);
        self.add(Add::leading(3), &[Real(vec![3, 5, 2]), Real(vec![1, 5, 2])], &[0, 1]);
        self.add(Add { n: 3, outer: 2 }, &[Real(vec![6, 5, 2]), Real(vec![2, 5, 2])], &[0, 1]);
        self.add(Scale { factor: -0.75 }, &[Real(vec![257])], &[0]);
        for n in [1, 17, 1031] {
            self.add(Gelu, &[Real(vec![n])], &[0]);
            self.add(GeluGrad, &[Real(vec![n]), Real(vec![n])], &[]);
        }
        self.add(Reshape { shape: vec![6, 2] }, &[Real(vec![3, 4])], &[0]);
    }

    fn layer_norm(&mut self) {
        // Not 2: two elements normalise to ±1, and the gradient is rounding noise.
        for (rows, c) in [(1, 3), (3, 17), (67, 8), (5, 300), (300, 5)] {
            let (x, g) = (vec![rows, c], vec![c]);
            self.add(
                LayerNorm { eps: 1e-6 },
                &[Real(x.clone()), Real(g.clone()), Real(g.clone())],
                &[0, 1, 2],
            );
            let inputs = [Real(x.clone()), Real(g.clone()), Real(x.clone())];
            self.add(LayerNormGradInput { eps: 1e-6 }, &inputs, &[]);
            self.add(LayerNormGradGamma { eps: 1e-6, shape: g }, &[Real(x.clone()), Real(x)], &[]);
        }
    }

    fn reductions(&mut self) {
        for (outer, n, inner) in [(1, 1, 1), (1, 1025, 3), (3, 7, 5), (1, 70, 130), (9, 2, 1)] {
            let (long, short) = (vec![outer, n, inner], vec![outer, inner]);
            let scale = 1.0 / n as f64;
            self.add(SumAxis { outer, n, inner, scale, shape: short.clone() }, &[Real(long.clone())], &[0]);
            self.add(BroadcastAxis { outer, n, inner, scale, shape: long }, &[Real(short)], &[0]);
        }
        self.add(OuterAdd, &[Real(vec![2, 3, 5]), Real(vec![2, 7, 5])], &[0, 1]);
        let swap = SwapAxes { outer: 2, a: 3, b: 5, inner: 7, shape: vec![2, 5, 3, 7] };
        self.add(swap, &[Real(vec![2, 3, 5, 7])], &[0]);
    }

    fn attention(&mut self) {
        for (n, t, heads, hd) in [(1, 1, 1, 4), (2, 5, 3, 7), (1, 67, 2, 16), (3, 17, 2, 5)] {
            let dim = heads * hd;
            let layout = Layout::fused(heads, dim);
            let (qkv, dy) = (vec![n, t, 3 * dim], vec![n, t, dim]);
            for order_invariant in [false, true] {
                self.add(Attention { layout, order_invariant }, &[Real(qkv.clone())], &[0]);
            }
            self.add(AttentionGrad { layout, target: Target::Qkv }, &[Real(qkv), Real(dy)], &[]);
        }
        for (n, tq, tk, heads, hd) in [(1, 1, 3, 1, 4), (2, 5, 11, 3, 7), (1, 3, 66, 2, 16)] {
            let dim = heads * hd;
            let layout = Layout::cross(heads, dim);
            let (q, kv, dy) = (vec![n, tq, dim], vec![n, tk, 2 * dim], vec![n, tq, dim]);
            let op = Attention { layout, order_invariant: false };
            self.add(op, &[Real(q.clone()), Real(kv.clone())], &[0, 1]);
            for target in [Target::Q, Target::Kv] {
                let inputs = [Real(q.clone()), Real(kv.clone()), Real(dy.clone())];
                self.add(AttentionGrad { layout, target }, &inputs, &[]);
            }
        }
    }

    fn tokens(&mut self) {
        for (b, l, keep, d, groups, cls) in
            [(2, 7, 3, 5, 1, false), (3, 13, 4, 1, 1, true), (2, 5, 1, 3, 3, false)]
        {
            let (n, c) = (b * groups, usize::from(cls));
            let (all, some) = (vec![n, l + c, d], vec![n, keep + c, d]);
            let gather = GatherTokens { keep, cls, groups, shared: false };
            self.add(gather, &[Real(all.clone()), Shuffle(b, l), Restore], &[0]);
            let restore = RestoreTokens { visible: keep, cls, groups };
            let ids = |x: Vec<usize>| {
                // The op takes the inverse first: an inverse of a permutation is one too.
                [Real(x), Shuffle(b, l), Restore]
            };
            self.add(restore.clone(), &ids(some.clone()), &[0]);
            let [x, restore_ids, shuffle] = ids(some);
            self.add(restore, &[x, restore_ids, shuffle, Real(vec![d])], &[0, 3]);
            let fill = RestoreFillGrad { visible: keep, cls, groups, shape: vec![d] };
            self.add(fill, &[Real(all), Shuffle(b, l)], &[]);
        }
        let shared = GatherTokens { keep: 3, cls: false, groups: 1, shared: true };
        self.add(shared, &[Real(vec![1, 7, 5]), Shuffle(4, 7), Restore], &[0]);
        self.add(PrependToken, &[Real(vec![1, 1, 5]), Real(vec![3, 4, 5])], &[0, 1]);
        self.add(SliceTokens { start: 1, len: 3 }, &[Real(vec![2, 5, 7])], &[0]);
        self.add(PadTokens { start: 1, total: 5 }, &[Real(vec![2, 3, 7])], &[0]);
    }

    fn patches(&mut self) {
        for layout in [PatchLayout::ChannelsFirst, PatchLayout::ChannelsLast] {
            self.add(Patchify { patch: 3, layout, subtract: 0.5 }, &[Real(vec![2, 3, 9, 9])], &[]);
            self.add(Patchify { patch: 1, layout, subtract: 0.0 }, &[Real(vec![1, 1, 2, 2])], &[]);
        }
        self.add(PatchNorm { eps: 1e-6 }, &[Real(vec![2, 3, 27])], &[]);
        self.add(PatchNorm { eps: 1e-6 }, &[Real(vec![5, 300])], &[]);
    }

    fn losses(&mut self) {
        for (b, l, p, visible) in [(1, 2, 1, 1), (3, 13, 12, 4), (2, 67, 5, 16)] {
            let x = || Real(vec![b, l, p]);
            self.add(MaskedMse { visible }, &[x(), x(), Shuffle(b, l)], &[0]);
            self.add(MaskedMseGrad { visible }, &[x(), x(), Shuffle(b, l), Real(vec![1])], &[]);
        }
        for (b, k, l, p, visible) in [(1, 1, 2, 1, 1), (2, 3, 13, 4, 4), (3, 5, 67, 7, 16)] {
            let (x, y) = (vec![b, k, l, p], vec![b, k, l, p]);
            let background_weight = 0.25;
            let op = RegionBce { visible, background_weight };
            self.add(op, &[Real(x.clone()), Binary(y.clone()), Shuffle(b, l)], &[0]);
            let op = RegionBceGrad { visible, background_weight };
            self.add(op, &[Real(x.clone()), Binary(y.clone()), Shuffle(b, l), Real(vec![1])], &[]);
            self.add(RegionDice, &[Real(x.clone()), Binary(y.clone())], &[0]);
            self.add(RegionDiceGrad, &[Real(x.clone()), Binary(y), Real(vec![1])], &[]);
            self.add(RegionBoundary, &[Real(x.clone()), Real(x.clone())], &[0]);
            self.add(RegionBoundaryGrad, &[Real(x.clone()), Real(x), Real(vec![1])], &[]);
        }
    }
}
