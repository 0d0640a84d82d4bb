//! Every object of every set, photo by photo.

use std::path::Path;

use super::completion::{Completed, Completer};
use super::failures::Failures;
use super::methods::{Method, Rig};
use super::play::{Asked, play};
use super::report::{ObjectReport, Problem, SetReport};
use super::sets::{Case, Set};
use crate::data::{DataError, decode};
use crate::error::{Result, TrainError};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The methods, in any order.
    pub methods: Vec<Method>,
    /// Clicks at most.
    pub max_clicks: usize,
    /// Seeds of scribbles, degraded masks and completions.
    pub seeds: Vec<u64>,
}

/// How far an evaluation is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// An object was played, or left out.
    Object,
    /// Something could not be used; the rest goes on.
    Problem(&'a Problem),
}

/// Plays the sets, and keeps those of the model's `failures` that are to be looked at. Photos and masks
/// that cannot be used are named in the report and left out.
///
/// # Errors
/// Those of the device.
pub fn run(
    sets: Vec<Set>, rig: &mut Rig, mut completer: Option<&mut Completer>, failures: &mut Failures,
    settings: &Settings, observe: &mut dyn FnMut(Progress<'_>),
) -> Result<(Vec<SetReport>, Vec<Completed>)> {
    let (mut reports, mut completed) = (vec![], vec![]);
    for set in sets {
        let mut report = SetReport { name: set.name, group: set.group, objects: vec![], problems: vec![] };
        for skipped in set.problems {
            note(&mut report, &skipped.path, skipped.reason, observe);
        }
        for cases in set.cases.chunk_by(|a, b| a.image == b.image) {
            photo(cases, rig, failures, settings, &mut report, observe)?;
            if let Some(completer) = &mut completer {
                completed.extend(completer.photo(&report.name, cases, &settings.seeds)?);
            }
        }
        reports.push(report);
    }
    Ok((reports, completed))
}

fn note(report: &mut SetReport, path: &Path, reason: String, observe: &mut dyn FnMut(Progress<'_>)) {
    let problem = Problem { path: path.into(), reason };
    observe(Progress::Problem(&problem));
    report.problems.push(problem);
}

/// All objects of one photo, so that it is encoded once.
fn photo(
    cases: &[Case], rig: &mut Rig, failures: &mut Failures, settings: &Settings, report: &mut SetReport,
    observe: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let Some(first) = cases.first() else { return Ok(()) };
    let encode_ms = match decode(&first.image) {
        Ok(image) => rig.set_image(image)?,
        Err(error) => {
            note(report, &first.image, error.reason(), observe);
            cases.iter().for_each(|_| observe(Progress::Object));
            return Ok(());
        }
    };
    let mut prepared = vec![];
    for &method in &settings.methods {
        prepared.push((method, rig.prepare(method)?.unwrap_or(encode_ms)));
    }
    for case in cases {
        match object(case, rig, failures, &prepared, settings) {
            Ok(object) => report.objects.push(object),
            Err(TrainError::Data(error)) => note(report, &case.image, error.reason(), observe),
            Err(other) => return Err(other),
        }
        observe(Progress::Object);
    }
    Ok(())
}

fn object(
    case: &Case, rig: &mut Rig, failures: &mut Failures, prepared: &[(Method, f64)], settings: &Settings,
) -> Result<ObjectReport> {
    let (width, height) = rig.size()?;
    let truth = case.truth(width, height)?;
    let empty = || DataError::Decode { path: case.image.clone(), reason: "its object has no pixel".into() };
    let asked = Asked::new(case, &truth, &settings.seeds).ok_or_else(empty)?;
    let mut methods = std::collections::BTreeMap::new();
    for &(method, encode_ms) in prepared {
        let mut played = play(rig, method, &truth, &asked, settings.max_clicks)?;
        played.encode_ms = Some(encode_ms);
        if method == Method::Model {
            failures.consider(rig, &truth, &asked, &played)?;
        }
        methods.insert(method.name().to_string(), played);
    }
    let b = &asked.boxed;
    Ok(ObjectReport {
        image: case.image.clone(),
        mask: case.mask().map(Path::to_path_buf),
        object: case.object,
        area: truth.area(),
        boxed: [b.x0, b.y0, b.x1, b.y1],
        degraded_input: asked.degraded_iou(&truth),
        methods,
    })
}
