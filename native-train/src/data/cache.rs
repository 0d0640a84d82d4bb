//! Regions kept on disk between epochs and runs.
//!
//! One file an image, named by a hash of its key: the image's absolute path,
//! size and time of change, the segmentation's parameters and the format's
//! version. The file holds the key in full, so a collision of hashes is seen,
//! and a checksum, so damage is. Whatever is wrong with an entry, it is made
//! anew; it is written under a temporary name and renamed, so neither an
//! interruption nor a second process leaves half of one.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use rmae_core::regions::{FelzenszwalbParams, LabelMap};

use super::DataError;

const MAGIC: &[u8; 8] = b"RMAEREG\x01";

/// A folder of cached regions.
#[derive(Debug)]
pub(super) struct RegionCache {
    dir: PathBuf,
}

impl RegionCache {
    /// Opens the folder, making it where it does not exist.
    pub(super) fn open(dir: &Path) -> Result<Self, DataError> {
        fs::create_dir_all(dir).map_err(|e| DataError::io(dir, e))?;
        let dir = dir.to_path_buf();
        Ok(Self { dir })
    }

    /// The entry under `key`, or what `make` gives, stored there. Failing to
    /// store is not failing: the cache is only a matter of speed.
    pub(super) fn get_or(
        &self, key: &str, make: impl FnOnce() -> Result<Vec<LabelMap>, String>,
    ) -> Result<Vec<LabelMap>, String> {
        let path = self.dir.join(format!("{:016x}.regions", hash(key.as_bytes())));
        if let Some(maps) = fs::read(&path).ok().and_then(|bytes| unpack(&bytes, key)) {
            return Ok(maps);
        }
        let maps = make()?;
        let _ = self.store(&path, &pack(&maps, key));
        Ok(maps)
    }

    fn store(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    }
}

/// The key of an image's regions: changes when the file or a parameter does.
pub(super) fn key(image: &Path, params: &[FelzenszwalbParams], max_short_side: u32) -> Option<String> {
    let meta = fs::metadata(image).ok()?;
    let changed = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let path = fs::canonicalize(image).ok()?;
    let mut key = format!("{}\n{} {}", path.display(), meta.len(), changed.as_nanos());
    for p in params {
        let _ = write!(key, "\n{} {} {}", p.scale, p.sigma, p.min_size);
    }
    let _ = write!(key, "\n{max_short_side}");
    Some(key)
}

/// FNV-1a, 64 bits: stable over platforms and compilers.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Magic, key, number of maps, then for each its size and its runs of equal
/// labels (length, label), and the checksum of it all. Numbers are LEB128.
fn pack(maps: &[LabelMap], key: &str) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    put(&mut out, key.len() as u64);
    out.extend_from_slice(key.as_bytes());
    put(&mut out, maps.len() as u64);
    for map in maps {
        put(&mut out, map.width() as u64);
        put(&mut out, map.height() as u64);
        for run in map.labels().chunk_by(|a, b| a == b) {
            put(&mut out, run.len() as u64);
            put(&mut out, u64::from(run[0]));
        }
    }
    let sum = hash(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// The maps of an entry, if it is whole and made for `key`.
fn unpack(bytes: &[u8], key: &str) -> Option<Vec<LabelMap>> {
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if hash(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?;
    let key_len = usize::try_from(take(&mut rest)?).ok()?;
    let (found, tail) = rest.split_at_checked(key_len)?;
    if found != key.as_bytes() {
        return None;
    }
    rest = tail;
    let maps = take(&mut rest)?;
    let maps: Vec<_> = (0..maps).map(|_| unpack_map(&mut rest)).collect::<Option<_>>()?;
    rest.is_empty().then_some(maps)
}

fn unpack_map(rest: &mut &[u8]) -> Option<LabelMap> {
    let width = usize::try_from(take(rest)?).ok()?;
    let height = usize::try_from(take(rest)?).ok()?;
    let area = width.checked_mul(height)?;
    if area as u64 > super::decode::MAX_PIXELS {
        return None;
    }
    let mut labels = Vec::with_capacity(area);
    while labels.len() < area {
        let run = usize::try_from(take(rest)?).ok()?;
        let label = u32::try_from(take(rest)?).ok()?;
        if run == 0 || run > area - labels.len() {
            return None;
        }
        labels.resize(labels.len() + run, label);
    }
    LabelMap::new(width, height, labels).ok()
}

/// Appends a number, seven bits a byte, low ones first.
fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number off the front.
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
