//! What each kind of op took, next to what the machine could do.

use std::fmt::Write;

use rmae_core::cpu::{OpTime, Profile};

use super::Ceilings;

/// A table, slowest first: time, calls, arithmetic and traffic of one run of `runs`, and both as a
/// share of the ceilings. Arithmetic counts against registers, traffic against copying.
#[must_use]
pub fn table(profile: &Profile, runs: usize, ceilings: &Ceilings) -> String {
    let mut rows: Vec<_> = profile.iter().filter(|(_, time)| time.bytes > 0).collect();
    rows.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    let mut total = OpTime::default();
    for (_, time) in &rows {
        total.seconds += time.seconds;
        total.calls += time.calls;
        total.flops += time.flops;
        total.bytes += time.bytes;
    }
    let mut text = format!(
        "{:24}{:>10}{:>7}{:>7}{:>10}{:>10}{:>7}{:>9}{:>7}\n",
        "op", "ms", "share", "calls", "MFLOP", "GFLOP/s", "of it", "GB/s", "of it"
    );
    for (op, time) in &rows {
        text.push_str(&line(op, time, &total, runs, ceilings));
    }
    text.push_str(&line("all", &total, &total, runs, ceilings));
    text
}

fn line(op: &str, time: &OpTime, total: &OpTime, runs: usize, ceilings: &Ceilings) -> String {
    let runs = runs.max(1) as f64;
    let (flops, bytes) = (time.flops as f64 / time.seconds, time.bytes as f64 / time.seconds);
    let mut line = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        line,
        "{op:24}{:10.2}{:6.1}%{:7.0}{:10.1}{:10.1}{:6.0}%{:9.1}{:6.0}%",
        1e3 * time.seconds / runs,
        100.0 * time.seconds / total.seconds,
        time.calls as f64 / runs,
        time.flops as f64 / runs / 1e6,
        flops / 1e9,
        100.0 * flops / ceilings.registers,
        bytes / 1e9,
        100.0 * bytes / ceilings.copy
    );
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_of_one_run_and_slowest_first() {
        let ceilings = Ceilings { registers: 2e9, product: 1e9, copy: 1e9 };
        let time = |seconds, bytes| OpTime { seconds, calls: 4, flops: 4_000_000_000, bytes };
        let profile =
            Profile::from([("add", time(1.0, 8)), ("linear", time(3.0, 8)), ("reshape", time(9.0, 0))]);
        let text = table(&profile, 2, &ceilings);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        let names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
        assert_eq!(names, ["op", "linear", "add", "all"]);
        assert_eq!(rows[1][1..7], ["1500.00", "75.0%", "2", "2000.0", "1.3", "67%"]);
    }
}
