//! Checkpoints written beside the training: it waits for a copy of its numbers, not for the disk.

use std::path::PathBuf;
use std::thread::JoinHandle;

use super::{Checkpoint, prune, save};
use crate::error::{Result, TrainError};

/// Writes one checkpoint at a time on a thread of its own.
#[derive(Debug, Default)]
pub(crate) struct Saver {
    writing: Option<JoinHandle<Result<PathBuf>>>,
}

impl Saver {
    /// Begins to write a checkpoint of a run that keeps the newest `keep`; the one before must be done.
    ///
    /// # Errors
    /// [`TrainError::Io`] where no thread can be started.
    pub(crate) fn begin(&mut self, run: PathBuf, checkpoint: Checkpoint, keep: usize) -> Result<()> {
        let run_name = run.clone();
        let write = move || {
            let path = save(&run, &checkpoint)?;
            prune(&run, keep)?;
            Ok(path)
        };
        let thread = std::thread::Builder::new().name("rmae-checkpoint".into());
        let failed = |source| TrainError::io("start a thread to write", &run_name, source);
        self.writing = Some(thread.spawn(write).map_err(failed)?);
        Ok(())
    }

    /// The checkpoint that has been written, if one has since the last call.
    ///
    /// # Errors
    /// Why it could not be written.
    pub(crate) fn done(&mut self) -> Result<Option<PathBuf>> {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) { self.wait() } else { Ok(None) }
    }

    /// Waits for the checkpoint that is being written, if one is.
    ///
    /// # Errors
    /// Why it could not be written.
    pub(crate) fn wait(&mut self) -> Result<Option<PathBuf>> {
        let Some(writing) = self.writing.take() else { return Ok(None) };
        // A panic there is one here.
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(Some)
    }
}

impl Drop for Saver {
    /// A run that ends by an error still has the checkpoint that it had begun.
    fn drop(&mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.join();
        }
    }
}
