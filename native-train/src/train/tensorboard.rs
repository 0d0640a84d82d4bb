//! TensorBoard event files: protocol buffers in framed records, written by hand as three message
//! types are all there is to it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Result, TrainError};

/// An event file.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
}

impl Events {
    /// Starts a new event file in a folder; TensorBoard reads all files of a folder as one.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn create(folder: &Path) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let name = format!("events.out.tfevents.{:010}.rmae.{}", now.as_secs(), now.subsec_nanos());
        let path = folder.join(name);
        let file = File::create(&path).map_err(|e| TrainError::io("create", &path, e))?;
        let mut events = Self { path, file };
        let mut event = event_at(0);
        bytes_field(&mut event, 3, b"brain.Event:2");
        events.write(&event)?;
        Ok(events)
    }

    /// Adds named numbers at a step.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut summary = vec![];
        for (tag, value) in values {
            let mut entry = vec![];
            bytes_field(&mut entry, 1, tag.as_bytes());
            key(&mut entry, 2, 5);
            entry.extend((*value as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &entry);
        }
        self.summary(step, &summary)
    }

    /// Adds a PNG image at a step.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn image(&mut self, step: u64, tag: &str, (width, height): (u32, u32), png: &[u8]) -> Result<()> {
        let mut image = vec![];
        for (field, value) in [(1, height), (2, width), (3, 3)] {
            key(&mut image, field, 0);
            varint(&mut image, u64::from(value));
        }
        bytes_field(&mut image, 4, png);
        let mut entry = vec![];
        bytes_field(&mut entry, 1, tag.as_bytes());
        bytes_field(&mut entry, 4, &image);
        let mut summary = vec![];
        bytes_field(&mut summary, 1, &entry);
        self.summary(step, &summary)
    }

    fn summary(&mut self, step: u64, summary: &[u8]) -> Result<()> {
        let mut event = event_at(step);
        bytes_field(&mut event, 5, summary);
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> Result<()> {
        self.file.write_all(&frame(event)).map_err(|e| TrainError::io("write", &self.path, e))
    }
}

/// Wall time (field 1) and step (field 2) of an `Event`.
fn event_at(step: u64) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut event = vec![];
    key(&mut event, 1, 1);
    event.extend(now.as_secs_f64().to_le_bytes());
    key(&mut event, 2, 0);
    varint(&mut event, step);
    event
}

fn key(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes_field(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    key(out, field, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A record: length, its checksum, data, its checksum.
fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(masked_crc(&length).to_le_bytes());
    out.extend_from_slice(data);
    out.extend(masked_crc(data).to_le_bytes());
    out
}

/// CRC-32C, rotated and shifted as the record format wants it.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32 with Castagnoli's polynomial, reflected.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| TABLE[((crc ^ u32::from(byte)) & 0xff) as usize] ^ (crc >> 8))
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standard_check_string() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn varints_take_seven_bits_a_byte() {
        let mut out = vec![];
        varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }
}
