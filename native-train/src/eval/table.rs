//! An evaluation for people: aligned text, and Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::completion::{Completed, Kind, RATIOS};
use super::play::mean;
use super::report::{Report, SetReport};
use super::summary::{CLICKS, GOALS, Summary};

/// A table: the first row names the columns.
type Rows = Vec<Vec<String>>;

/// Every method's table, one row a set and one for each mean; then the completion.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for method in report.methods() {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{method}\n{}", aligned(&of_method(report, &method)));
    }
    for (title, rows) in completion(&report.completion) {
        let _ = writeln!(out, "{title}\n{}", aligned(&rows));
    }
    out
}

/// The same as a page; `picture` is the curves' address from there.
#[must_use]
pub fn markdown(report: &Report, picture: Option<&str>) -> String {
    let mut out = String::from("# Prompts, measured\n\n");
    let _ = writeln!(out, "{}", explained(report));
    if let Some(picture) = picture {
        let _ = writeln!(out, "![Mean IoU after each click, one line a method]({picture})\n");
    }
    let _ = writeln!(out, "## Methods side by side\n");
    for (name, rows) in side_by_side(report) {
        let _ = writeln!(out, "**{name}**\n\n{}", piped(&rows));
    }
    let _ = writeln!(out, "## Set by set\n");
    for method in report.methods() {
        let _ = writeln!(out, "**{method}**\n\n{}", piped(&of_method(report, &method)));
    }
    let tables = completion(&report.completion);
    if !tables.is_empty() {
        let _ = writeln!(out, "## Regions completed\n\n{COMPLETION}\n");
    }
    for (title, rows) in tables {
        let _ = writeln!(out, "**{title}**\n\n{}", piped(&rows));
    }
    out.trim_end().to_string() + "\n"
}

const COMPLETION: &str = "\
The paper's own task: the whole image is visible, a region only in part. IoU of the whole region map, the \
visible patches included, by the share of patches that is hidden, mean over the sets. Random blobs have \
nothing to do with the photo: what a model gains there over its baselines it has from shapes alone.";

fn explained(report: &Report) -> String {
    let objects: usize = report.sets.iter().map(|set| set.objects.len()).sum();
    let seeds: Vec<String> = report.seeds.iter().map(ToString::to_string).collect();
    let problems: usize = report.sets.iter().map(|set| set.problems.len()).sum();
    let left_out = if problems > 0 { format!(" {problems} files could not be used.") } else { String::new() };
    let (model, clicks) = (&report.model, report.max_clicks);
    format!(
        "Made by `rmae eval prompts` from `{model}`, {objects} objects, at most {clicks} clicks, seeds {}; not \
         written by hand.{left_out}\n\n\
         Each click comes at the centre of the largest wrong region (distance transform). NoC@x: mean number \
         of clicks to IoU x; an object that never gets there counts {clicks}, and *never* tells how many \
         these are. Box: the set's own boxes, or tight ones. Degraded: an earlier mask with a part cut off or \
         too much, alone (its own IoU first). F: boundary F-measure, within 0.75 % of the diagonal, where the \
         whole photo is judged. Worse: clicks that lower the IoU by more than 0.02. Times are medians on the \
         machine at hand. Means count each set the same.\n",
        seeds.join(", ")
    )
}

/// Sets that stand alone and means over the sets of one folder: name, and its sets.
fn groups(report: &Report) -> Vec<(String, Vec<&SetReport>)> {
    let mut by_group: Vec<(String, Vec<&SetReport>)> = vec![];
    for set in &report.sets {
        match by_group.iter_mut().find(|(group, _)| *group == set.group) {
            Some((_, sets)) => sets.push(set),
            None => by_group.push((set.group.clone(), vec![set])),
        }
    }
    by_group
}

