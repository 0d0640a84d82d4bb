//! Reading buffers back, always asynchronously.

use futures_channel::oneshot;

use super::device::GpuDevice;
use super::program::Part;
use crate::error::{Error, Result};

/// Bytes in flight at a time when much is read back.
const BATCH_BYTES: u64 = 64 << 20;

/// A copy of a device buffer on its way to the host.
struct Arriving {
    staging: wgpu::Buffer,
    done: oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

impl GpuDevice {
    /// The first `bytes` of each part of a buffer (a multiple of 4), in order.
    pub(crate) async fn read_buffers(&self, sources: &[(Part<'_>, u64)]) -> Result<Vec<Vec<u8>>> {
        let mut results = Vec::with_capacity(sources.len());
        let mut rest = sources;
        while !rest.is_empty() {
            let (batch, after) = rest.split_at(batch_len(rest));
            rest = after;
            let arriving = self.scoped("reading results back", 0, || Ok(self.send(batch))).await?;
            self.wait()?;
            for one in arriving {
                results.push(self.receive(one).await?);
            }
        }
        Ok(results)
    }

    fn send(&self, batch: &[(Part<'_>, u64)]) -> Vec<Arriving> {
        let mut encoder = self.gpu().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let staging: Vec<wgpu::Buffer> = batch.iter().map(|&(_, bytes)| self.staging_buffer(bytes)).collect();
        for (&(source, bytes), staging) in batch.iter().zip(&staging) {
            encoder.copy_buffer_to_buffer(source.buffer, source.offset, staging, 0, bytes);
        }
        self.queue().submit([encoder.finish()]);
        staging.into_iter().map(map).collect()
    }

    fn staging_buffer(&self, bytes: u64) -> wgpu::Buffer {
        self.gpu().create_buffer(&wgpu::BufferDescriptor {
            label: Some("staging"),
            size: bytes,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    async fn receive(&self, arriving: Arriving) -> Result<Vec<u8>> {
        let mapped = arriving.done.await;
        self.check()?;
        mapped
            .map_err(|_| Error::DeviceLost("a read-back was cancelled".into()))?
            .map_err(|e| Error::Validation(format!("read-back: {e}")))?;
        let view = arriving
            .staging
            .get_mapped_range(..)
            .map_err(|e| Error::Validation(format!("read-back: {e}")))?;
        Ok(view.to_vec())
    }

    /// Natively, waits for the device; in a browser its event loop does that.
    pub(crate) fn wait(&self) -> Result<()> {
        let polled = self.gpu().poll(wgpu::PollType::wait_indefinitely());
        self.check()?;
        polled.map(|_| ()).map_err(|e| Error::DeviceLost(format!("waiting for the device: {e}")))
    }
}

/// How many of the sources, at least one, are read together.
fn batch_len(sources: &[(Part<'_>, u64)]) -> usize {
    let mut total = 0;
    let fits = sources.iter().take_while(|&&(_, bytes)| {
        total += bytes;
        total <= BATCH_BYTES
    });
    fits.count().max(1)
}

fn map(staging: wgpu::Buffer) -> Arriving {
    let (sender, done) = oneshot::channel();
    staging.map_async(wgpu::MapMode::Read, .., move |result| {
        // Nobody waits any more when the caller was dropped.
        let _ = sender.send(result);
    });
    Arriving { staging, done }
}

/// Reals from the bytes of a buffer.
pub(crate) fn reals(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}
