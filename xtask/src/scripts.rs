//! The stages that node runs: unit tests of the page's scripts, their types, and the page in a browser.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::toolbox::Toolbox;
use crate::{needs, node, page};

/// Folders of unit tests of scripts that need no browser.
const UNIT: [&str; 2] = ["web/js/test", "web/page/test"];

/// What the compiler is to check, each with the globals of the place where it runs.
const PROJECTS: [&str; 5] = ["usage", "page", "worker", "package-face", "package-worker"];

/// Runs the scripts' unit tests.
///
/// # Errors
/// When one fails, or there is none.
pub(crate) fn unit_tests(tools: &Toolbox) -> Result<()> {
    let files = UNIT.iter().flat_map(|folder| node::test_files(&tools.root().join(folder))).collect();
    run_tests(tools, files, &[])
}

/// Checks the types of the package, of a program that uses it, and of the page's scripts.
///
/// # Errors
/// When the compiler finds something.
pub(crate) fn check_types(tools: &Toolbox) -> Result<()> {
    PROJECTS.iter().try_for_each(|project| {
        let file = format!("{}/types/{project}.json", node::TESTS);
        tools.run(node::script(tools, "typescript/bin/tsc").args(["--project", &file]))
    })
}

/// Runs the tests of the page in a real browser.
///
/// # Errors
/// When one fails, or what they need is missing.
pub(crate) fn browser_tests(tools: &Toolbox) -> Result<()> {
    let chromium = needs::chromium(tools).context("no Chromium; run `cargo xtask setup`")?;
    let dist = page::built(tools)?;
    let files = node::test_files(&tools.root().join(node::TESTS));
    let variables =
        [("RMAE_CHROMIUM", chromium), ("RMAE_DIST", dist), ("RMAE_COMMAND", command_line(tools)?)];
    run_tests(tools, files, &variables)
}

/// The `rmae` program to compare with.
fn command_line(tools: &Toolbox) -> Result<PathBuf> {
    tools.run(tools.command("cargo").args(["build", "-p", "rmae-train", "--bin", "rmae"]))?;
    let file = format!("rmae{}", std::env::consts::EXE_SUFFIX);
    Ok(target_folder(tools)?.join("debug").join(file))
}

/// Where cargo puts what it builds.
fn target_folder(tools: &Toolbox) -> Result<PathBuf> {
    let mut command = tools.command("cargo");
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let text = tools.capture(&mut command).context("cargo does not say where it builds")?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo's metadata")?;
    let folder = metadata["target_directory"].as_str().context("cargo's metadata name no target folder")?;
    Ok(PathBuf::from(folder))
}

/// Runs test files one after the other: they share two cores, and some measure time.
fn run_tests(tools: &Toolbox, files: Vec<PathBuf>, variables: &[(&str, PathBuf)]) -> Result<()> {
    ensure!(!files.is_empty(), "no test files found");
    let flags = ["--test", "--test-concurrency=1", "--test-reporter=spec"];
    let mut command = node::node(tools, flags);
    command.args(files.iter().map(|file| relative(tools, file)));
    tools.run(command.envs(variables.iter().map(|(name, value)| (name, value))))
}

fn relative(tools: &Toolbox, file: &Path) -> PathBuf {
    file.strip_prefix(tools.root()).map_or_else(|_| file.to_owned(), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tests_are_a_failure() {
        let tools = Toolbox::new(std::env::temp_dir());
        let error = run_tests(&tools, vec![], &[]).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("no test files")));
    }

    #[test]
    fn every_project_of_the_compiler_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(node::TESTS).join("types");
        for project in PROJECTS {
            assert!(root.join(format!("{project}.json")).is_file(), "{project}");
        }
    }
}
