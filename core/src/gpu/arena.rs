//! Weights, and what belongs to them, side by side in few buffers, so that one dispatch updates many.
//!
//! Weights whose names begin alike and which decay alike are neighbours: parts of a model that are not
//! trained get no gradients and moments.

use std::collections::BTreeMap;

use super::device::GpuDevice;
use super::program::Part;
use crate::error::Result;
use crate::exec::Tensors;
use crate::optim::decays;

/// Distance of weights: what every WebGPU device aligns bindings to.
const ALIGNMENT: u64 = 256;

/// Longest buffer of several weights.
const LONGEST: u64 = 128 << 20;

/// What belongs to a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Value,
    /// Zero wherever nothing was collected since the last step.
    Gradient,
    /// AdamW's running means.
    Mean,
    Square,
}

/// Where a weight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) arena: usize,
    /// Bytes.
    offset: u64,
    bytes: u64,
}

/// Buffers of some weights, alike inside.
#[derive(Debug, Default)]
pub(super) struct Arena {
    bytes: u64,
    buffers: [Option<wgpu::Buffer>; 4],
}

/// Neighbours that are updated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) place: Place,
    pub(super) decays: bool,
}

impl Run {
    /// Elements, with what lies between the weights, which is 0 in gradients.
    pub(super) fn len(&self) -> usize {
        (self.place.bytes / 4) as usize
    }

    /// The arena that it lies in.
    pub(super) fn arena(&self) -> usize {
        self.place.arena
    }
}

impl Place {
    /// Places in the order of memory, neighbours joined.
    pub(super) fn runs(mut places: Vec<(Self, bool)>) -> Vec<Run> {
        places.sort_unstable();
        let mut runs: Vec<Run> = vec![];
        for (place, decays) in places {
            match runs.last_mut() {
                Some(run)
                    if run.place.arena == place.arena
                        && (run.place.offset + run.place.bytes).next_multiple_of(ALIGNMENT)
                            == place.offset =>
                {
                    run.place.bytes = place.offset + place.bytes - run.place.offset;
                }
                _ => runs.push(Run { place, decays }),
            }
        }
        runs
    }
}

/// Arenas for weights, and where in them each is.
pub(super) fn lay_out(weights: &Tensors) -> (Vec<Arena>, BTreeMap<String, Place>) {
    let mut groups: BTreeMap<(&str, bool), Vec<(&str, u64)>> = BTreeMap::new();
    for (name, tensor) in weights {
        let head = name.split('.').next().unwrap_or_default();
        groups.entry((head, decays(tensor.shape()))).or_default().push((name, 4 * tensor.len() as u64));
    }
    let (mut arenas, mut places) = (vec![], BTreeMap::new());
    for group in groups.into_values() {
        arenas.push(Arena::default());
        for (name, bytes) in group {
            let end = |arena: &Arena| arena.bytes.next_multiple_of(ALIGNMENT);
            if arenas.last().is_some_and(|arena| arena.bytes > 0 && end(arena) + bytes > LONGEST) {
                arenas.push(Arena::default());
            }
            let index = arenas.len() - 1;
            let offset = end(&arenas[index]);
            arenas[index].bytes = offset + bytes;
            places.insert(name.to_owned(), Place { arena: index, offset, bytes });
        }
    }
    (arenas, places)
}

impl Arena {
    /// Makes the buffer of a kind, zeroed, if there is none.
    pub(super) fn make(&mut self, device: &GpuDevice, kind: Kind, name: &str) -> Result<()> {
        let buffer = &mut self.buffers[kind as usize];
        if buffer.is_none() {
            *buffer = Some(device.storage(name, (self.bytes / 4) as usize)?);
        }
        Ok(())
    }

    /// Gives the buffer of a kind back.
    pub(super) fn drop(&mut self, kind: Kind) {
        self.buffers[kind as usize] = None;
    }

    /// The part of a weight; none where there is no such buffer.
    pub(super) fn part(&self, kind: Kind, place: Place) -> Option<Part<'_>> {
        let buffer = self.buffers[kind as usize].as_ref()?;
        // Kernels may take elements in fours.
        let bytes = place.bytes.max(1).next_multiple_of(16);
        Some(Part { buffer, offset: place.offset, bytes: Some(bytes) })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tensor::HostTensor;

    fn weights() -> Tensors {
        let zeros = |shape: &[usize]| HostTensor::f32(shape, vec![0.0; shape.iter().product()]).unwrap();
        let all = [
            ("blocks.0.bias", zeros(&[3])),
            ("blocks.0.weight", zeros(&[5, 13])),
            ("blocks.1.bias", zeros(&[64])),
            ("blocks.1.weight", zeros(&[2, 3])),
            ("norm", zeros(&[7])),
        ];
        all.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
    }

    #[test]
    fn weights_that_are_alike_are_neighbours() {
        let (arenas, places) = lay_out(&weights());
        let place = |arena, offset, bytes| Place { arena, offset, bytes };
        assert_eq!(places["blocks.0.bias"], place(0, 0, 12));
        assert_eq!(places["blocks.1.bias"], place(0, 256, 256));
        assert_eq!(places["blocks.0.weight"], place(1, 0, 260));
        assert_eq!(places["blocks.1.weight"], place(1, 512, 24));
        assert_eq!(places["norm"], place(2, 0, 28));
        assert_eq!(arenas.iter().map(|arena| arena.bytes).collect::<Vec<_>>(), [512, 536, 28]);
    }

    #[test]
    fn runs_end_where_a_weight_is_left_out() {
        let place = |arena, offset, bytes| (Place { arena, offset, bytes }, arena == 1);
        let run = |arena, offset, bytes| Run { place: place(arena, offset, bytes).0, decays: arena == 1 };
        let all = vec![place(1, 512, 24), place(0, 256, 256), place(0, 0, 12), place(1, 0, 260)];
        assert_eq!(Place::runs(all), [run(0, 0, 512), run(1, 0, 536)]);
        let some = vec![place(0, 1024, 4), place(0, 0, 12)];
        assert_eq!(Place::runs(some), [run(0, 0, 12), run(0, 1024, 4)]);
        assert_eq!(run(0, 0, 512).len(), 128);
    }
}
