//! The stages of `cargo xtask test`: each one command, all run, none skipped.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::needs::{self, Need};
use crate::page;
use crate::scripts;
use crate::summary::{Outcome, Summary};
use crate::toolbox::Toolbox;

const WASM: &str = "wasm32-unknown-unknown";

/// Seconds after which a test in the browser is given up: SwiftShader compiles
/// and runs GPU kernels on the CPU, on whatever machine this is.
const BROWSER_TIMEOUT: &str = "600";

/// One step of a test run.
#[derive(Clone, Copy)]
pub(crate) struct Stage {
    name: &'static str,
    /// What it cannot do without.
    needs: &'static [Need],
    run: fn(&Toolbox) -> Result<()>,
}

const FORMAT: Stage = Stage {
    name: "format",
    needs: &[],
    run: |tools| tools.run(&mut cargo(tools, &["fmt", "--all", "--check"])),
};
const CLIPPY: Stage = Stage {
    name: "clippy",
    needs: Need::NATIVE,
    run: |tools| {
        tools.run(&mut cargo(tools, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    },
};
const CLIPPY_WASM: Stage = Stage {
    name: "clippy-wasm",
    needs: Need::CHECK,
    run: |tools| {
        let target = ["clippy", "-p", "rmae-web", "--target", WASM, "--tests"];
        tools.run(&mut cargo(tools, &[&target[..], &["--", "-D", "warnings"]].concat()))
    },
};
const TESTS: Stage = Stage {
    name: "tests",
    needs: &[Need::Compiler, Need::Vulkan],
    // A machine without any adapter must fail the GPU tests, not skip them.
    run: |tools| tools.run(cargo(tools, &["test", "--workspace"]).env("RMAE_REQUIRE_GPU", "1")),
};
const DOCS: Stage = Stage {
    name: "documentation",
    needs: Need::NATIVE,
    run: |tools| {
        let mut command = cargo(tools, &["doc", "--workspace", "--no-deps"]);
        tools.run(command.env("RUSTDOCFLAGS", "-D warnings"))
    },
};
const LICENCES: Stage = Stage {
    name: "licences",
    needs: &[Need::Compiler, Need::CargoDeny],
    run: |tools| {
        tools.run(&mut cargo(
            tools,
            &["deny", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"],
        ))
    },
};
const BROWSER: Stage = Stage {
    name: "browser",
    needs: &[Need::Compiler, Need::Browser, Need::WasmTarget, Need::WasmBindgen],
    run: browser_tests,
};
const TYPES: Stage =
    Stage { name: "types", needs: &[Need::Node, Need::NodePackages], run: scripts::check_types };
const SCRIPTS: Stage = Stage { name: "scripts", needs: &[Need::Node], run: scripts::unit_tests };
const PAGE: Stage = Stage { name: "page", needs: Need::PAGE, run: page::check };
const E2E: Stage = Stage { name: "e2e", needs: Need::E2E, run: scripts::browser_tests };

/// Everything.
pub(crate) const ALL: &[Stage] =
    &[FORMAT, CLIPPY, CLIPPY_WASM, TESTS, DOCS, LICENCES, TYPES, SCRIPTS, BROWSER, PAGE, E2E];
/// What a person runs between two edits.
pub(crate) const QUICK: &[Stage] = &[FORMAT, CLIPPY, CLIPPY_WASM, TESTS];
/// Lints alone.
pub(crate) const CHECK: &[Stage] = &[FORMAT, CLIPPY, CLIPPY_WASM];

/// The stages of these names, in the usual order.
///
/// # Errors
/// For a name that no stage has, with those that there are.
pub(crate) fn named(names: &[String]) -> Result<Vec<Stage>> {
    let known: Vec<&str> = ALL.iter().map(|stage| stage.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("no stage is called `{unknown}`; there are: {}", known.join(", "));
    }
    Ok(ALL.iter().copied().filter(|stage| names.iter().any(|name| name == stage.name)).collect())
}

/// What some stages need, each once, in the order of installing.
pub(crate) fn needs(stages: &[Stage]) -> Vec<Need> {
    let wanted = |need: &Need| stages.iter().any(|stage| stage.needs.contains(need));
    Need::ALL.iter().copied().filter(wanted).collect()
}

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
    let result = (stage.run)(tools);
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
fn browser_tests(tools: &Toolbox) -> Result<()> {
    let runner = tools
        .find("wasm-bindgen-test-runner")
        .context("wasm-bindgen-test-runner is not on PATH; run `cargo xtask setup`")?;
    let driver =
        needs::chromedriver(tools).context("chromedriver is not on PATH; run `cargo xtask setup`")?;
    let mut command = cargo(tools, &["test", "-p", "rmae-web", "--target", WASM]);
    command
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner)
        .env("CHROMEDRIVER", driver)
        .env("WASM_BINDGEN_TEST_TIMEOUT", BROWSER_TIMEOUT);
    tools.run(&mut command)
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
    fn a_stage_brings_what_it_needs_and_no_more() {
        assert_eq!(needs(&[FORMAT]), []);
        assert_eq!(needs(&[SCRIPTS, TYPES]), [Need::Node, Need::NodePackages]);
        assert_eq!(needs(ALL), Need::ALL);
    }

    #[test]
    fn stages_are_chosen_by_name() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let chosen = named(&names(&["page", "clippy"])).unwrap_or_default();
        assert_eq!(chosen.iter().map(|stage| stage.name).collect::<Vec<_>>(), ["clippy", "page"]);
        let error = named(&names(&["clipy"])).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("clipy") && error.contains("clippy-wasm")));
    }

    #[test]
    fn a_stage_that_cannot_start_is_a_failure() {
        let tools = Toolbox::new(std::env::temp_dir());
        let absent = Stage {
            name: "absent",
            needs: &[],
            run: |tools| tools.run(&mut tools.command("no-such-program-anywhere")),
        };
        let outcome = run_stage(&tools, &absent);
        assert!(outcome.failure.is_some_and(|why| why.contains("no-such-program-anywhere")));
        assert!(!run(&tools, &[absent]));
    }

    #[test]
    fn later_stages_run_after_a_failure() {
        let tools = Toolbox::new(std::env::temp_dir());
        let broken = || Stage { name: "broken", needs: &[], run: |_| anyhow::bail!("on purpose") };
        let summary = [broken(), broken()].map(|stage| run_stage(&tools, &stage));
        assert_eq!(summary.len(), 2);
        assert!(!run(&tools, &[broken(), broken()]));
    }
}
