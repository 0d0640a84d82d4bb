//! The configuration file: TOML whose keys are the flags' names.

use std::path::Path;

use toml::de::DeTable;

use super::options::{ModelOptions, PretrainOptions};
use crate::error::{Result, TrainError};

/// Reads a configuration file.
///
/// # Errors
/// [`TrainError::Io`] where it cannot be read; [`TrainError::Config`] naming file, line and key for
/// an unknown key (with the nearest known one), a value of another type, or a syntax error.
pub fn read(path: &Path) -> Result<PretrainOptions> {
    let text = std::fs::read_to_string(path).map_err(|e| TrainError::io("read", path, e))?;
    parse(&text).map_err(|problem| TrainError::Config(format!("{}, {problem}", path.display())))
}

/// The text of a file that gives the same options.
///
/// # Errors
/// [`TrainError::Config`] for a value that TOML cannot hold.
pub fn to_text(options: &PretrainOptions) -> Result<String> {
    toml::to_string_pretty(options).map_err(|e| TrainError::Config(e.to_string()))
}

fn parse(text: &str) -> std::result::Result<PretrainOptions, String> {
    let at = |error: toml::de::Error| {
        format!("line {}: {}", error.span().map_or(1, |s| line(text, s.start)), error.message())
    };
    let table = DeTable::parse(text).map_err(at)?;
    check_keys(text, table.get_ref(), PretrainOptions::KEYS, Some("model"), "")?;
    if let Some(model) = table.get_ref().get("model").and_then(|v| v.get_ref().as_table()) {
        check_keys(text, model, ModelOptions::KEYS, None, "model.")?;
    }
    toml::from_str(text).map_err(at)
}

fn check_keys(
    text: &str, table: &DeTable<'_>, known: &[&str], sub_table: Option<&str>, prefix: &str,
) -> std::result::Result<(), String> {
    for key in table.keys() {
        let name: &str = key.get_ref();
        if known.contains(&name) || sub_table == Some(name) {
            continue;
        }
        let line = line(text, key.span().start);
        return Err(format!("line {line}: unknown key `{prefix}{name}`{}", hint(name, prefix)));
    }
    Ok(())
}

/// Names the nearest key of either table, if one is near.
fn hint(name: &str, prefix: &str) -> String {
    let top = PretrainOptions::KEYS.iter().map(|key| (*key, ""));
    let model = ModelOptions::KEYS.iter().map(|key| (*key, "model."));
    let score = |key: &str| strsim::jaro_winkler(key, &name.replace('-', "_"));
    let nearest = top.chain(model).map(|(key, table)| {
        // Of two equally near keys, the one in the table where it was written.
        (score(key) + if table == prefix { 0.01 } else { 0.0 }, key, table)
    });
    match nearest.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, key, table)) if score > 0.75 => format!("; did you mean `{table}{key}`?"),
        _ => "; `rmae pretrain --help` lists the keys (the flags' names, with _ for -)".into(),
    }
}

fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&b| b == b'\n').count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
        let error = parse("batch = 4\nchekpoint_every = 7\n").unwrap_err();
        assert_eq!(error, "line 2: unknown key `chekpoint_every`; did you mean `checkpoint_every`?");
        let error = parse("[model]\nmask_ration = 0.5\n").unwrap_err();
        assert_eq!(error, "line 2: unknown key `model.mask_ration`; did you mean `model.mask_ratio`?");
        let error = parse("mask_ratio = 0.5\n").unwrap_err();
        assert!(error.contains("did you mean `model.mask_ratio`?"), "{error}");
        let error = parse("qqq = 1\n").unwrap_err();
        assert!(error.contains("--help"), "{error}");
    }

    #[test]
    fn a_wrong_type_and_a_syntax_error_name_their_line() {
        let error = parse("batch = 4\nsteps = \"many\"\n").unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains("many"), "{error}");
        let error = parse("batch = 4\n\nsteps = \n").unwrap_err();
        assert!(error.starts_with("line 3: "), "{error}");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = "images = [\"a\", \"b\"]\npreset = \"s\"\nobjective = \"rmae\"\nlr = 1e-3\n\
                    region_sampling = \"random_fg\"\n[model]\nmask_ratio = 0.5\nregion_decoder = \"batch\"\n";
        let options = parse(text).unwrap();
        assert_eq!(parse(&to_text(&options).unwrap()).unwrap(), options);
        assert_eq!(options.model.mask_ratio, Some(0.5));
    }
}
