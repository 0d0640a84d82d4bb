//! `cargo xtask bench hardware`: what only a hardware GPU can show. The work is in `benches/hardware.py`,
//! which needs no compiler, so that it runs where there is a GPU and little else; here its programs are
//! built and put together.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::rmae::Rmae;
use crate::toolbox::Toolbox;

/// Tests that show whether an adapter computes what the CPU does.
const TESTS: [&str; 3] = ["gpu_kernels", "gpu_golden", "gpu_mixed"];

/// What `cargo` takes to build tests.
const BUILD: [&str; 4] = ["test", "-p", "rmae-core", "--no-run"];

/// Builds the command line and the tests into a folder; without debug information where there is `strip`.
///
/// # Errors
/// When something does not build.
pub(crate) fn pack(tools: &Toolbox) -> Result<PathBuf> {
    let folder = crate::rmae::made(&tools.root().join("target/hardware"))?;
    let rmae = Rmae::build(tools, "gpu")?.command(&[""; 0]);
    put(tools, Path::new(rmae.get_program()), &folder, "rmae")?;
    // Once for people to see, then for where the programs are.
    tools.run(tools.command("cargo").args(BUILD).args(TESTS.iter().flat_map(|test| ["--test", test])))?;
    for test in TESTS {
        put(tools, &built(tools, test)?, &folder, test)?;
    }
    Ok(folder)
}

/// Runs everything; what came of it is under the folder of the programs.
///
/// # Errors
/// When there is no Python, or it fails.
pub(crate) fn run(
    tools: &Toolbox, programs: &Path, device: Option<&str>, python: Option<&Path>, passed_on: &[String],
) -> Result<()> {
    let mut command = tools.command(python.unwrap_or(Path::new("python3")));
    command.arg("benches/hardware.py").arg("--programs").arg(programs);
    command.args(device.iter().flat_map(|name| ["--device", name])).args(passed_on);
    tools.run(&mut command)
}

fn put(tools: &Toolbox, program: &Path, folder: &Path, name: &str) -> Result<()> {
    let to = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    fs::copy(program, &to).with_context(|| format!("copying {}", program.display()))?;
    if let Some(strip) = tools.find("strip") {
        tools.run(tools.command(strip).arg(&to))?;
    }
    Ok(())
}

/// Where a test's program is, once it is built.
fn built(tools: &Toolbox, test: &str) -> Result<PathBuf> {
    let mut command = tools.command("cargo");
    command.args(BUILD).args(["--message-format", "json", "--test", test]);
    let said = tools.capture(&mut command).with_context(|| format!("the test {test} does not build"))?;
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message["target"]["name"] == test;
        message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
    };
    said.lines().find_map(program).with_context(|| format!("cargo names no program of the test {test}"))
}
