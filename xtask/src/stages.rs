//! The stages of `cargo xtask test`: each one command, all run, none skipped.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::needs;
use crate::summary::{Outcome, Summary};
use crate::toolbox::Toolbox;

const WASM: &str = "wasm32-unknown-unknown";

/// Seconds after which a test in the browser is given up: SwiftShader compiles
/// and runs GPU kernels on the CPU, on whatever machine this is.
const BROWSER_TIMEOUT: &str = "600";

/// One step of a test run.
pub(crate) struct Stage {
    name: &'static str,
    command: fn(&Toolbox) -> Result<Command>,
}

const FORMAT: Stage =
    Stage { name: "format", command: |tools| Ok(cargo(tools, &["fmt", "--all", "--check"])) };
const CLIPPY: Stage = Stage {
    name: "clippy",
    command: |tools| {
        let words = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
        Ok(cargo(tools, &words))
    },
};
const CLIPPY_WASM: Stage = Stage {
    name: "clippy, wasm32",
    command: |tools| {
        let target = ["clippy", "-p", "rmae-web", "--target", WASM, "--tests"];
        Ok(cargo(tools, &[&target[..], &["--", "-D", "warnings"]].concat()))
    },
};
const TESTS: Stage = Stage {
    name: "tests",
    command: |tools| {
        let mut command = cargo(tools, &["test", "--workspace"]);
        // A machine without any adapter must fail the GPU tests, not skip them.
        command.env("RMAE_REQUIRE_GPU", "1");
        Ok(command)
    },
};
const DOCS: Stage = Stage {
    name: "documentation",
    command: |tools| {
        let mut command = cargo(tools, &["doc", "--workspace", "--no-deps"]);
        command.env("RUSTDOCFLAGS", "-D warnings");
        Ok(command)
    },
};
const LICENCES: Stage = Stage {
    name: "licences and sources",
    command: |tools| Ok(cargo(tools, &["deny", "check", "bans", "licenses", "sources"])),
};
const BROWSER: Stage = Stage { name: "browser", command: browser_tests };
const PAGE: Stage = Stage {
    name: "page",
    command: |tools| {
        let mut command = tools.command("trunk");
        command.args(["build", "--cargo-profile", "dev"]);
        Ok(command)
    },
};

/// Everything.
pub(crate) const ALL: &[Stage] =
    &[FORMAT, CLIPPY, CLIPPY_WASM, TESTS, DOCS, LICENCES, BROWSER, PAGE];
/// What a person runs between two edits.
pub(crate) const QUICK: &[Stage] = &[FORMAT, CLIPPY, CLIPPY_WASM, TESTS];
/// Lints alone.
pub(crate) const CHECK: &[Stage] = &[FORMAT, CLIPPY, CLIPPY_WASM];

/// Runs every stage, whatever happens to the others, and prints the summary.
/// True when all of them passed.
pub(crate) fn run(tools: &Toolbox, stages: &[Stage]) -> bool {
    let mut summary = Summary::default();
    for (index, stage) in stages.iter().enumerate() {
        println!("\n=== {}/{} {} ===", index + 1, stages.len(), stage.name);
        summary.0.push(run_stage(tools, stage));
    }
    println!("\n=== summary ===\n{summary}");
    summary.failed() == 0
}

fn run_stage(tools: &Toolbox, stage: &Stage) -> Outcome {
    let start = Instant::now();
    let result = (stage.command)(tools).and_then(|mut command| tools.run(&mut command));
    let failure = result.err().map(|error| format!("{error:#}"));
    if let Some(reason) = &failure {
        println!("FAILED: {reason}");
    }
    Outcome { stage: stage.name, failure, time: start.elapsed() }
}

fn cargo(tools: &Toolbox, words: &[&str]) -> Command {
    let mut command = tools.command("cargo");
    command.args(words);
    command
}

/// The core's tests in a real browser; `web/webdriver.json` holds its flags.
fn browser_tests(tools: &Toolbox) -> Result<Command> {
    let runner = tools
        .find("wasm-bindgen-test-runner")
        .context("wasm-bindgen-test-runner is not on PATH; run `cargo xtask setup`")?;
    let driver = needs::chromedriver(tools)
        .context("chromedriver is not on PATH; run `cargo xtask setup`")?;
    let mut command = cargo(tools, &["test", "-p", "rmae-web", "--target", WASM]);
    command
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner)
        .env("CHROMEDRIVER", driver)
        .env("WASM_BINDGEN_TEST_TIMEOUT", BROWSER_TIMEOUT);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaller_runs_are_parts_of_the_whole() {
        let names: Vec<_> = ALL.iter().map(|stage| stage.name).collect();
        for stage in QUICK.iter().chain(CHECK) {
            assert!(names.contains(&stage.name), "{}", stage.name);
        }
    }

    #[test]
    fn a_stage_that_cannot_start_is_a_failure() {
        let tools = Toolbox::new(std::env::temp_dir());
        let absent = Stage {
            name: "absent",
            command: |tools| Ok(tools.command("no-such-program-anywhere")),
        };
        let outcome = run_stage(&tools, &absent);
        assert!(outcome.failure.is_some_and(|why| why.contains("no-such-program-anywhere")));
        assert!(!run(&tools, &[absent]));
    }

    #[test]
    fn later_stages_run_after_a_failure() {
        let tools = Toolbox::new(std::env::temp_dir());
        let broken = || Stage { name: "broken", command: |_| anyhow::bail!("on purpose") };
        let summary = [broken(), broken()].map(|stage| run_stage(&tools, &stage));
        assert_eq!(summary.len(), 2);
        assert!(!run(&tools, &[broken(), broken()]));
    }
}
