//! Batches, made ahead on threads, in an order that no thread can change.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sample::{Attempt, LoaderConfig, Looked, Sample, Sampler, Scratch, Slot};
use super::sequence::LoaderPosition;
use super::tally::Tally;
use super::{DataError, SkippedImage};

/// The inputs of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[B, 3, S, S]`, normalised by ImageNet's mean and deviation.
    pub images: Vec<f32>,
    /// `[B, k, S, S]` of 0 and 1; empty when `k` is 0.
    pub regions: Vec<f32>,
    /// `[B, L]`: a permutation of the patches an image.
    pub ids_shuffle: Vec<u32>,
    /// The image files, `[B]`.
    pub names: Vec<PathBuf>,
    /// Where a loader must start to give the batch after this one.
    pub position_after: LoaderPosition,
    /// How long [`Loader::next_batch`] waited for this batch.
    pub wait: Duration,
    /// Images found unreadable for the first time in the making of this batch.
    /// Each is named once in the life of a loader.
    pub skipped: Vec<SkippedImage>,
}

/// A multi-threaded, prefetching, deterministic source of [`Batch`]es.
///
/// Epochs follow each other without end, each in its own order, and a batch
/// may span two or more, so no image is dropped. Dropping the loader stops its
/// threads after the images at which they are.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Batches given.
    given: u64,
    tally: Tally,
}

/// What consumer and workers share.
#[derive(Debug)]
struct Shared {
    sampler: Sampler,
    start: LoaderPosition,
    state: Mutex<State>,
    /// There is room for more work.
    room: Condvar,
    /// A batch is ready, or a worker died.
    ready: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The next slot to be worked on, counted from the start.
    next_slot: u64,
    /// Slots from here on must wait for the consumer.
    end_slot: u64,
    /// Batches of which some slots are missing.
    open: HashMap<u64, Vec<Option<Slot>>>,
    /// Batches that are complete.
    done: HashMap<u64, Assembled>,
    stop: bool,
    died: bool,
}

/// A batch before it is given.
#[derive(Debug)]
struct Assembled {
    batch: Batch,
    attempts: Vec<Attempt>,
    /// Slots for which no readable file was found.
    missing: usize,
}

impl Loader {
    /// Starts loading `files` at `start`.
    ///
    /// # Errors
    /// No files; sizes that do not fit ([`DataError::Config`]); a position
    /// outside the data set; label maps or a cache folder that cannot be used.
    pub fn new(files: Vec<PathBuf>, config: LoaderConfig, start: LoaderPosition) -> Result<Self, DataError> {
        let sampler = Sampler::new(files, config)?;
        check_start(start, sampler.files.len())?;
        let threads = sampler.config.threads.max(1);
        let state = State { end_slot: prefetched(&sampler.config), ..State::default() };
        let shared = Arc::new(Shared {
            sampler,
            start,
            state: Mutex::new(state),
            room: Condvar::new(),
            ready: Condvar::new(),
        });
        let mut loader = Self { shared, workers: Vec::new(), given: 0, tally: Tally::default() };
        for number in 0..threads {
            loader.workers.push(spawn(Arc::clone(&loader.shared), number)?);
        }
        Ok(loader)
    }

    /// The next batch, waiting for it if need be.
    ///
    /// # Errors
    /// [`DataError::TooManySkipped`] when more than half of the images looked
    /// at cannot be read; [`DataError::WorkerDied`] on a bug.
    pub fn next_batch(&mut self) -> Result<Batch, DataError> {
        let asked = Instant::now();
        let Assembled { mut batch, attempts, missing } = self.take()?;
        batch.wait = asked.elapsed();
        self.given += 1;
        batch.skipped = self.tally.note(attempts, &self.shared.sampler)?;
        if missing > 0 {
            return Err(self.tally.too_many());
        }
        Ok(batch)
    }

