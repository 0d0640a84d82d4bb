//! What the project needs on a machine: why, how to see whether it is there,
//! and how to get it.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::node;
use crate::platform::{self, Package};
use crate::toolbox::Toolbox;
use crate::tools::{self, CARGO_DENY, TRUNK, WASM_BINDGEN};

/// Folders in which a Linux system keeps its libraries.
const LIBRARIES: [&str; 6] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib64",
    "/usr/local/lib",
];

/// Folders in which Vulkan drivers describe themselves.
const VULKAN_DRIVERS: [&str; 3] =
    ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/// One thing that must be on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C compiler.
    Compiler,
    /// The compiler's WASM target.
    WasmTarget,
    /// The generator of JavaScript bindings.
    WasmBindgen,
    /// The page's builder and server.
    Trunk,
    /// The checker of licences and sources.
    CargoDeny,
    /// A Vulkan driver that works on every machine.
    Vulkan,
    /// A browser, and its test driver.
    Browser,
    /// What runs the page's tools and tests.
    Node,
    /// Those tools: wasm-opt, the TypeScript compiler, Playwright, axe.
    NodePackages,
    /// The engine to compare with in the browser; too large to be installed unasked.
    PeerPackages,
}

impl Need {
    /// For every check and test.
    pub(crate) const ALL: &[Self] = &[
        Self::Compiler,
        Self::Vulkan,
        Self::Browser,
        Self::WasmTarget,
        Self::WasmBindgen,
        Self::Trunk,
        Self::Node,
        Self::NodePackages,
        Self::CargoDeny,
    ];
    /// For the lints.
    pub(crate) const CHECK: &[Self] = &[Self::Compiler, Self::WasmTarget];
    /// For building the page.
    pub(crate) const PAGE: &[Self] =
        &[Self::Compiler, Self::WasmTarget, Self::WasmBindgen, Self::Trunk, Self::Node, Self::NodePackages];
    /// For the page's tests in a browser.
    pub(crate) const E2E: &[Self] = &[
        Self::Compiler,
        Self::Browser,
        Self::WasmTarget,
        Self::WasmBindgen,
        Self::Trunk,
        Self::Node,
        Self::NodePackages,
    ];
    /// For comparing with another engine in the browser.
    pub(crate) const BROWSER_BENCH: &[Self] = &[
        Self::Compiler,
        Self::Browser,
        Self::WasmTarget,
        Self::WasmBindgen,
        Self::Trunk,
        Self::Node,
        Self::NodePackages,
        Self::PeerPackages,
    ];
    /// For native programs.
    pub(crate) const NATIVE: &[Self] = &[Self::Compiler];

    /// The name that people know it by.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Compiler => "C compiler",
            Self::WasmTarget => "wasm32-unknown-unknown",
            Self::WasmBindgen => "wasm-bindgen-cli",
            Self::Trunk => "trunk",
            Self::CargoDeny => "cargo-deny",
            Self::Vulkan => "Vulkan software driver",
            Self::Browser => "Chromium and chromedriver",
            Self::Node => "Node 20 or newer",
            Self::NodePackages => "set of npm packages",
            Self::PeerPackages => "onnxruntime-web",
        }
    }

    /// What it is needed for.
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Compiler => "links every Rust program",
            Self::WasmTarget => "compiles the core for the browser",
            Self::WasmBindgen => "connects the compiled core with JavaScript, and runs its tests",
            Self::Trunk => "builds and serves the page",
            Self::CargoDeny => "checks the licences and sources of all dependencies",
            Self::Vulkan => "runs the GPU kernels' tests on machines without a GPU (lavapipe)",
            Self::Browser => "runs the core's and the page's tests in a real browser with WebGPU",
            Self::Node => "runs the page's tools and tests",
            Self::NodePackages => "shrinks the page's module, checks its scripts and steers the browser",
            Self::PeerPackages => "is what the page's engine is compared with",
        }
    }

    /// Where it is, if it is there.
    pub(crate) fn find(self, tools: &Toolbox) -> Option<String> {
        match self {
            Self::Compiler => find_compiler(tools),
            Self::WasmTarget => tools::find_wasm_target(tools),
            Self::WasmBindgen => WASM_BINDGEN.find(tools),
            Self::Trunk => TRUNK.find(tools),
            Self::CargoDeny => CARGO_DENY.find(tools),
            Self::Vulkan => find_vulkan(),
            Self::Browser => find_browser(tools),
            Self::Node => node::find(tools),
            Self::NodePackages => node::find_packages(tools, node::TESTS),
            Self::PeerPackages => node::find_packages(tools, node::PEERS),
        }
    }

    /// Installs it.
    ///
    /// # Errors
    /// With what to do by hand, when it cannot be installed from here.
    pub(crate) fn install(self, tools: &Toolbox) -> Result<()> {
        match self {
            Self::Compiler => platform::install(tools, Package::Compiler),
            Self::WasmTarget => tools::add_wasm_target(tools),
            Self::WasmBindgen => WASM_BINDGEN.install(tools),
            Self::Trunk => TRUNK.install(tools),
            Self::CargoDeny => CARGO_DENY.install(tools),
            Self::Vulkan => platform::install(tools, Package::Vulkan),
            Self::Browser => platform::install(tools, Package::Browser),
            Self::Node => node::install(tools),
            Self::NodePackages => node::install_packages(tools, node::TESTS),
            Self::PeerPackages => node::install_packages(tools, node::PEERS),
        }
    }
}

