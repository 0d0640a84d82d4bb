//! Counting the files that could not be read, and when they are too many.

use std::collections::HashSet;

use super::sample::{Attempt, Sampler};
use super::{DataError, SkippedImage, decode, sequence};

/// Fewer files than this say nothing about a data set (unless it has no more).
const SUSPICION: usize = 4;
/// Files after which more than half skipped is taken for the truth.
const VERDICT: usize = 200;

/// Which files were looked at and which of them were skipped.
#[derive(Debug, Default)]
pub(super) struct Tally {
    looked_at: HashSet<usize>,
    skipped: Vec<SkippedImage>,
}

impl Tally {
    /// Notes the attempts of a batch and judges them: the files skipped for the
    /// first time.
    ///
    /// # Errors
    /// [`DataError::TooManySkipped`].
    pub(super) fn note(
        &mut self, attempts: Vec<Attempt>, sampler: &Sampler,
    ) -> Result<Vec<SkippedImage>, DataError> {
        let before = self.skipped.len();
        for attempt in attempts {
            self.add(attempt, sampler);
        }
        self.judge(sampler)?;
        Ok(self.skipped[before..].to_vec())
    }

    fn add(&mut self, attempt: Attempt, sampler: &Sampler) {
        if self.looked_at.insert(attempt.file)
            && let Some(problem) = attempt.problem
        {
            self.skipped.push(sampler.skipped(attempt.file, problem));
        }
    }

    /// Fails when more than half of the files looked at were skipped.
    ///
    /// A few unreadable files may come first by bad luck, so when they are few,
    /// more of the data set is looked at before the run is stopped: in a small
    /// one all of it.
    fn judge(&mut self, sampler: &Sampler) -> Result<(), DataError> {
        let len = sampler.files.len();
        if self.looked_at.len() < SUSPICION.min(len) || !self.more_than_half() {
            return Ok(());
        }
        self.look_at_more(VERDICT.min(len), sampler);
        if self.more_than_half() { Err(self.too_many()) } else { Ok(()) }
    }

    fn more_than_half(&self) -> bool {
        self.skipped.len() * 2 > self.looked_at.len()
    }

    fn look_at_more(&mut self, goal: usize, sampler: &Sampler) {
        // An order of its own, so that the sample is a fair one.
        for file in sequence::epoch_order(sampler.config.seed, u64::MAX, sampler.files.len()) {
            if self.looked_at.len() >= goal {
                return;
            }
            let file = file as usize;
            if !self.looked_at.contains(&file) {
                let problem = decode(&sampler.files[file]).err().map(|e| e.reason());
                self.add(Attempt { file, problem }, sampler);
            }
        }
    }

    /// The error that names what was skipped.
    pub(super) fn too_many(&self) -> DataError {
        DataError::TooManySkipped { looked_at: self.looked_at.len(), skipped: self.skipped.clone() }
    }
}
