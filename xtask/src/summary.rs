//! The table at the end of a test run.

use std::fmt;
use std::time::Duration;

/// How one stage went.
pub(crate) struct Outcome {
    /// The stage's name.
    pub(crate) stage: &'static str,
    /// The reason of a failure.
    pub(crate) failure: Option<String>,
    /// How long it took.
    pub(crate) time: Duration,
}

/// How all stages went.
#[derive(Default)]
pub(crate) struct Summary(pub(crate) Vec<Outcome>);

impl Summary {
    /// The number of stages that failed.
    pub(crate) fn failed(&self) -> usize {
        self.0.iter().filter(|outcome| outcome.failure.is_some()).count()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<24} {:<7} {:>8}", "stage", "result", "seconds")?;
        for outcome in &self.0 {
            let result = if outcome.failure.is_some() { "FAILED" } else { "passed" };
            let seconds = outcome.time.as_secs_f64();
            writeln!(out, "{:<24} {result:<7} {seconds:>8.1}", outcome.stage)?;
        }
        for outcome in &self.0 {
            if let Some(reason) = &outcome.failure {
                writeln!(out, "\n{} failed: {reason}", outcome.stage)?;
            }
        }
        let failed = self.failed();
        write!(out, "\n{} passed, {failed} failed", self.0.len() - failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stage: &'static str, failure: Option<&str>) -> Outcome {
        Outcome { stage, failure: failure.map(str::to_owned), time: Duration::from_millis(1250) }
    }

    #[test]
    fn the_last_line_counts_stages() {
        let summary = Summary(vec![outcome("a", None), outcome("b", Some("broke"))]);
        let text = summary.to_string();
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed"));
        assert!(text.contains("b failed: broke"), "{text}");
        assert_eq!(summary.failed(), 1);
    }

    #[test]
    fn a_clean_run_names_no_reason() {
        let summary = Summary(vec![outcome("a", None)]);
        assert!(!summary.to_string().contains("FAILED"));
        assert_eq!(summary.failed(), 0);
    }
}
