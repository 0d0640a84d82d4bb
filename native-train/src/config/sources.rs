//! Where regions come from, and how crops are mixed.

use std::path::PathBuf;

use super::options::{PretrainOptions, RegionKind};
use super::tuning::share;
use super::{at_least_one, exclusive, fh_params, not_negative, required, wrong};
use crate::data::{Crops, RegionSource};
use crate::error::{Result, TrainError};

/// Shares of crops of other kinds than MAE's.
pub(super) fn crops(options: &mut PretrainOptions) -> Result<Crops> {
    let object = share(&mut options.object_crops, "object_crops")?;
    let whole = share(&mut options.whole_crops, "whole_crops")?;
    if object + whole > 1.0 {
        return wrong("object_crops", object, &format!("with whole_crops = {whole} these are more than all"));
    }
    Ok(Crops { object, whole })
}

/// The source, or the sources, of regions.
pub(super) fn resolve(options: &mut PretrainOptions) -> Result<RegionSource> {
    let texts = options.source.clone().unwrap_or_default();
    if texts.is_empty() {
        return one(options);
    }
    exclusive(true, "source", options.labels.is_some(), "labels")?;
    exclusive(true, "source", options.regions.is_some(), "regions")?;
    let parsed = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>>>()?;
    let mut list = vec![];
    for (typed, weight) in parsed {
        let source = match typed {
            Typed::Labels(dir) => RegionSource::LabelMaps { dir, background: options.labels_background },
            Typed::Blobs => RegionSource::Blobs,
            Typed::Segments => segments(options)?,
        };
        list.push((weight, source));
    }
    Ok(RegionSource::Mixed(list))
}

fn one(options: &mut PretrainOptions) -> Result<RegionSource> {
    let default = if options.labels.is_some() { RegionKind::Labels } else { RegionKind::Fh };
    match *options.regions.get_or_insert(default) {
        RegionKind::Labels => {
            let what = "the folder of label maps (regions = labels)";
            let dir = required(options.labels.clone(), "labels", what)?;
            Ok(RegionSource::LabelMaps { dir, background: options.labels_background })
        }
        RegionKind::Blobs => Ok(RegionSource::Blobs),
        RegionKind::Fh => segments(options),
    }
}

fn segments(options: &mut PretrainOptions) -> Result<RegionSource> {
    let scales = options.fh_scales.get_or_insert_with(|| vec![500, 1000, 1500]).clone();
    let sigma = not_negative(&mut options.fh_sigma, 0.8, "fh_sigma")?;
    Ok(RegionSource::Felzenszwalb {
        params: fh_params(&scales, options.fh_min_size, sigma)?,
        max_short_side: at_least_one(&mut options.fh_max_side, 480, "fh_max_side")?,
    })
}

/// What a source is, as it is typed.
#[derive(Debug, PartialEq)]
enum Typed {
    Segments,
    Blobs,
    Labels(PathBuf),
}

/// A source and its weight.
fn parse(text: &str) -> Result<(Typed, f64)> {
    let problem = || {
        let problem = "must be fh, blobs or labels:DIR, each with :WEIGHT after it or not; a weight is above 0 \
            (fh:0.5, labels:DIR:2)";
        TrainError::Config(format!("source = {text}: {problem}"))
    };
    let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
    let (typed, weight) = match kind {
        "fh" | "blobs" => {
            let typed = if kind == "fh" { Typed::Segments } else { Typed::Blobs };
            (typed, rest.map_or(Ok(1.0), str::parse).map_err(|_| problem())?)
        }
        "labels" => {
            let (dir, weight) = folder(rest.unwrap_or_default());
            (Typed::Labels(dir), weight)
        }
        _ => return Err(problem()),
    };
    let named = typed != Typed::Labels(PathBuf::new());
    if named && weight > 0.0 && weight.is_finite() { Ok((typed, weight)) } else { Err(problem()) }
}

/// A folder and its weight. A folder may have colons in its name; a weight is what can be read as one,
/// at the end.
fn folder(text: &str) -> (PathBuf, f64) {
    match text.rsplit_once(':').map(|(dir, weight)| (dir, weight.parse())) {
        Some((dir, Ok(weight))) => (dir.into(), weight),
        _ => (text.into(), 1.0),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_are_typed() {
        let labels = |dir: &str| Typed::Labels(dir.into());
        assert_eq!(parse("fh").unwrap(), (Typed::Segments, 1.0));
        assert_eq!(parse("fh:0.25").unwrap(), (Typed::Segments, 0.25));
        assert_eq!(parse("blobs").unwrap(), (Typed::Blobs, 1.0));
        assert_eq!(parse("blobs:3").unwrap(), (Typed::Blobs, 3.0));
        assert_eq!(parse("labels:a/b").unwrap(), (labels("a/b"), 1.0));
        assert_eq!(parse("labels:C:/b:3").unwrap(), (labels("C:/b"), 3.0));
        let wrong = ["", "x", "labels", "labels:", "labels::2", "fh:", "fh:x", "fh:0", "fh:-1", "fh:inf"];
        for text in wrong.into_iter().chain(["fh:a:2", "blobs:", "blobs:dir", "blobs:dir:1", "blobs:0"]) {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(text) && message.contains("labels:DIR:2"), "{text}: {message}");
        }
    }

    #[test]
    fn one_source_or_several_and_no_more_crops_than_there_are() {
        let mut options = PretrainOptions {
            source: Some(vec!["fh:2".into(), "labels:maps".into()]),
            labels_background: Some(0),
            ..Default::default()
        };
        let RegionSource::Mixed(list) = resolve(&mut options).unwrap() else { panic!("not mixed") };
        assert_eq!((list.len(), list[0].0), (2, 2.0));
        let maps = RegionSource::LabelMaps { dir: "maps".into(), background: Some(0) };
        assert_eq!(list[1], (1.0, maps));
        options.source = Some(vec!["blobs:2".into()]);
        assert_eq!(resolve(&mut options).unwrap(), RegionSource::Mixed(vec![(2.0, RegionSource::Blobs)]));
        options.labels = Some("other".into());
        assert!(resolve(&mut options).unwrap_err().to_string().contains("source and labels"));
        let mut options = PretrainOptions { regions: Some(RegionKind::Blobs), ..Default::default() };
        assert_eq!(resolve(&mut options).unwrap(), RegionSource::Blobs);
        let mut options =
            PretrainOptions { object_crops: Some(0.7), whole_crops: Some(0.7), ..Default::default() };
        assert!(crops(&mut options).unwrap_err().to_string().contains("object_crops"));
    }
}
