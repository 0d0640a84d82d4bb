//! Tuning a GPU's products before a graph is compiled, and keeping what was found for the next run.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rmae_core::Error;
use rmae_core::exec::Device;
use rmae_core::gpu::{GpuDevice, TUNING_BUDGET, Tuning, TuningKey};
use rmae_core::graph::Graph;
use rmae_core::ops::variant::Choices;

use crate::checkpoint::write_atomically;
use crate::error::Result;

/// What is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// What was done.
    Note(String),
    /// Something that the run survives.
    Warning(String),
}

/// The device with the fastest variants of its kernels for a graph, known from before or measured now.
/// Where `wish` says nothing, hardware adapters are tuned, software ones are not; the CPU never is.
///
/// # Errors
/// A core error where the device was lost. Whatever else fails is a warning, and the device as it was.
pub fn tuned(
    device: &Device, graph: &Graph, wish: Option<bool>, say: &mut dyn FnMut(Said),
) -> Result<Device> {
    let Device::Gpu(gpu) = device else { return Ok(device.clone()) };
    if !wanted(device, wish) {
        return Ok(device.clone());
    }
    let place = cache_folder(&|name| std::env::var_os(name));
    tuned_in(place.as_deref(), gpu, graph, say)
}

/// Whether a device is tuned, where `wish` is what was asked for.
#[must_use]
pub fn wanted(device: &Device, wish: Option<bool>) -> bool {
    matches!(device, Device::Gpu(gpu) if wish.unwrap_or(!gpu.report().software))
}

/// The variants that a device's kernels take, as text to keep; none where they are the default.
#[must_use]
pub fn chosen(device: &Device) -> Option<String> {
    let Device::Gpu(gpu) = device else { return None };
    let any = gpu.choices().iter().next().is_some();
    any.then(|| gpu.tuning_key().write(gpu.choices()).ok()).flatten()
}

/// The device with the variants of a text that [`chosen`] gave; none where it holds for another device.
#[must_use]
pub fn with_choices(device: &Device, chosen: &str) -> Option<Device> {
    let Device::Gpu(gpu) = device else { return None };
    let choices = gpu.tuning_key().read(chosen).ok()?;
    let any = choices.iter().next().is_some();
    any.then(|| Device::Gpu(gpu.clone().tuned(choices)))
}

fn tuned_in(
    folder: Option<&Path>, gpu: &GpuDevice, graph: &Graph, say: &mut dyn FnMut(Said),
) -> Result<Device> {
    let key = gpu.tuning_key();
    let file = folder.map(|folder| folder.join(key.file_name()));
    let known = match &file {
        Some(file) => read(file, &key, say),
        None => Choices::default(),
    };
    let (gpu, begun) = (gpu.clone().tuned(known), Instant::now());
    let tuning = match pollster::block_on(gpu.tune(graph, TUNING_BUDGET)) {
        Err(lost @ Error::DeviceLost(_)) => return Err(lost.into()),
        Err(error) => {
            say(Said::Warning(format!("products are not tuned: {error}")));
            return Ok(Device::Gpu(gpu));
        }
        Ok(tuning) => tuning,
    };
    say(Said::Note(describe(&tuning, begun.elapsed().as_secs_f64())));
    if let Some(file) = file.filter(|_| tuning.measured > 0) {
        keep(&file, &key, &tuning.choices, say);
    }
    Ok(Device::Gpu(gpu.tuned(tuning.choices)))
}

fn describe(tuning: &Tuning, seconds: f64) -> String {
    let Tuning { measured, known, left, .. } = *tuning;
    let before = if known > 0 { format!("{known} products as tuned before") } else { String::new() };
    if measured + left == 0 {
        return if known > 0 { before } else { "no products to tune here".into() };
    }
    let later = if left > 0 { format!(", {left} left for another run") } else { String::new() };
    let before = if known > 0 { format!(", {before}") } else { before };
    format!("tuned {measured} products in {seconds:.1} s{later}{before}")
}