fn side_by_side(report: &Report) -> Vec<(String, Rows)> {
    let table = |(group, sets): (String, Vec<&SetReport>)| {
        let name = if sets.len() > 1 { format!("{group}, mean of {} sets", sets.len()) } else { group };
        let row = |method: &String| {
            let of_sets: Vec<Summary> = sets.iter().filter_map(|set| of(set, method, report)).collect();
            Some(row(method, &Summary::mean(&of_sets)?))
        };
        (name, [vec![head("method")], report.methods().iter().filter_map(row).collect()].concat())
    };
    groups(report).into_iter().map(table).collect()
}

fn of(set: &SetReport, method: &str, report: &Report) -> Option<Summary> {
    Summary::of(&set.objects, method, report.max_clicks)
}

/// One row a set, then means.
fn of_method(report: &Report, method: &str) -> Rows {
    let mut rows = vec![head("set")];
    let mut all = vec![];
    let groups = groups(report);
    for (group, sets) in &groups {
        let mut of_group = vec![];
        for set in sets {
            if let Some(summary) = of(set, method, report) {
                rows.push(row(&set.name, &summary));
                of_group.push(summary);
            }
        }
        if let (true, Some(mean)) = (of_group.len() > 1, Summary::mean(&of_group)) {
            rows.push(row(&format!("mean of {group}"), &mean));
        }
        all.extend(of_group);
    }
    if let (true, Some(mean)) = (groups.len() > 1, Summary::mean(&all)) {
        rows.push(row("mean of all sets", &mean));
    }
    rows
}

fn head(first: &str) -> Vec<String> {
    let mut head = vec![first.to_string(), "objects".into()];
    head.extend(GOALS.map(|goal| format!("NoC@{:.0}", 100.0 * goal)));
    head.push("never".into());
    head.extend(CLICKS.map(|clicks| format!("IoU@{clicks}")));
    let rest = ["box", "scribble", "degraded", "F box", "F@5", "worse", "ms click", "ms photo"];
    head.extend(rest.map(String::from));
    head
}

fn row(name: &str, s: &Summary) -> Vec<String> {
    let mut row = vec![name.to_string(), s.objects.to_string()];
    row.extend(s.noc.map(|noc| number(noc, 2)));
    let clicked = s.noc[0].is_some();
    row.push(if clicked { s.never.map(|never| never.to_string()).join("/") } else { NOTHING.into() });
    row.extend(s.after.map(|iou| number(iou, 3)));
    row.extend([s.boxed, s.scribble].map(|iou| number(iou, 3)));
    let degraded = s.degraded.map(|iou| format!("{} > {iou:.3}", number(s.degraded_input, 3)));
    row.push(degraded.unwrap_or_else(|| NOTHING.into()));
    row.extend([s.boundary_boxed, s.boundary_clicks].map(|f| number(f, 3)));
    row.push(s.worse.map_or_else(|| NOTHING.into(), |share| format!("{:.1} %", 100.0 * share)));
    row.extend([s.click_ms, s.encode_ms].map(|ms| number(ms, 1)));
    row
}

/// What stands where there is no number.
const NOTHING: &str = "-";

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| NOTHING.into(), |value| format!("{value:.digits$}"))
}

/// One table a kind of region: one row a method, one column a mask ratio.
fn completion(completed: &[Completed]) -> Vec<(String, Rows)> {
    let mut kinds: Vec<Kind> = completed.iter().map(|c| c.kind).collect();
    kinds.sort();
    kinds.dedup();
    let columns = RATIOS.map(|ratio| format!("{:.0} % hidden", 100.0 * ratio)).to_vec();
    let table = |kind: Kind| {
        let of_kind: Vec<&Completed> = completed.iter().filter(|c| c.kind == kind).collect();
        let row = |name: &str, value: fn(&Completed) -> f64| {
            let values = RATIOS.map(|ratio| number(mean_of_sets(&of_kind, ratio, value), 3)).to_vec();
            [vec![name.to_string()], values].concat()
        };
        let rows = vec![
            [vec!["method".to_string()], columns.clone()].concat(),
            row("model", |c| c.model),
            row("copy the visible part", |c| c.copied),
            row("nearest visible patch", |c| c.nearest),
        ];
        let count = of_kind.len() / RATIOS.len();
        (format!("{}, completed ({count} regions)", kind.name()), rows)
    };
    kinds.into_iter().map(table).collect()
}

