//! `cargo xtask bench gpu`: the compute shaders, the plain tiled kernel and Burn's wgpu backend on the
//! same adapter, in turns.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::bench_report::{self, Row};
use crate::rmae::Rmae;
use crate::toolbox::Toolbox;
use crate::turns::{Player, play};

/// What Mesa's software adapter is called, and `--device` by default.
pub(crate) const SOFTWARE: &str = "lavapipe";

/// Rows and columns of the matrices.
const SIZE: &str = "1024";

/// Images of a training step.
const BATCH: u32 = 2;

/// Runs of a turn.
const RUNS: u32 = 2;

/// Runs before the first turn: Burn compiles and tunes in them.
const WARM_UP: u32 = 3;

/// Who is compared with us, and how many times faster we must be.
struct Peer {
    name: &'static str,
    command: Command,
    target: f64,
}

/// A comparison on one adapter.
struct Contest<'a> {
    device: &'a str,
    /// `matmul` or `train`.
    what: &'static str,
    size: &'static str,
    batch: u32,
    ours: Command,
    peers: Vec<Peer>,
}

/// Compares products and training steps on the adapter that `device` names, and writes table and plot.
/// Burn says which adapter it takes: the software one for [`SOFTWARE`], else the best that there is, so
/// that should be the one.
///
/// # Errors
/// When a side fails, or this project is slower than it should be.
pub(crate) fn compare(tools: &Toolbox, device: &str, rounds: u32) -> Result<()> {
    let rmae = Rmae::build(tools, device)?;
    let ours = |arguments: &[&str]| rmae.command(&[&["bench", "--turns"], arguments].concat());
    let batch = BATCH.to_string();
    build_burn(tools)?;
    let contests = [
        Contest {
            device,
            what: "matmul",
            size: SIZE,
            batch: 1,
            ours: ours(&["matmul", "--size", SIZE]),
            peers: vec![
                Peer {
                    name: "tiled kernel",
                    command: ours(&["matmul", "--size", SIZE, "--tiled"]),
                    target: 4.0,
                },
                Peer { name: "burn", command: burn(tools, device, ["matmul", SIZE]), target: 2.0 },
            ],
        },
        Contest {
            device,
            what: "train",
            size: "ti",
            batch: BATCH,
            ours: ours(&["train", "--preset", "ti", "--batch", &batch]),
            peers: vec![Peer { name: "burn", command: burn(tools, device, ["train", &batch]), target: 3.0 }],
        },
    ];
    let mut missed = vec![];
    for contest in contests {
        for row in contest.run(rounds)? {
            println!("{}: median ratio {:.2}, wanted {}", row.title(), row.ratio, row.target);
            missed.extend((row.ratio < row.target).then(|| row.title()));
            bench_report::keep(tools.root(), row)?;
        }
    }
    bench_report::write(tools.root())?;
    ensure!(missed.is_empty(), "slower than wanted: {}", missed.join(", "));
    Ok(())
}

impl Contest<'_> {
    fn run(mut self, rounds: u32) -> Result<Vec<Row>> {
        println!("\n=== {} {} on {}, peer / ours ===", self.what, self.size, self.device);
        let mut us = Player::start("ours", &mut self.ours)?;
        us.turn(WARM_UP)?;
        let mut players = vec![];
        for peer in &mut self.peers {
            let mut player = Player::start(peer.name, &mut peer.command)?;
            player.turn(WARM_UP)?;
            players.push(player);
        }
        let (own, results) = play(&mut us, &mut players, rounds, RUNS)?;
        let rows = self.peers.iter().zip(results).map(|(peer, result)| Row {
            kind: format!("{} {}", self.device, self.what),
            size: self.size.into(),
            peer: peer.name.into(),
            batch: self.batch,
            ours: own,
            theirs: result.seconds,
            ratio: result.ratio,
            target: peer.target,
        });
        Ok(rows.collect())
    }
}

const BURN: &str = "benches/peers/burn/Cargo.toml";
const BURN_TARGET: &str = "target/peers-burn";

/// Half an hour on two cores, the first time.
fn build_burn(tools: &Toolbox) -> Result<()> {
    let build = ["build", "--release", "--locked", "--manifest-path", BURN, "--target-dir", BURN_TARGET];
    tools.run(tools.command("cargo").args(build))
}

fn burn(tools: &Toolbox, device: &str, arguments: [&str; 2]) -> Command {
    let program = format!("{BURN_TARGET}/release/burn-peer{}", std::env::consts::EXE_SUFFIX);
    let mut command = tools.command(tools.root().join(program));
    command.args(arguments);
    if device == SOFTWARE {
        command.env("CUBECL_WGPU_DEFAULT_DEVICE", "Cpu");
    }
    command
}
