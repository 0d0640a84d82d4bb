//! The files of the built page: which there are, how large, and with what content.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The list that the page's service worker reads.
pub(crate) const MANIFEST: &str = "sw-manifest.json";

/// One file of the page.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PageFile {
    /// Relative to the page, with slashes.
    pub(crate) url: String,
    /// Where it lies.
    pub(crate) path: PathBuf,
}

/// Every file below a folder but the manifest, by address.
///
/// # Errors
/// When a folder cannot be read.
pub(crate) fn list(dist: &Path) -> Result<Vec<PageFile>> {
    let mut files = vec![];
    walk(dist, "", &mut files)?;
    files.retain(|file| file.url != MANIFEST);
    files.sort_by(|a, b| a.url.cmp(&b.url));
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut Vec<PageFile>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Hidden ones are the builder's own.
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else {
            files.push(PageFile { url: format!("{prefix}{name}"), path: entry.path() });
        }
    }
    Ok(())
}

/// Writes the manifest: what a visitor's browser keeps, so that the page works without a network, and
/// a version that changes with any of it.
///
/// # Errors
/// When a file cannot be read, or the manifest not be written.
pub(crate) fn write_manifest(dist: &Path) -> Result<()> {
    let files = list(dist)?.iter().map(describe).collect::<Result<Vec<Value>>>()?;
    let version = hex(&Sha256::digest(Value::Array(files.clone()).to_string()));
    let manifest = json!({ "version": version, "files": files });
    let path = dist.join(MANIFEST);
    fs::write(&path, format!("{manifest:#}\n")).with_context(|| format!("writing {}", path.display()))
}

fn describe(file: &PageFile) -> Result<Value> {
    let content = fs::read(&file.path).with_context(|| format!("reading {}", file.path.display()))?;
    let sha256 = hex(&Sha256::digest(&content));
    Ok(json!({ "url": file.url, "bytes": content.len(), "sha256": sha256 }))
}

/// In hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(dist: &Path) -> Value {
        serde_json::from_slice(&fs::read(dist.join(MANIFEST)).unwrap()).unwrap()
    }

    #[test]
    fn the_version_follows_the_content() {
        let dist = std::env::temp_dir().join(format!("xtask-manifest-{}", std::process::id()));
        fs::create_dir_all(dist.join("js")).unwrap();
        fs::write(dist.join("index.html"), "abc").unwrap();
        fs::write(dist.join("js/a.js"), "x").unwrap();
        write_manifest(&dist).unwrap();
        let first = read(&dist);
        write_manifest(&dist).unwrap();
        assert_eq!(read(&dist), first, "the manifest must not count itself");
        assert_eq!(first["files"][0]["url"], "index.html");
        assert_eq!(first["files"][1]["url"], "js/a.js");
        assert_eq!(first["files"][0]["bytes"], 3);
        let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(first["files"][0]["sha256"], of_abc);
        fs::write(dist.join("js/a.js"), "y").unwrap();
        write_manifest(&dist).unwrap();
        assert_ne!(read(&dist)["version"], first["version"]);
        fs::remove_dir_all(dist).unwrap();
    }
}