fn mean_of_sets(completed: &[&Completed], ratio: f64, value: fn(&Completed) -> f64) -> Option<f64> {
    let mut sets: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for one in completed.iter().filter(|c| c.ratio == ratio) {
        sets.entry(&one.set).or_default().push(value(one));
    }
    mean(sets.into_values().filter_map(|values| mean(values.into_iter())))
}

/// Columns as wide as their widest entry; numbers to the right.
fn aligned(rows: &Rows) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut out = String::new();
    for row in rows {
        let cell = |(at, cell): (usize, &String)| {
            let width = widths[at];
            if at == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        };
        let line: Vec<String> = row.iter().enumerate().map(cell).collect();
        let _ = writeln!(out, "{}", line.join("  ").trim_end());
    }
    out
}

fn piped(rows: &Rows) -> String {
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let _ = writeln!(out, "| {} |", row.join(" | "));
        if at == 0 {
            let _ = writeln!(out, "| --- |{}", " ---: |".repeat(row.len().saturating_sub(1)));
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::report::{ObjectReport, Played, VERSION};
    use super::*;

    fn set(name: &str, group: &str, ious: &[f64]) -> SetReport {
        let object = |&iou: &f64| ObjectReport {
            image: "a.png".into(),
            mask: None,
            object: 1,
            area: 100,
            boxed: [0.0; 4],
            degraded_input: 0.5,
            methods: [("model".to_string(), Played { clicks: vec![iou], ..Played::default() })].into(),
        };
        let objects = ious.iter().map(object).collect();
        SetReport { name: name.into(), group: group.into(), objects, problems: vec![] }
    }

    fn report(sets: Vec<SetReport>) -> Report {
        let model = "m.safetensors".into();
        Report { version: VERSION, model, max_clicks: 20, seeds: vec![0], sets, completion: vec![] }
    }

    #[test]
    fn one_row_a_set_a_mean_of_each_folder_and_of_all() {
        let sets = vec![
            set("alone", "alone", &[0.9]),
            set("cats", "pets", &[0.5, 0.7]),
            set("dogs", "pets", &[1.0]),
        ];
        let text = text(&report(sets));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0] == "model" && lines[1].starts_with("set "), "{text}");
        let starts = ["alone", "cats", "dogs", "mean of pets", "mean of all sets"];
        for (line, start) in lines[2..].iter().zip(starts) {
            assert!(line.starts_with(start), "{text}");
        }
        assert!(lines[5].contains(" 0.800 ") && lines[6].contains(" 0.833 "), "{text}");
        assert!(lines[3].contains(" 20.00 ") && lines[3].contains("2/2/2"), "{text}");
    }

    #[test]
    fn the_page_has_the_same_numbers_and_the_picture() {
        let mut report = report(vec![set("cats", "pets", &[0.625])]);
        let of = |ratio: f64| Completed {
            set: "cats".into(),
            image: "a.png".into(),
            kind: Kind::Fh,
            ratio,
            model: 0.75,
            copied: 0.125,
            nearest: 0.5,
        };
        report.completion = RATIOS.iter().map(|&ratio| of(ratio)).collect();
        let page = markdown(&report, Some("curves.png"));
        assert!(page.contains("](curves.png)") && page.contains("| 0.625 |"), "{page}");
        assert!(
            page.contains("FH segments, completed (1 regions)") && page.contains("| model | 0.750 |"),
            "{page}"
        );
        assert!(!page.contains("random blobs, completed"), "{page}");
    }
}
