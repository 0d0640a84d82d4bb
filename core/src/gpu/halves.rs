//! Which values of a program are stored as f16, and the weights' copies in f16.

use super::device::{GpuDevice, Pipeline, UNIFORM_RANGE};
use super::params::{GpuParams, problem};
use super::plan::push_uniform;
use super::program::{Part, dispatch};
use crate::error::Result;
use crate::graph::{Graph, NodeId, Source};
use crate::ops::elementwise::SCALE;
use crate::ops::kernel::{Dispatch, Halves, Slot, fields};
use crate::tensor::ElementType;

/// For each node, whether what it owns is stored as f16: results of ops and weights, where every kernel
/// that reads or writes them can, and which are not `whole` (read back, or added to a sum in f32).
/// `lowered` has the dispatches of each node.
pub(super) fn half_values(
    graph: &Graph, root: &[usize], lowered: &[Vec<Dispatch>], whole: &[NodeId],
) -> Vec<bool> {
    let could = |(index, node): (usize, &crate::graph::Node)| {
        let stored = !matches!(node.source, Source::Input { .. });
        root[index] == index && stored && node.element == ElementType::Real
    };
    let mut half: Vec<bool> = graph.nodes().iter().enumerate().map(could).collect();
    whole.iter().for_each(|id| half[root[id.index()]] = false);
    for (index, dispatches) in lowered.iter().enumerate() {
        for dispatch in dispatches {
            for (at, &slot) in (1..).zip(&dispatch.bindings) {
                if let Some(node) = bound(graph, index, slot)
                    && !dispatch.kernel.takes_half(at)
                {
                    half[root[node]] = false;
                }
            }
        }
    }
    half
}

/// The bindings of a dispatch that are f16.
pub(super) fn halves(
    graph: &Graph, root: &[usize], half: &[bool], index: usize, dispatch: &Dispatch,
) -> Halves {
    let bindings = (1..).zip(&dispatch.bindings);
    bindings.fold(Halves::default(), |found, (at, &slot)| match bound(graph, index, slot) {
        Some(node) if half[root[node]] => found.with(at),
        _ => found,
    })
}

/// The node whose value a dispatch of node `index` binds; none for scratch buffers.
fn bound(graph: &Graph, index: usize, slot: Slot) -> Option<usize> {
    match slot {
        Slot::Input(i) => graph.nodes()[index].inputs().get(i).map(|id| id.index()),
        Slot::Output => Some(index),
        Slot::Scratch(..) => None,
    }
}

/// The weights' copies in f16, and what renews them.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Whether the weights have changed since.
    stale: bool,
    /// For each copy: pipeline, bindings, workgroups.
    casts: Vec<(Pipeline, wgpu::BindGroup, [u32; 3])>,
}

impl Copies {
    /// The weights have changed.
    pub(super) fn outdate(&mut self) {
        self.stale = true;
    }
}

impl GpuParams {
    /// The copy of a weight in f16.
    pub(super) fn half(&self, name: &str) -> Result<Part<'_>> {
        self.weights
            .get(name)
            .and_then(|w| w.half.as_ref().map(Part::from))
            .ok_or_else(|| problem(name, "has no copy in f16"))
    }

    /// Makes copies of these weights, where there are none yet.
    pub(super) fn make_halves<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        for name in names {
            let Some(weight) = self.weights.get(name).filter(|w| w.half.is_none()) else { continue };
            let len = weight.len();
            let copy = self.device.storage(name, len.div_ceil(2))?;
            let cast = cast(&self.device, len, self.weight(name)?, Part::from(&copy));
            self.copies.casts.push(cast);
            if let Some(weight) = self.weights.get_mut(name) {
                weight.half = Some(copy);
            }
            self.copies.stale = true;
        }
        Ok(())
    }

    /// Brings all copies up to date.
    pub(super) fn refresh_halves(&mut self) {
        if !std::mem::take(&mut self.copies.stale) || self.copies.casts.is_empty() {
            return;
        }
        let mut encoder =
            self.device.gpu().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (pipeline, group, workgroups) in &self.copies.casts {
            dispatch(&mut pass, pipeline, group, *workgroups);
        }
        drop(pass);
        self.device.queue().submit([encoder.finish()]);
    }
}

fn cast(
    device: &GpuDevice, len: usize, from: Part<'_>, to: Part<'_>,
) -> (Pipeline, wgpu::BindGroup, [u32; 3]) {
    // The kernel of `Scale`, which reads f32 here and writes f16.
    let (params, bindings) = (fields![len, 1.0], [Slot::Input(0), Slot::Output]);
    let work = Dispatch::elements(&SCALE, params, &bindings, len);
    let pipeline = device.pipeline(&work, Halves::default().with(2));
    let mut bytes = Vec::with_capacity(UNIFORM_RANGE as usize);
    push_uniform(&mut bytes, &work);
    let uniforms = device.uniforms(1);
    device.queue().write_buffer(&uniforms, 0, &bytes);
    let range = (&uniforms, 0, 4 * work.params.len() as u64);
    let group = device.bind_group(&pipeline.layout, range, &[from, to]);
    (pipeline, group, work.workgroups)
}