/// What was found before; nothing where the file is not there, damaged, or holds for something else.
fn read(file: &Path, key: &TuningKey, say: &mut dyn FnMut(Said)) -> Choices {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                say(Said::Warning(format!("cannot read {}: {error}", file.display())));
            }
            return Choices::default();
        }
    };
    key.read(&text).unwrap_or_else(|problem| {
        say(Said::Warning(format!("{} is damaged ({problem}); tuning again", file.display())));
        Choices::default()
    })
}

fn keep(file: &Path, key: &TuningKey, choices: &Choices, say: &mut dyn FnMut(Said)) {
    let written = key.write(choices).and_then(|text| {
        fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).map_err(|e| e.to_string())?;
        write_atomically(file, |temporary| fs::write(temporary, &text)).map_err(|e| e.to_string())
    });
    if let Err(problem) = written {
        say(Said::Warning(format!("what tuning found is not kept: {problem}")));
    }
}

/// Where this user's programs keep what they can make again; none where the system does not tell.
fn cache_folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    };
    folder.map(|folder| folder.join("rmae"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rmae_core::gpu::AdapterChoice;
    use rmae_core::ops::kernel::Machine;
    use rmae_core::ops::linear::Linear;

    #[test]
    fn the_line_says_what_was_done() {
        let of = |measured, known, left| {
            describe(&Tuning { measured, known, left, choices: Choices::default() }, 1.23)
        };
        assert_eq!(of(14, 0, 0), "tuned 14 products in 1.2 s");
        assert_eq!(of(0, 14, 0), "14 products as tuned before");
        assert_eq!(
            of(3, 4, 5),
            "tuned 3 products in 1.2 s, 5 left for another run, 4 products as tuned before"
        );
        assert_eq!(of(0, 0, 0), "no products to tune here");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_cache_is_where_the_system_says() {
        let of = |known: &[(&str, &str)]| {
            cache_folder(&|name| known.iter().find(|(k, _)| *k == name).map(|(_, v)| v.into()))
        };
        assert_eq!(of(&[("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]), Some("/c/rmae".into()));
        assert_eq!(of(&[("XDG_CACHE_HOME", "c"), ("HOME", "/h")]), Some("/h/.cache/rmae".into()));
        assert_eq!(of(&[]), None);
    }

    fn graph() -> Graph {
        let mut graph = Graph::new();
        let (x, w) = (graph.input("x", &[40, 24]), graph.param("w", &[36, 24], false));
        let y = graph.apply(Linear, &[x, w]).unwrap();
        graph.set_output("y", y);
        graph
    }

    /// A run in a folder; what it says, and what it chooses.
    fn run(folder: &Path, gpu: &GpuDevice) -> (Vec<Said>, Choices) {
        let mut said = vec![];
        let device = tuned_in(Some(folder), gpu, &graph(), &mut |one| said.push(one)).unwrap();
        let Device::Gpu(gpu) = device else { return (said, Choices::default()) };
        (said, Choices::clone(gpu.choices()))
    }

    #[test]
    fn what_was_found_is_kept_and_used_and_a_damaged_file_is_not() {
        let Ok(gpu) = pollster::block_on(GpuDevice::new(&AdapterChoice::Any)) else {
            println!("SKIPPED: no adapter");
            return;
        };
        gpu.use_kernels_for(Machine::Gpu);
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("rmae");
        let (said, first) = run(&cache, &gpu);
        assert!(matches!(&said[..], [Said::Note(line)] if line.starts_with("tuned 1 products")), "{said:?}");
        let (said, again) = run(&cache, &gpu);
        assert_eq!(said, [Said::Note("1 products as tuned before".into())]);
        assert_eq!(again, first);
        let file = cache.join(gpu.tuning_key().file_name());
        fs::write(&file, "{").unwrap();
        let (said, _) = run(&cache, &gpu);
        assert!(matches!(&said[..], [Said::Warning(_), Said::Note(_)]), "{said:?}");
        assert_eq!(run(&cache, &gpu).0.len(), 1, "written anew");
        let blocked = folder.path().join("blocked");
        fs::write(&blocked, "no folder").unwrap();
        let (said, _) = run(&blocked, &gpu);
        assert!(said.iter().any(|one| matches!(one, Said::Warning(_))), "{said:?}");
        assert!(said.iter().any(|one| matches!(one, Said::Note(_))), "{said:?}");
    }
}
