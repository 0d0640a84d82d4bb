//! The page: built by trunk, shrunk by wasm-opt and tsc, listed for its service worker.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};

use crate::toolbox::Toolbox;
use crate::{budget, files, node};

/// The cargo profile of the page as visitors get it.
pub(crate) const PROFILE: &str = "web";

/// What the compiled core may use beyond the first WebAssembly: all of it is in every browser that the
/// page supports. `wasm-opt` does not read it off the module.
const FEATURES: [&str; 8] = [
    "--enable-bulk-memory",
    "--enable-bulk-memory-opt",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-simd",
];

/// How the TypeScript compiler takes the comments out of scripts, and leaves everything else.
const BARE: [&str; 10] = [
    "--allowJs",
    "--noCheck",
    "--noResolve",
    "--removeComments",
    "--verbatimModuleSyntax",
    "--ignoreConfig",
    "--target",
    "esnext",
    "--module",
    "esnext",
];

/// Whether this program has built the page as visitors get it.
static BUILT: AtomicBool = AtomicBool::new(false);

/// Builds the page into `dist/` with a cargo profile. The profile of visitors also gets the slow
/// optimisation.
///
/// # Errors
/// When a step fails.
pub(crate) fn build(tools: &Toolbox, profile: &str) -> Result<PathBuf> {
    tools.run(tools.command("trunk").args(["build", "--cargo-profile", profile]))?;
    let dist = tools.root().join("dist");
    leave_out(&dist)?;
    if profile == PROFILE {
        modules(&dist)?.iter().try_for_each(|module| optimise(tools, module))?;
        take_out_comments(tools, &dist)?;
    }
    files::write_manifest(&dist)?;
    BUILT.store(profile == PROFILE, Ordering::Relaxed);
    Ok(dist)
}

/// Takes away what trunk copied along: tests of the scripts, programs that drew the gallery, and the
/// service worker's second copy, which no page starts.
fn leave_out(dist: &Path) -> Result<()> {
    for file in files::list(dist)? {
        let test = file.url.split('/').any(|part| part == "test");
        if test || file.url.ends_with(".py") || file.url == "page/sw.js" {
            fs::remove_file(&file.path).with_context(|| format!("removing {}", file.path.display()))?;
        }
    }
    Ok(())
}

/// The page as visitors get it, built unless this program has done so.
///
/// # Errors
/// When a step fails.
pub(crate) fn built(tools: &Toolbox) -> Result<PathBuf> {
    if BUILT.load(Ordering::Relaxed) {
        return Ok(tools.root().join("dist"));
    }
    build(tools, PROFILE)
}

/// Builds the page, and checks how much code it is.
///
/// # Errors
/// When a step fails, or it is too much.
pub(crate) fn check(tools: &Toolbox) -> Result<()> {
    budget::check(&build(tools, PROFILE)?)
}

/// The WebAssembly modules of the page.
fn modules(dist: &Path) -> Result<Vec<PathBuf>> {
    let files = files::list(dist)?.into_iter().map(|file| file.path);
    let modules: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "wasm")).collect();
    ensure!(!modules.is_empty(), "trunk left no .wasm in {}", dist.display());
    Ok(modules)
}

/// Leaves the scripts without comments, types included: visitors have no use for a fifth of their bytes.
fn take_out_comments(tools: &Toolbox, dist: &Path) -> Result<()> {
    let scripts = files::list(dist)?.into_iter().filter(|file| file.url.ends_with(".js"));
    let scripts: Vec<_> = scripts.map(|file| (file.path, file.url)).collect();
    let bare = tools.root().join("target").join("page-scripts");
    let mut command = node::script(tools, "typescript/bin/tsc");
    command.args(BARE).arg("--rootDir").arg(dist).arg("--outDir").arg(&bare);
    tools.run(command.args(scripts.iter().map(|(path, _)| path)))?;
    for (path, url) in scripts {
        fs::copy(bare.join(&url), &path).with_context(|| format!("replacing {}", path.display()))?;
    }
    Ok(())
}

/// Replaces a module by a smaller and faster one that does the same.
fn optimise(tools: &Toolbox, module: &Path) -> Result<()> {
    let smaller = module.with_extension("wasm.tmp");
    let mut command = node::script(tools, "binaryen/bin/wasm-opt");
    command.arg("-O3").args(FEATURES).arg(module).arg("-o").arg(&smaller);
    tools.run(&mut command)?;
    fs::rename(&smaller, module).with_context(|| format!("replacing {}", module.display()))
}
