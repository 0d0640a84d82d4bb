//! `rmae eval prompts`: the number-of-clicks protocol and its relatives.

use std::fs;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rmae_core::exec::Precision;
use rmae_train::TrainError;
use rmae_train::checkpoint::{load_model, write_atomically};
use rmae_train::device::{DeviceRequest, select_device};
use rmae_train::eval::completion::Completer;
use rmae_train::eval::sets::{self, Set};
use rmae_train::eval::{self, Failures, Method, Progress, Report, Rig, RigOptions, Settings, VERSION, table};
use rmae_train::picture::save_png;

use crate::cli::eval_args::PromptsArgs;

pub(crate) fn prompts(args: &PromptsArgs, device: &DeviceRequest) -> anyhow::Result<()> {
    // Files that are to be merged are read first: a long evaluation should not end at a misspelt name.
    let read = |path: &PathBuf| Ok::<_, TrainError>((Report::read(path)?, path.clone()));
    let mut others = args.merge.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let mut report = match &args.model {
        Some(model) => measured(args, model, device)?,
        None if others.is_empty() => {
            return Err(TrainError::Config("name a --model, or --merge".into()).into());
        }
        None => others.remove(0).0,
    };
    // Numbers that took long are safe before anything else can fail.
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    for (other, path) in others {
        let found = report.merge(other)?;
        complain!("{}: {found} objects in common", path.display());
    }
    write(args, &report)
}

fn write(args: &PromptsArgs, report: &Report) -> anyhow::Result<()> {
    say!("{}", table::text(report).trim_end());
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    if let Some(path) = &args.curves {
        save_png(&eval::curves(report), path)?;
    }
    if let Some(path) = &args.markdown {
        let picture = args.curves.as_ref().map(|picture| seen_from(path, picture));
        let page = table::markdown(report, picture.as_deref());
        write_atomically(path, |temporary| fs::write(temporary, &page))?;
    }
    for path in [&args.json, &args.curves, &args.markdown].into_iter().flatten() {
        complain!("wrote {}", path.display());
    }
    Ok(())
}

/// The picture's address on the page.
fn seen_from(page: &Path, picture: &Path) -> String {
    match picture.file_name() {
        Some(name) if picture.parent() == page.parent() => name.to_string_lossy().into(),
        _ => picture.display().to_string(),
    }
}

fn measured(args: &PromptsArgs, model: &Path, device: &DeviceRequest) -> anyhow::Result<Report> {
    let sets = found(args)?;
    let (config, weights) = load_model(model)?;
    let device = select_device(device, Precision::F32)?;
    let options = RigOptions { side: args.side, crop: args.crop.into() };
    let mut rig = Rig::new(&config, &weights, &device, options)?;
    let mut completer = match args.completion {
        true => Some(Completer::new(&config, &weights, &device)?),
        false => None,
    };
    let settings = Settings { methods: methods(args), max_clicks: args.max_clicks, seeds: args.seed.clone() };
    let mut failures = Failures::new(if args.failures.is_some() { args.failures_most } else { 0 });
    let bar = bar(&sets);
    let (sets, completion) =
        eval::run(sets, &mut rig, completer.as_mut(), &mut failures, &settings, &mut |event| {
            show(&bar, &event);
        })?;
    bar.finish_and_clear();
    if let (Some(path), Some(picture)) = (&args.failures, failures.picture()) {
        save_png(&picture, path)?;
        complain!("wrote {}", path.display());
    }
    let problems: usize = sets.iter().map(|set| set.problems.len()).sum();
    if problems > 0 {
        complain!("{problems} files could not be used");
    }
    let model = model.file_name().unwrap_or_default().to_string_lossy().into();
    let Settings { max_clicks, seeds, .. } = settings;
    Ok(Report { version: VERSION, model, max_clicks, seeds, sets, completion })
}

fn found(args: &PromptsArgs) -> anyhow::Result<Vec<Set>> {
    if args.data.is_empty() {
        return Err(TrainError::Config("data is missing: name sets of photos with --data".into()).into());
    }
    let mut sets = sets::find(&args.data)?;
    let limit = args.limit.unwrap_or(usize::MAX);
    sets.iter_mut().for_each(|set| set.thin(limit));
    Ok(sets)
}

/// The model first, unless it is not asked for; nothing twice.
fn methods(args: &PromptsArgs) -> Vec<Method> {
    let mut methods = if args.baselines_only { vec![] } else { vec![Method::Model] };
    for &method in &args.baselines {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods
}

fn bar(sets: &[Set]) -> ProgressBar {
    let bar = ProgressBar::new(sets.iter().map(|set| set.cases.len() as u64).sum());
    let style = ProgressStyle::with_template("{bar:24} {pos}/{len} objects, {eta} left");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, event: &Progress<'_>) {
    match event {
        Progress::Object => bar.inc(1),
        Progress::Problem(problem) => {
            let line = format!("left out {}: {}", problem.path.display(), problem.reason);
            if bar.is_hidden() { complain!("{line}") } else { bar.println(line) }
        }
        _ => {}
    }
}