fn find_compiler(tools: &Toolbox) -> Option<String> {
    // On Windows rustc finds Visual Studio's linker itself, off the path.
    if cfg!(target_env = "msvc") {
        return Some("Visual Studio's, as found by rustc".to_owned());
    }
    ["cc", "gcc", "clang"].iter().find_map(|name| tools.find(name)).map(in_place)
}

/// macOS has Metal and Windows has WARP; elsewhere it must be lavapipe, since a
/// hardware driver's file says nothing about the presence of its hardware.
fn find_vulkan() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("not needed here: the system brings its own adapter".to_owned());
    }
    let loader = LIBRARIES.iter().any(|folder| Path::new(folder).join("libvulkan.so.1").exists());
    let driver = VULKAN_DRIVERS.iter().find_map(|folder| lavapipe_in(Path::new(folder)));
    loader.then_some(driver?).map(in_place)
}

fn lavapipe_in(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten();
    let is_lavapipe = |name: &str| name.starts_with("lvp") && name.ends_with(".json");
    files
        .map(|file| file.path())
        .find(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(is_lavapipe))
}

fn find_browser(tools: &Toolbox) -> Option<String> {
    let (browser, driver) = (chromium(tools)?, chromedriver(tools)?);
    Some(format!("in {} and {}", browser.display(), driver.display()))
}

/// The path of Chromium or of Chrome.
pub(crate) fn chromium(tools: &Toolbox) -> Option<PathBuf> {
    const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
    const MACOS: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
    const WINDOWS: &str = r"C:\Program Files\Google\Chrome\Application\chrome.exe";
    let fixed = || [MACOS, WINDOWS].iter().map(PathBuf::from).find(|path| path.exists());
    NAMES.iter().find_map(|name| tools.find(name)).or_else(fixed)
}

/// The path of the browser's test driver.
pub(crate) fn chromedriver(tools: &Toolbox) -> Option<PathBuf> {
    let named = std::env::var_os("CHROMEDRIVER").map(PathBuf::from);
    named.filter(|path| path.is_file()).or_else(|| tools.find("chromedriver"))
}

fn in_place(path: PathBuf) -> String {
    format!("in {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_smaller_set_is_part_of_all() {
        for set in [Need::CHECK, Need::PAGE, Need::E2E, Need::NATIVE] {
            assert!(set.iter().all(|need| Need::ALL.contains(need)), "{set:?}");
        }
    }

    #[test]
    fn names_and_reasons_differ() {
        for (index, need) in Need::ALL.iter().enumerate() {
            let others = &Need::ALL[index + 1..];
            assert!(others.iter().all(|other| other.name() != need.name()));
            assert!(others.iter().all(|other| other.why() != need.why()));
        }
    }

    #[test]
    fn only_lavapipes_description_counts() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("xtask-icd-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("intel_icd.x86_64.json"), "")?;
        assert_eq!(lavapipe_in(&folder), None);
        let wanted = folder.join("lvp_icd.x86_64.json");
        std::fs::write(&wanted, "")?;
        assert_eq!(lavapipe_in(&folder), Some(wanted));
        assert_eq!(lavapipe_in(&folder.join("absent")), None);
        std::fs::remove_dir_all(folder)?;
        Ok(())
    }
}
