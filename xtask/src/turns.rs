//! Programs that are started once and then run in turns: each waits for a line with a number, does
//! its work that many times, and prints a line of JSON with the `seconds` of each.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bench::{median, median_seconds};

/// Threads of other libraries wait for more work by spinning for a while: not in the next turn.
const PAUSE: Duration = Duration::from_millis(300);

/// One program.
pub(crate) struct Player {
    /// What it is, for people.
    pub(crate) name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Player {
    /// Starts a program.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} could not be started"))?;
        let input = child.stdin.take().context("no way to write to it")?;
        let output = BufReader::new(child.stdout.take().context("no way to read from it")?);
        Ok(Self { name, child, input, output })
    }

    /// The median time in seconds of a number of runs.
    ///
    /// # Errors
    /// When the program ended or printed something else.
    pub(crate) fn turn(&mut self, runs: u32) -> Result<f64> {
        writeln!(self.input, "{runs}").and_then(|()| self.input.flush()).with_context(|| self.ended())?;
        let mut line = String::new();
        self.output.read_line(&mut line).with_context(|| self.ended())?;
        ensure!(!line.is_empty(), self.ended());
        let report = serde_json::from_str(&line).with_context(|| format!("{} printed: {line}", self.name))?;
        sleep(PAUSE);
        median_seconds(&report)
    }

    fn ended(&self) -> String {
        format!("{} ended early; what it printed is above", self.name)
    }
}

/// How a peer did in [`play`].
pub(crate) struct Outcome {
    /// Its median seconds.
    pub(crate) seconds: f64,
    /// The median over the rounds of its time divided by ours.
    pub(crate) ratio: f64,
}

/// Lets us and every peer run in turns; our median seconds, and how each peer did.
///
/// # Errors
/// When one of them ends or prints something else.
pub(crate) fn play(
    us: &mut Player, peers: &mut [Player], rounds: u32, runs: u32,
) -> Result<(f64, Vec<Outcome>)> {
    let mut own = vec![];
    let mut times = vec![(vec![], vec![]); peers.len()];
    for round in 1..=rounds {
        let ours = us.turn(runs)?;
        own.push(ours);
        println!("round {round}: ours {ours:.4} s");
        for (player, (seconds, ratios)) in peers.iter_mut().zip(&mut times) {
            let theirs = player.turn(runs)?;
            println!("round {round}: {} {theirs:.4} s, ratio {:.2}", player.name, theirs / ours);
            seconds.push(theirs);
            ratios.push(theirs / ours);
        }
    }
    let middle = |values: &mut Vec<f64>| median(values).context("no round was run");
    let mut outcomes = vec![];
    for (mut seconds, mut ratios) in times {
        outcomes.push(Outcome { seconds: middle(&mut seconds)?, ratio: middle(&mut ratios)? });
    }
    Ok((middle(&mut own)?, outcomes))
}

impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Player {
        Player::start("sh", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_turn_is_the_median_of_what_is_printed() {
        let mut player = shell(r#"while read n; do echo "{\"seconds\": [$n, 1, 9]}"; done"#);
        assert_eq!(player.turn(3).unwrap(), 3.0);
        assert_eq!(player.turn(20).unwrap(), 9.0);
    }

    #[test]
    fn peers_are_compared_round_by_round() {
        let mut us = shell(r#"while read n; do echo '{"seconds": [2]}'; done"#);
        let mut peers = [
            shell(r#"s=1; while read n; do s=$((s * 3)); echo "{\"seconds\": [$s]}"; done"#),
            shell(r#"while read n; do echo '{"seconds": [1]}'; done"#),
        ];
        let (own, outcomes) = play(&mut us, &mut peers, 3, 1).unwrap();
        assert_eq!(own, 2.0);
        let found: Vec<_> = outcomes.iter().map(|outcome| (outcome.seconds, outcome.ratio)).collect();
        assert_eq!(found, [(9.0, 4.5), (1.0, 0.5)]);
        assert!(play(&mut us, &mut peers, 0, 1).is_err());
    }

    #[test]
    fn a_program_that_ends_or_babbles_is_an_error() {
        assert!(shell("exit 1").turn(1).is_err());
        let error = shell("echo hello; cat").turn(1).unwrap_err();
        assert!(format!("{error:#}").contains("hello"), "{error:#}");
    }
}
