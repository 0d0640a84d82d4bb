//! Tools that cargo installs, with the versions that this workspace needs.

use anyhow::{Context, Result, bail};

use crate::toolbox::Toolbox;

/// A program that comes from crates.io.
pub(crate) struct CargoTool {
    /// The crate's name.
    pub(crate) package: &'static str,
    /// The program that the crate installs and that is asked for its version.
    pub(crate) program: &'static str,
    /// The version needed.
    pub(crate) version: &'static str,
    /// Whether exactly that version is needed, or one at least as new will do.
    pub(crate) exact: bool,
    /// Flags for `cargo install` beyond the usual ones.
    flags: &'static [&'static str],
}

/// Makes JavaScript bindings. Its version must be that of the library, to the
/// last digit: it reads a private format that the library writes.
pub(crate) const WASM_BINDGEN: CargoTool = CargoTool {
    package: "wasm-bindgen-cli",
    program: "wasm-bindgen",
    version: "0.2.129",
    exact: true,
    flags: &[],
};

/// Builds and serves the page. Unoptimised, because it only copies files, and
/// builds three times as fast so; its declared compiler version is ignored,
/// because it is newer than what trunk's code needs.
pub(crate) const TRUNK: CargoTool = CargoTool {
    package: "trunk",
    program: "trunk",
    version: "0.22.1",
    exact: true,
    flags: &["--debug", "--ignore-rust-version"],
};

/// Checks licences and sources of dependencies. Unoptimised for the same reason.
pub(crate) const CARGO_DENY: CargoTool = CargoTool {
    package: "cargo-deny",
    program: "cargo-deny",
    version: "0.20.2",
    exact: false,
    flags: &["--debug"],
};

impl CargoTool {
    /// Where a suitable version is, if there is one on the search path.
    pub(crate) fn find(&self, tools: &Toolbox) -> Option<String> {
        let version = self.installed(tools)?;
        let path = tools.find(self.program)?;
        self.accepts(&version).then(|| format!("{version} in {}", path.display()))
    }

    /// Installs the tool: for the user, or in the workspace's own `.tools` where
    /// the user has another version that is none of our business.
    ///
    /// # Errors
    /// When cargo fails, or when what it installed is not found afterwards.
    pub(crate) fn install(&self, tools: &Toolbox) -> Result<()> {
        let mut command = tools.command("cargo");
        command.args(["install", self.package, "--version", self.version, "--locked"]);
        command.args(self.flags);
        if let Some(other) = self.installed(tools) {
            println!("  {} {other} is left as it is", self.program);
            command.arg("--root").arg(tools.private_tools());
        }
        // Tools must not be built with this workspace's flags.
        command.env_remove("RUSTFLAGS").env_remove("CARGO_BUILD_TARGET");
        tools.run(&mut command)?;
        self.find(tools).map(|_| ()).with_context(|| self.not_found_after_install())
    }

    /// The version of the program on the search path.
    fn installed(&self, tools: &Toolbox) -> Option<String> {
        let program = tools.find(self.program)?;
        let output = tools.capture(tools.command(program).arg("--version"))?;
        Some(version_in(&output)?.to_owned())
    }

    fn accepts(&self, version: &str) -> bool {
        match (numbers(version), numbers(self.version)) {
            (Some(found), Some(needed)) if !self.exact => found >= needed,
            _ => version == self.version,
        }
    }

    fn not_found_after_install(&self) -> String {
        format!(
            "cargo installed {} {}, but `{} --version` does not answer so; is cargo's bin folder \
             on PATH?",
            self.package, self.version, self.program
        )
    }
}

/// Adds the compiler's WASM target.
///
/// # Errors
/// Without rustup, or when it cannot fetch the target.
pub(crate) fn add_wasm_target(tools: &Toolbox) -> Result<()> {
    if tools.find("rustup").is_none() {
        bail!("no rustup to add the target with: install your distribution's Rust WASM package");
    }
    tools.run(tools.command("rustup").args(["target", "add", "wasm32-unknown-unknown"]))
}

/// Where the compiler's WASM target is, if it is installed.
pub(crate) fn find_wasm_target(tools: &Toolbox) -> Option<String> {
    let mut command = tools.command("rustc");
    command.args(["--print", "target-libdir", "--target", "wasm32-unknown-unknown"]);
    let folder = tools.capture(&mut command)?;
    let folder = folder.trim();
    let mut files = std::fs::read_dir(folder).ok()?;
    files.next().map(|_| format!("in {folder}"))
}

/// The first word of `output` that is a version: `1.2.3`, `v1.2.3`, `1.2.3-beta.1`.
pub(crate) fn version_in(output: &str) -> Option<&str> {
    output.split_whitespace().map(|word| word.trim_start_matches('v')).find(|word| numbers(word).is_some())
}

/// Major, minor and patch number; a suffix such as `-beta.1` is left out.
pub(crate) fn numbers(version: &str) -> Option<(u32, u32, u32)> {
    let plain = version.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(str::parse);
    let triple = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    parts.next().is_none().then_some(triple)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_tools_print() {
        assert_eq!(version_in("wasm-bindgen 0.2.129\n"), Some("0.2.129"));
        assert_eq!(version_in("trunk v0.22.1-beta.2 (x)"), Some("0.22.1-beta.2"));
        assert_eq!(version_in("cargo-deny 0.20.2"), Some("0.20.2"));
        for wrong in ["", "trunk", "1.2", "1.2.3.4", "1.x.3", "no. 1..2"] {
            assert_eq!(version_in(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_exact_tool_takes_one_version_only() {
        assert!(WASM_BINDGEN.accepts("0.2.129"));
        for other in ["0.2.128", "0.2.130", "0.2.129-beta", "0.2"] {
            assert!(!WASM_BINDGEN.accepts(other), "{other}");
        }
    }

    #[test]
    fn another_tool_takes_newer_versions() {
        for fine in ["0.20.2", "0.20.10", "0.21.0", "1.0.0"] {
            assert!(CARGO_DENY.accepts(fine), "{fine}");
        }
        for old in ["0.20.1", "0.9.99", "nonsense"] {
            assert!(!CARGO_DENY.accepts(old), "{old}");
        }
    }

    #[test]
    fn the_binding_generator_matches_the_library() {
        let manifest = include_str!("../../Cargo.toml");
        let pinned = format!("wasm-bindgen = \"={}\"", WASM_BINDGEN.version);
        assert!(manifest.contains(&pinned), "Cargo.toml does not say {pinned}");
    }
}