    /// Files of the data set: samples an epoch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.sampler.files.len()
    }

    /// Never: a loader without files cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shared.sampler.files.is_empty()
    }

    /// Waits for the batch whose turn it is, and makes room for one more.
    fn take(&self) -> Result<Assembled, DataError> {
        let config = &self.shared.sampler.config;
        let mut state = self.shared.lock();
        loop {
            if let Some(batch) = state.done.remove(&self.given) {
                state.end_slot = (self.given + 1) * config.batch as u64 + prefetched(config);
                self.shared.room.notify_all();
                return Ok(batch);
            }
            if state.died {
                return Err(DataError::WorkerDied);
            }
            state = wait(&self.shared.ready, state);
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// A poisoned lock is still good: the state is consistent between statements,
    /// and `died` says what happened.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The life of a worker: take the next slot, make it, hand it in.
    fn work(&self) {
        let mut scratch = Scratch::default();
        while let Some(number) = self.next_slot() {
            let at = self.start.advanced(number, self.sampler.files.len());
            let slot = self.sampler.slot(at, &mut scratch);
            if let Some((number, slots)) = self.hand_in(number, slot) {
                // Outside the lock: this copies tens of megabytes.
                let batch = self.assemble(number, slots, &mut scratch);
                self.lock().done.insert(number, batch);
                self.ready.notify_all();
            }
        }
    }

    /// The slot to make next; waits for room, ends with the loader.
    fn next_slot(&self) -> Option<u64> {
        let mut state = self.lock();
        while !state.stop && state.next_slot >= state.end_slot {
            state = wait(&self.room, state);
        }
        state.next_slot += 1;
        (!state.stop).then(|| state.next_slot - 1)
    }

    /// Puts a slot into its batch; the batch's number and slots if it was the last.
    fn hand_in(&self, number: u64, slot: Slot) -> Option<(u64, Vec<Option<Slot>>)> {
        let size = self.sampler.config.batch as u64;
        let batch = number / size;
        let mut state = self.lock();
        let slots = state.open.entry(batch).or_insert_with(|| (0..size).map(|_| None).collect());
        slots[(number % size) as usize] = Some(slot);
        if slots.iter().any(Option::is_none) {
            return None;
        }
        Some((batch, state.open.remove(&batch)?))
    }

    fn assemble(&self, number: u64, slots: Vec<Option<Slot>>, scratch: &mut Scratch) -> Assembled {
        let size = slots.len();
        let mut attempts = Vec::new();
        let mut samples = Vec::with_capacity(size);
        for slot in slots.into_iter().flatten() {
            attempts.extend(slot.attempts);
            samples.extend(slot.sample);
        }
        let missing = size - samples.len();
        let mut batch = collate(samples, &self.sampler, scratch);
        let given = (number + 1) * size as u64;
        batch.position_after = self.start.advanced(given, self.sampler.files.len());
        Assembled { batch, attempts, missing }
    }
}

/// Slots that may be made ahead of the consumer.
fn prefetched(config: &LoaderConfig) -> u64 {
    (config.prefetch_batches.max(1) * config.batch) as u64
}

fn wait<'a>(condition: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condition.wait(state).unwrap_or_else(PoisonError::into_inner)
}

fn check_start(start: LoaderPosition, len: usize) -> Result<(), DataError> {
    if start.index < len as u64 {
        return Ok(());
    }
    Err(DataError::Config(format!(
        "cannot continue at image {} of an epoch: the data set has {len} images; \
         was it another one when the checkpoint was written?",
        start.index
    )))
}

fn spawn(shared: Arc<Shared>, number: usize) -> Result<JoinHandle<()>, DataError> {
    std::thread::Builder::new()
        .name(format!("rmae-data-{number}"))
        .spawn(move || {
            let _alarm = Alarm(&shared);
            shared.work();
        })
        .map_err(|e| DataError::Config(format!("cannot start a data loading thread: {e}")))
}

/// Wakes the consumer if its thread panics, so that it does not wait for ever.
struct Alarm<'a>(&'a Shared);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().died = true;
            self.0.ready.notify_all();
        }
    }
}

/// Puts samples side by side.
fn collate(samples: Vec<Sample>, sampler: &Sampler, scratch: &mut Scratch) -> Batch {
    let mut batch = Batch {
        images: Vec::with_capacity(samples.iter().map(|s| s.image.len()).sum()),
        regions: Vec::with_capacity(samples.iter().map(|s| s.regions.len()).sum()),
        ids_shuffle: Vec::with_capacity(samples.iter().map(|s| s.ids_shuffle.len()).sum()),
        names: Vec::with_capacity(samples.len()),
        position_after: LoaderPosition::default(),
        wait: Duration::ZERO,
        skipped: Vec::new(),
    };
    for sample in samples {
        batch.images.extend_from_slice(&sample.image);
        scratch.buffers.give_back(sample.image);
        batch.regions.extend(sample.regions.iter().map(|&bit| f32::from(bit)));
        batch.ids_shuffle.extend_from_slice(&sample.ids_shuffle);
        batch.names.push(sampler.files[sample.file].clone());
    }
    batch
}

/// All of `files` as one batch for evaluation and panels: the centre square, no
/// flip, permutations and regions fixed by `config.seed`. `config.batch`,
/// `threads` and `prefetch_batches` play no part.
///
/// Unreadable files are left out and named in [`Batch::skipped`].
///
/// # Errors
/// As [`Loader::new`]; [`DataError::TooManySkipped`] when no file can be read.
pub fn load_eval(files: &[PathBuf], config: &LoaderConfig) -> Result<Batch, DataError> {
    let sampler = Sampler::new(files.to_vec(), config.clone())?;
    let mut scratch = Scratch::default();
    let (mut samples, mut skipped) = (Vec::new(), Vec::new());
    for file in 0..files.len() {
        // An epoch that training never reaches.
        let at = LoaderPosition { epoch: u64::MAX, index: file as u64 };
        match sampler.sample(file, at, Looked::AtTheCentre, &mut scratch) {
            Ok(sample) => samples.push(sample),
            Err(reason) => skipped.push(sampler.skipped(file, reason)),
        }
    }
    if samples.is_empty() {
        let looked_at = files.len();
        return Err(DataError::TooManySkipped { looked_at, skipped });
    }
    let mut batch = collate(samples, &sampler, &mut scratch);
    batch.skipped = skipped;
    Ok(batch)
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
