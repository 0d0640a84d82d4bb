//! What the worker asks for, as it comes: JSON, and masks beside it, which are too large for text.

use rmae_core::prompt::refine::{Edges, RefineOptions};
use rmae_core::prompt::{CropMode, Mask, ObjectPrompts, PredictOptions};
use rmae_core::{Error, Result};
use serde::Deserialize;

/// The prompts of every object.
///
/// # Errors
/// [`Error::Prompt`] for what is no such JSON, or another number of masks.
pub fn objects(json: &str, masks: Vec<Option<Mask>>) -> Result<Vec<ObjectPrompts>> {
    let mut objects: Vec<ObjectPrompts> = parse("prompts", json)?;
    if objects.len() != masks.len() {
        return Err(wrong("prompts", &format!("{} objects, {} masks", objects.len(), masks.len())));
    }
    objects.iter_mut().zip(masks).for_each(|(object, mask)| object.mask = mask);
    Ok(objects)
}

/// The options of a prediction.
///
/// # Errors
/// [`Error::Prompt`] for what is no such JSON.
pub fn options(json: &str) -> Result<PredictOptions> {
    let wanted: Wanted = parse("options", json)?;
    let Refinement { edges, connected, holes } = wanted.refine;
    let edges = match edges {
        EdgesName::Off => Edges::Off,
        EdgesName::Guided => Edges::Guided,
        EdgesName::Graphcut => Edges::GraphCut,
    };
    let crop = match wanted.crop {
        None => CropMode::default(),
        Some(true) => CropMode::On,
        Some(false) => CropMode::Off,
    };
    Ok(PredictOptions {
        granularity: wanted.granularity,
        refine: RefineOptions { edges, connected, holes },
        max_side: wanted.max_side,
        crop,
    })
}

/// The objects of an export, in the order of their masks.
///
/// # Errors
/// [`Error::Prompt`] for what is no such JSON.
pub fn exported(json: &str) -> Result<Vec<Exported>> {
    parse("objects", json)
}

/// One object of an export.
#[derive(Debug, Deserialize)]
pub struct Exported {
    /// What it is called.
    pub name: String,
    /// A CSS colour.
    #[serde(default = "orange")]
    pub colour: String,
    /// Confidence, 0 to 1.
    pub score: Option<f32>,
    /// What kind of thing it is.
    #[serde(default = "object")]
    pub category: String,
}

fn orange() -> String {
    "#ff6000".into()
}

fn object() -> String {
    "object".into()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    granularity: f32,
    refine: Refinement,
    max_side: Option<usize>,
    crop: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refinement {
    edges: EdgesName,
    connected: bool,
    holes: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EdgesName {
    Off,
    Guided,
    Graphcut,
}

fn parse<'a, T: Deserialize<'a>>(what: &str, json: &'a str) -> Result<T> {
    serde_json::from_str(json).map_err(|e| wrong(what, &e.to_string()))
}

fn wrong(what: &str, problem: &str) -> Error {
    Error::Prompt { prompt: what.into(), problem: problem.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn masks_find_their_objects() {
        let json = r#"[{"clicks":[{"x":1,"y":2,"positive":false}],"boxes":[],"scribbles":[]},{}]"#;
        let made = objects(json, vec![None, Some(Mask::empty(2, 3))]).unwrap();
        assert!(!made[0].clicks[0].positive);
        assert_eq!((made[0].mask.is_none(), made[1].mask.as_ref().map(Mask::height)), (true, Some(3)));
        assert!(objects(json, vec![None]).is_err());
        assert!(objects(r#"[{"points":[]}]"#, vec![None]).unwrap_err().to_string().contains("points"));
    }

    #[test]
    fn options_are_read_whole() {
        let json =
            r#"{"granularity":0.5,"refine":{"edges":"guided","connected":false,"holes":true},"maxSide":900}"#;
        let made = options(json).unwrap();
        assert_eq!((made.granularity, made.max_side, made.refine.edges), (0.5, Some(900), Edges::Guided));
        assert!(!made.refine.connected && made.refine.holes);
        assert!(options(&json.replace("guided", "blunt")).is_err());
    }

    #[test]
    fn exported_objects_have_defaults() {
        let made = exported(r#"[{"name":"cat"}]"#).unwrap();
        assert_eq!((made[0].category.as_str(), made[0].score), ("object", None));
    }
}
