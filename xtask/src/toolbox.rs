//! Child processes: where programs are looked for, and how they are run.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Environment variables that cargo sets for this program and that would make
/// a cargo started by it believe that it builds this package.
const CARGO_PRIVATE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];

/// Starts programs in the workspace, with the project's own tools first on the
/// search path.
pub(crate) struct Toolbox {
    root: PathBuf,
    path: Vec<PathBuf>,
}

impl Toolbox {
    /// A toolbox for the workspace in `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        let mut path = vec![root.join(".tools").join("bin")];
        path.extend(cargo_bin());
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        Self { root, path }
    }

    /// The workspace's folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the project keeps its own copies of tools, away from the user's.
    pub(crate) fn private_tools(&self) -> PathBuf {
        self.root.join(".tools")
    }

    /// The full path of `program`, if it is on the search path.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
        self.path.iter().map(|folder| folder.join(&file)).find(|file| file.is_file())
    }

    /// A command that runs `program` in the workspace.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let program = program.as_ref();
        let found = program.to_str().and_then(|name| self.find(name));
        let mut command = Command::new(found.as_deref().map_or(program, Path::as_os_str));
        command.current_dir(&self.root).env("PATH", self.joined_path());
        for (name, _) in std::env::vars_os() {
            if is_private_to_cargo(&name) {
                command.env_remove(name);
            }
        }
        command
    }

    /// Shows and runs a command; its output goes to the terminal.
    ///
    /// # Errors
    /// When the program cannot be started or does not exit with 0.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        println!("$ {}", shown(command));
        let status = command.status().with_context(|| format!("could not start `{}`", shown(command)))?;
        if !status.success() {
            bail!("`{}` failed: {status}", shown(command));
        }
        Ok(())
    }

    /// What a command prints on its standard output, if it exits with 0.
    pub(crate) fn capture(&self, command: &mut Command) -> Option<String> {
        let output = command.output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then_some(text)
    }

    fn joined_path(&self) -> OsString {
        std::env::join_paths(&self.path).unwrap_or_default()
    }
}

/// Where `cargo install` puts programs: not always on the search path.
fn cargo_bin() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let default = || std::env::home_dir().map(|home| home.join(".cargo"));
    home.or_else(default).map(|home| home.join("bin"))
}

fn is_private_to_cargo(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    CARGO_PRIVATE.iter().any(|prefix| name.starts_with(prefix))
}

/// A command as one would type it: environment, program name, arguments.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let set = command.get_envs().filter(|(name, _)| *name != "PATH");
    let set = set.filter_map(|(name, value)| Some((name.to_string_lossy(), value?)));
    set.map(|(name, value)| format!("{name}={}", quoted(value)))
        .chain([quoted(name)])
        .chain(command.get_args().map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if word.is_empty() || word.contains(char::is_whitespace) {
        format!("'{word}'")
    } else {
        word.into_owned()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_tools_win() {
        let root = std::env::temp_dir().join(format!("xtask-{}", std::process::id()));
        let program = root.join(".tools/bin").join(format!("cargo{}", std::env::consts::EXE_SUFFIX));
        let tools = Toolbox::new(root.clone());
        assert_ne!(tools.find("cargo"), Some(program.clone()));
        std::fs::create_dir_all(tools.private_tools().join("bin")).unwrap();
        std::fs::write(&program, "").unwrap();
        assert_eq!(tools.find("cargo"), Some(program));
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn cargos_own_variables_are_recognised() {
        assert!(is_private_to_cargo(OsStr::new("CARGO_PKG_NAME")));
        assert!(is_private_to_cargo(OsStr::new("CARGO_MANIFEST_DIR")));
        for kept in ["CARGO_HOME", "CARGO_TARGET_DIR", "PATH", "RUSTFLAGS"] {
            assert!(!is_private_to_cargo(OsStr::new(kept)), "{kept}");
        }
    }

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["doc", "two words"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc 'two words'");
    }
}
