//! How long each kernel of a program takes, by the device's own clock.

use super::device::{GpuDevice, Pipeline};
use super::plan::Step;
use super::program::SUBMISSION_STEPS;
use crate::cpu::Profile;
use crate::error::Result;

/// Timestamps of a submission: where each dispatch begins and ends.
const STAMPS: u32 = 2 * SUBMISSION_STEPS as u32;

/// Bytes of a timestamp.
const STAMP_BYTES: u64 = 8;

/// What a program being profiled has measured, and the means for it.
#[derive(Debug)]
pub(crate) struct Profiler {
    stamps: wgpu::QuerySet,
    /// Nanoseconds of the device's tick.
    period: f64,
    /// The submissions of a run: the first step, and the timestamps from there on.
    submissions: Vec<(usize, wgpu::Buffer)>,
    pub(crate) profile: Profile,
}

impl GpuDevice {
    /// None where the adapter has no clock.
    pub(crate) fn profiler(&self) -> Option<Profiler> {
        if !self.gpu().features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return None;
        }
        let stamps = self.gpu().create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("timestamps"),
            ty: wgpu::QueryType::Timestamp,
            count: STAMPS,
        });
        let period = f64::from(self.queue().get_timestamp_period());
        Some(Profiler { stamps, period, submissions: vec![], profile: Profile::new() })
    }
}

impl Profiler {
    /// Records dispatches, each in a pass of its own that notes when it began and ended.
    pub(crate) fn submit(
        &mut self, device: &GpuDevice, first: usize, steps: &[Step], groups: &[wgpu::BindGroup],
    ) {
        let gpu = device.gpu();
        let mut encoder = gpu.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for (i, (step, group)) in (0..).zip(steps.iter().zip(groups)) {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &self.stamps,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                }),
            });
            dispatch(&mut pass, &step.pipeline, group, step.workgroups);
        }
        let stamps = 2 * steps.len() as u32;
        let resolved = gpu.create_buffer(&wgpu::BufferDescriptor {
            label: Some("timestamps"),
            size: STAMP_BYTES * u64::from(stamps),
            usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
            mapped_at_creation: false,
        });
        encoder.resolve_query_set(&self.stamps, 0..stamps, &resolved, 0);
        device.queue().submit([encoder.finish()]);
        self.submissions.push((first, resolved));
    }

    /// Adds the run that was submitted to the profile.
    pub(crate) async fn note(&mut self, device: &GpuDevice, steps: &[Step]) -> Result<()> {
        let submissions = std::mem::take(&mut self.submissions);
        let sources: Vec<_> = submissions.iter().map(|(_, buffer)| (buffer.into(), buffer.size())).collect();
        let stamps = device.read_buffers(&sources).await?;
        for ((first, _), bytes) in submissions.iter().zip(&stamps) {
            for (step, pair) in steps[*first..].iter().zip(bytes.chunks_exact(2 * STAMP_BYTES as usize)) {
                let (begin, end) = pair.split_at(STAMP_BYTES as usize);
                self.add(step, ticks(end).saturating_sub(ticks(begin)));
            }
        }
        Ok(())
    }

    fn add(&mut self, step: &Step, ticks: u64) {
        let time = self.profile.entry(step.kernel).or_default();
        time.seconds += ticks as f64 * self.period / 1e9;
        time.calls += 1;
        time.flops += step.flops;
        time.bytes += step.bytes;
    }
}

fn ticks(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte))
}

/// Records one dispatch.
pub(crate) fn dispatch(
    pass: &mut wgpu::ComputePass, pipeline: &Pipeline, group: &wgpu::BindGroup, [x, y, z]: [u32; 3],
) {
    pass.set_pipeline(&pipeline.compute);
    pass.set_bind_group(0, group, &[]);
    pass.dispatch_workgroups(x, y, z);
}
