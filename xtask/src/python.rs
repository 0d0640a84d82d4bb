//! A Python with the implementations to compare with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::toolbox::Toolbox;

/// A Python that can import `module`: `chosen`, or the project's own environment under `target/`,
/// which is made and filled (with `package`, as pip names it) when first needed.
///
/// # Errors
/// When there is no Python, or the package cannot be installed: with what to do.
pub(crate) fn with(tools: &Toolbox, chosen: Option<&Path>, module: &str, package: &str) -> Result<PathBuf> {
    match chosen {
        Some(python) if imports(tools, python, module) => Ok(python.to_path_buf()),
        Some(python) => {
            let python = python.display();
            bail!("{python} cannot import {module}; run `{python} -m pip install {package}`")
        }
        None => own(tools, module, package),
    }
}

fn own(tools: &Toolbox, module: &str, package: &str) -> Result<PathBuf> {
    let folder = tools.root().join("target").join("peers-venv");
    let python = folder.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    if !python.is_file() {
        println!("Making a Python environment in {}", folder.display());
        let made = tools.run(tools.command("python3").args(["-m", "venv"]).arg(&folder));
        made.context("there is no usable python3: install Python 3.10 or newer, or name one by --python")?;
    }
    if !imports(tools, &python, module) {
        println!("Installing {package}: the implementation to compare with");
        tools.run(tools.command(&python).args(["-m", "pip", "install", "--quiet", package]))?;
    }
    Ok(python)
}

fn imports(tools: &Toolbox, python: &Path, module: &str) -> bool {
    let mut command = tools.command(python);
    tools.capture(command.args(["-c", &format!("import {module}")])).is_some()
}
