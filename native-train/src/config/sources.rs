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
    for (dir, weight) in parsed {
        let source = match dir {
            Some(dir) => RegionSource::LabelMaps { dir, background: options.labels_background },
            None => segments(options)?,
        };
        list.push((weight, source));
    }
    Ok(RegionSource::Mixed(list))
}

fn one(options: &mut PretrainOptions) -> Result<RegionSource> {
    let default = if options.labels.is_some() { RegionKind::Labels } else { RegionKind::Fh };
    if *options.regions.get_or_insert(default) == RegionKind::Labels {
        let dir = required(options.labels.clone(), "labels", "the folder of label maps (regions = labels)")?;
        return Ok(RegionSource::LabelMaps { dir, background: options.labels_background });
    }
    segments(options)
}

fn segments(options: &mut PretrainOptions) -> Result<RegionSource> {
    let scales = options.fh_scales.get_or_insert_with(|| vec![500, 1000, 1500]).clone();
    let sigma = not_negative(&mut options.fh_sigma, 0.8, "fh_sigma")?;
    Ok(RegionSource::Felzenszwalb {
        params: fh_params(&scales, options.fh_min_size, sigma)?,
        max_short_side: at_least_one(&mut options.fh_max_side, 480, "fh_max_side")?,
    })
}

/// A source as it is typed: the folder of label maps, none for segments, and its weight.
fn parse(text: &str) -> Result<(Option<PathBuf>, f64)> {
    let problem = || {
        let problem = "must be fh, fh:WEIGHT, labels:DIR or labels:DIR:WEIGHT, with a weight above 0";
        TrainError::Config(format!("source = {text}: {problem}"))
    };
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    // A folder may have colons in its name; a weight is what can be read as one, at the end.
    let (dir, weight) = match rest.rsplit_once(':').map(|(dir, weight)| (dir, weight.parse::<f64>())) {
        Some((dir, Ok(weight))) => (dir, weight),
        _ if kind == "fh" && !rest.is_empty() => ("", rest.parse().map_err(|_| problem())?),
        _ => (rest, 1.0),
    };
    let named = (!dir.is_empty()).then(|| PathBuf::from(dir));
    let fits = weight > 0.0 && weight.is_finite() && (kind == "labels") == named.is_some();
    if fits && ["fh", "labels"].contains(&kind) { Ok((named, weight)) } else { Err(problem()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_as_they_are_typed() {
        assert_eq!(parse("fh").unwrap(), (None, 1.0));
        assert_eq!(parse("fh:0.25").unwrap(), (None, 0.25));
        assert_eq!(parse("labels:a/b").unwrap(), (Some("a/b".into()), 1.0));
        assert_eq!(parse("labels:C:/b:3").unwrap(), (Some("C:/b".into()), 3.0));
        for text in ["", "x", "labels", "labels:", "labels::2", "fh:x", "fh:0", "fh:-1", "fh:inf", "fh:a:2"] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains("labels:DIR:WEIGHT"), "{text}: {message}");
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
        options.labels = Some("other".into());
        assert!(resolve(&mut options).unwrap_err().to_string().contains("source and labels"));
        let mut options =
            PretrainOptions { object_crops: Some(0.7), whole_crops: Some(0.7), ..Default::default() };
        assert!(crops(&mut options).unwrap_err().to_string().contains("object_crops"));
    }
}
