//! What a visitor downloads before the page can do anything: its code, compressed as hosts send it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::files;

/// The most that all code may take, in bytes.
const MOST: usize = 600_000;

/// Bytes of one file of code.
struct Size {
    url: String,
    plain: usize,
    sent: usize,
}

/// Prints what each file of code takes, as it is and in brotli's strongest compression.
///
/// # Errors
/// When together they take more than they may, or one cannot be read.
pub(crate) fn check(dist: &Path) -> Result<()> {
    let sizes = code_sizes(dist)?;
    let total: usize = sizes.iter().map(|size| size.sent).sum();
    println!("{}", table(&sizes));
    println!("code: {total} bytes in brotli, {MOST} allowed");
    ensure!(sizes.iter().any(|size| size.url.ends_with(".wasm")), "{} holds no .wasm", dist.display());
    ensure!(total <= MOST, "the code takes {total} bytes in brotli, which is more than {MOST}");
    Ok(())
}

/// The files of code, largest first.
fn code_sizes(dist: &Path) -> Result<Vec<Size>> {
    let is_code = |url: &str| [".wasm", ".js", ".mjs"].iter().any(|ending| url.ends_with(ending));
    let files = files::list(dist)?.into_iter().filter(|file| is_code(&file.url));
    let mut sizes = files
        .map(|file| {
            let content = fs::read(&file.path).with_context(|| format!("reading {}", file.path.display()))?;
            Ok(Size { url: file.url, plain: content.len(), sent: compressed(&content)? })
        })
        .collect::<Result<Vec<Size>>>()?;
    sizes.sort_by_key(|size| std::cmp::Reverse(size.sent));
    Ok(sizes)
}

/// How many bytes brotli makes of it, with the strongest setting and the largest usual window.
fn compressed(content: &[u8]) -> Result<usize> {
    let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 24, ..Default::default() };
    let mut out = vec![];
    brotli::BrotliCompress(&mut &content[..], &mut out, &params).context("compressing")?;
    Ok(out.len())
}

fn table(sizes: &[Size]) -> String {
    let mut text = format!("{:>10} {:>10}  file", "bytes", "brotli");
    for Size { url, plain, sent } in sizes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n{plain:>10} {sent:>10}  {url}");
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Bytes that no compression makes smaller.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn too_much_code_is_an_error_and_pictures_are_none() {
        let dist = std::env::temp_dir().join(format!("xtask-budget-{}", std::process::id()));
        fs::create_dir_all(&dist).unwrap();
        fs::write(dist.join("photo.png"), noise(2 * MOST)).unwrap();
        assert!(check(&dist).unwrap_err().to_string().contains("no .wasm"));
        fs::write(dist.join("a.wasm"), vec![0; 2 * MOST]).unwrap();
        fs::write(dist.join("a.js"), noise(1000)).unwrap();
        check(&dist).unwrap();
        fs::write(dist.join("b.js"), noise(MOST)).unwrap();
        assert!(check(&dist).unwrap_err().to_string().contains("more than"));
        fs::remove_dir_all(dist).unwrap();
    }
}
