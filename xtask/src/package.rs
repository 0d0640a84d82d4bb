//! `cargo xtask package`: the folder that `npm pack` makes a package of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::toolbox::Toolbox;
use crate::{files, page};

/// Where the package is put together.
const FOLDER: &str = "dist-npm";

/// Scripts, types and documentation from `web/js`, the engine as the page has it, and the licences.
///
/// # Errors
/// When the page cannot be built, or a file not be copied.
pub(crate) fn run(tools: &Toolbox) -> Result<()> {
    let dist = page::built(tools)?;
    let package = assemble(tools.root(), &dist)?;
    println!("\nThe package is in {}: `npm pack` there makes one file of it", package.display());
    Ok(())
}

fn assemble(root: &Path, dist: &Path) -> Result<PathBuf> {
    let package = root.join(FOLDER);
    if package.exists() {
        fs::remove_dir_all(&package).with_context(|| format!("emptying {}", package.display()))?;
    }
    let scripts = files::list(&root.join("web/js"))?;
    for file in scripts.iter().filter(|file| !file.url.starts_with("test/")) {
        copy(&file.path, &package.join(&file.url))?;
    }
    // Trunk names both after their content; the package has a version for that.
    copy(&engine(dist, ".js")?, &package.join("rmae/rmae_web.js"))?;
    copy(&engine(dist, "_bg.wasm")?, &package.join("rmae/rmae_web_bg.wasm"))?;
    copy(&dist.join("js/glance.bin"), &package.join("glance.bin"))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE", "NOTICE"] {
        copy(&root.join(licence), &package.join(licence))?;
    }
    Ok(package)
}

/// The one file of the engine with this ending, directly in the built page.
fn engine(dist: &Path, ending: &str) -> Result<PathBuf> {
    let is_it = |url: &str| url.starts_with("rmae-web-") && url.ends_with(ending);
    let mut found: Vec<_> = files::list(dist)?.into_iter().filter(|file| is_it(&file.url)).collect();
    ensure!(found.len() == 1, "{} holds {} files rmae-web-*{ending}, not 1", dist.display(), found.len());
    Ok(found.remove(0).path)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn write(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn a_package_has_code_engine_and_licences_but_no_tests() {
        let root = std::env::temp_dir().join(format!("xtask-package-{}", std::process::id()));
        let sources =
            ["web/js/index.js", "web/js/test/a.test.mjs", "LICENSE-MIT", "LICENSE-APACHE", "NOTICE"];
        let built = [
            "dist/rmae-web-0a.js",
            "dist/rmae-web-0a_bg.wasm",
            "dist/js/glance.bin",
            "dist-npm/left-over.js",
        ];
        sources.iter().chain(&built).for_each(|path| write(root.join(path)));
        let package = assemble(&root, &root.join("dist")).unwrap();
        let names: Vec<_> = files::list(&package).unwrap().into_iter().map(|file| file.url).collect();
        let wanted = [
            "LICENSE-APACHE",
            "LICENSE-MIT",
            "NOTICE",
            "glance.bin",
            "index.js",
            "rmae/rmae_web.js",
            "rmae/rmae_web_bg.wasm",
        ];
        assert_eq!(names, wanted);
        write(root.join("dist/rmae-web-0b.js"));
        assert!(assemble(&root, &root.join("dist")).unwrap_err().to_string().contains("2 files"));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_package_has_the_workspaces_version() {
        let package: serde_json::Value =
            serde_json::from_str(include_str!("../../web/js/package.json")).unwrap();
        assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
    }
}
