//! What an evaluation found, with every single number, as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::completion::Completed;
use crate::checkpoint::write_atomically;
use crate::error::{Result, TrainError};

/// Changes when an older reader would misread the file.
pub const VERSION: u32 = 1;

/// An evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// The model's file name.
    pub model: String,
    /// Clicks at most.
    pub max_clicks: usize,
    /// Seeds of scribbles, degraded masks and completions.
    pub seeds: Vec<u64>,
    /// Sets, as they were given.
    pub sets: Vec<SetReport>,
    /// Completed regions; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub completion: Vec<Completed>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetReport {
    /// Its name.
    pub name: String,
    /// The folder that it was found in.
    pub group: String,
    /// Its objects.
    pub objects: Vec<ObjectReport>,
    /// Photos and masks that could not be used, and why.
    pub problems: Vec<Problem>,
}

/// Something that was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectReport {
    /// Its photo.
    pub image: PathBuf,
    /// Its label map, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<PathBuf>,
    /// Its value in the label map, or its annotation's id.
    pub object: u64,
    /// Its pixels.
    pub area: usize,
    /// Its box, `[x0, y0, x1, y1]`.
    pub boxed: [f32; 4],
    /// Mean IoU of the degraded masks that were given as prompts.
    pub degraded_input: f64,
    /// What each method made of it.
    pub methods: BTreeMap<String, Played>,
}

/// One method on one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// IoU after each click; shorter than the most clicks when nothing was wrong any more.
    #[serde(default)]
    pub clicks: Vec<f64>,
    /// IoU from the box alone.
    #[serde(default)]
    pub boxed: Option<f64>,
    /// IoU from a scribble, mean over the seeds.
    #[serde(default)]
    pub scribble: Option<f64>,
    /// IoU from a degraded mask, mean over the seeds.
    #[serde(default)]
    pub degraded: Option<f64>,
    /// Boundary F-measure from the box.
    #[serde(default)]
    pub boundary_boxed: Option<f64>,
    /// Boundary F-measure after five clicks (or the last one).
    #[serde(default)]
    pub boundary_clicks: Option<f64>,
    /// Milliseconds from a prompt to its mask, each click.
    #[serde(default)]
    pub click_ms: Vec<f64>,
    /// Milliseconds once for the photo.
    #[serde(default)]
    pub encode_ms: Option<f64>,
}

impl Report {
    /// Reads what [`Report::write`] wrote, or a peer in the same form.
    ///
    /// # Errors
    /// A file that cannot be read or is no such report.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|e| TrainError::io("read", path, e))?;
        let wrong =
            |problem: String| TrainError::Config(format!("{}: no evaluation: {problem}", path.display()));
        let report: Self = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        match report.version {
            VERSION => Ok(report),
            other => Err(wrong(format!("its version is {other}, this program reads {VERSION}"))),
        }
    }

    /// Writes everything as JSON.
    ///
    /// # Errors
    /// [`TrainError::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|e| TrainError::Config(e.to_string()))?;
        write_atomically(path, |temporary| fs::write(temporary, &text))
    }

    /// Adds the methods of another evaluation to the objects that both have; the number of objects
    /// that were found here. Objects that only the other one has are left out.
    ///
    /// # Errors
    /// [`TrainError::Config`] when the other one allowed another number of clicks.
    pub fn merge(&mut self, other: Self) -> Result<usize> {
        if other.max_clicks != self.max_clicks {
            let (here, there) = (self.max_clicks, other.max_clicks);
            let problem = format!("evaluations of {here} and of {there} clicks at most cannot be compared");
            return Err(TrainError::Config(problem));
        }
        let mut found = 0;
        for set in other.sets {
            let Some(own) = self.sets.iter_mut().find(|own| own.name == set.name) else { continue };
            for object in set.objects {
                let same = |own: &&mut ObjectReport| own.key() == object.key();
                if let Some(own) = own.objects.iter_mut().find(same) {
                    found += 1;
                    object.methods.into_iter().for_each(|(name, played)| {
                        own.methods.entry(name).or_insert(played);
                    });
                }
            }
        }
        Ok(found)
    }

    /// Every method of any object.
    #[must_use]
    pub fn methods(&self) -> Vec<String> {
        let objects = self.sets.iter().flat_map(|set| &set.objects);
        let mut names: Vec<String> = objects.flat_map(|object| object.methods.keys().cloned()).collect();
        names.sort();
        names.dedup();
        // The model first: it is what the reader looks for.
        names.sort_by_key(|name| !name.starts_with("model"));
        names
    }
}

impl ObjectReport {
    /// What tells an object from the others of its set, wherever the set lies.
    fn key(&self) -> (Option<&std::ffi::OsStr>, u64) {
        (self.image.file_name(), self.object)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report(method: &str, images: &[&str], iou: f64) -> Report {
        let object = |image: &&str| ObjectReport {
            image: format!("/somewhere/{method}/{image}").into(),
            mask: None,
            object: 1,
            area: 200,
            boxed: [0.0, 0.0, 9.0, 9.0],
            degraded_input: 0.5,
            methods: [(method.to_string(), Played { clicks: vec![iou], ..Played::default() })].into(),
        };
        let objects = images.iter().map(object).collect();
        let set = SetReport { name: "set".into(), group: "set".into(), objects, problems: vec![] };
        let model = "model.safetensors".into();
        Report { version: VERSION, model, max_clicks: 1, seeds: vec![0], sets: vec![set], completion: vec![] }
    }

    #[test]
    fn peers_join_the_objects_that_both_have() {
        let mut own = report("model", &["a.png", "b.png"], 0.5);
        assert_eq!(own.merge(report("a peer", &["b.png", "c.png"], 0.9)).unwrap(), 1);
        assert_eq!(own.methods(), ["model", "a peer"]);
        assert_eq!(own.sets[0].objects.len(), 2);
        assert!(!own.sets[0].objects[0].methods.contains_key("a peer"));
        assert_eq!(own.sets[0].objects[1].methods["a peer"].clicks, [0.9]);
        let fewer = Report { max_clicks: 7, ..report("x", &["a.png"], 0.1) };
        assert!(own.merge(fewer).unwrap_err().to_string().contains('7'));
    }

    #[test]
    fn what_is_written_reads_back_and_other_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r.json");
        let first = report("model", &["a.png"], 1.0 / 3.0);
        first.write(&path).unwrap();
        assert_eq!(Report::read(&path).unwrap(), first);
        Report { version: 99, ..first }.write(&path).unwrap();
        assert!(Report::read(&path).unwrap_err().to_string().contains("99"));
        fs::write(&path, "{}").unwrap();
        assert!(Report::read(&path).unwrap_err().to_string().contains("r.json"));
    }
}
