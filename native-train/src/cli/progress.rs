//! What a person sees of a run: a bar on a terminal, plain lines elsewhere.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use rmae_train::train::{Event, Start, StepRecord};

/// Time between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Weight of the newest step in the shown means.
const FRESHNESS: f64 = 0.05;

/// Shows the events of a run.
pub(crate) struct Progress {
    bar: ProgressBar,
    start: Option<Start>,
    /// Smoothed numbers of the last steps.
    recent: Option<StepRecord>,
    last_line: Option<Instant>,
    begun: Instant,
    waited_s: f64,
    skipped: usize,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            bar: ProgressBar::no_length(),
            start: None,
            recent: None,
            last_line: None,
            begun: Instant::now(),
            waited_s: 0.0,
            skipped: 0,
        }
    }

    pub(crate) fn show(&mut self, event: Event) {
        match event {
            Event::Started(start) => self.started(start),
            Event::Step(record) => self.step(&record),
            Event::Skipped(image) => {
                self.skipped += 1;
                self.line(&format!("skipped {}: {}", image.path.display(), image.reason));
            }
            Event::Saved(path) => self.line(&format!("saved {}", path.display())),
            Event::Picture(path) => self.line(&format!("drew {}", path.display())),
            Event::Note(text) => self.line(&text),
            Event::Warning(text) => self.line(&format!("warning: {text}")),
            _ => {}
        }
    }

    pub(crate) fn finish(&mut self) {
        self.bar.finish_and_clear();
        if self.skipped > 0 {
            complain!("{} images were skipped; skipped.jsonl lists them", self.skipped);
        }
    }

    /// A line above the bar, or on its own.
    fn line(&self, text: &str) {
        if self.bar.is_hidden() { complain!("{text}") } else { self.bar.println(text) }
    }

    fn started(&mut self, start: Start) {
        self.line(&format!(
            "{} images, {:.1} M parameters, {} updates of {} images on {}",
            start.images,
            start.parameters as f64 / 1e6,
            start.total_steps,
            start.images_per_step,
            start.device
        ));
        if start.first_step > 0 {
            self.line(&format!("going on after update {}", start.first_step));
        }
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}");
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_length(start.total_steps);
        self.bar.set_position(start.first_step);
        self.begun = Instant::now();
        self.start = Some(start);
    }

    fn step(&mut self, record: &StepRecord) {
        self.waited_s += record.data_wait_s;
        let recent = smoothed(self.recent.as_ref(), record);
        let message = self.message(&recent);
        self.recent = Some(recent);
        self.bar.set_position(record.step);
        self.bar.set_message(message.clone());
        let due = self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        let last = self.start.as_ref().is_some_and(|s| s.total_steps == record.step);
        if self.bar.is_hidden() && (due || last) {
            self.last_line = Some(Instant::now());
            let total = self.start.as_ref().map_or(0, |s| s.total_steps);
            complain!("step {}/{total} {message}", record.step);
        }
    }

    fn message(&self, r: &StepRecord) -> String {
        let mut text = format!("epoch {:.2} loss {:.4}", r.epoch, r.loss);
        if let (Some(mae), Some(region)) = (r.mae_loss, r.region_loss) {
            // Writing to a string cannot fail.
            let _ = write!(text, " (mae {mae:.4}, region {region:.4})");
        }
        let wait = 100.0 * self.waited_s / self.begun.elapsed().as_secs_f64().max(1e-9);
        let _ = write!(text, " {:.1} img/s wait {wait:.1}%", r.images_per_s);
        if let Some(start) = &self.start {
            let left = start.total_steps.saturating_sub(r.step) as f64 * start.images_per_step as f64;
            let eta = Duration::from_secs_f64((left / r.images_per_s).clamp(0.0, 1e9));
            let device: String = start.device.chars().take(24).collect();
            let _ = write!(text, " ETA {} {device}", HumanDuration(eta));
        }
        text
    }
}

fn smoothed(old: Option<&StepRecord>, new: &StepRecord) -> StepRecord {
    let Some(old) = old else { return new.clone() };
    let mix = |a: f64, b: f64| a + FRESHNESS * (b - a);
    let mix_some = |a: Option<f64>, b: Option<f64>| Some(mix(a?, b?));
    StepRecord {
        loss: mix(old.loss, new.loss),
        mae_loss: mix_some(old.mae_loss, new.mae_loss),
        region_loss: mix_some(old.region_loss, new.region_loss),
        images_per_s: mix(old.images_per_s, new.images_per_s),
        ..new.clone()
    }
}
