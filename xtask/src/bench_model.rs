//! `cargo xtask bench train` and `encode`: the CPU executor and what people would use instead, in
//! turns. Results are kept in `docs/performance.json`, so that a part run anew leaves the others, and
//! shown in `docs/performance.md` and `.svg`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::bench_report::{self, Row};
use crate::toolbox::Toolbox;
use crate::turns::{Player, play};
use crate::{node, python};

/// Size of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// Ti, batches of 32
    Ti,
    /// S, batches of 16
    S,
    /// B, batches of 8
    B,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Train,
    Encode,
}

/// An implementation to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    PyTorch,
    Compiled,
    OnnxRuntime,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Ti => "ti",
            Self::S => "s",
            Self::B => "b",
        }
    }

    fn batch(self) -> u32 {
        match self {
            Self::Ti => 32,
            Self::S => 16,
            Self::B => 8,
        }
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Encode => "encode",
        }
    }

    fn peers(self) -> &'static [Peer] {
        match self {
            Self::Train => &[Peer::PyTorch, Peer::Compiled],
            Self::Encode => &[Peer::PyTorch, Peer::OnnxRuntime],
        }
    }

    /// Runs of one turn.
    fn runs(self) -> u32 {
        match self {
            Self::Train => 1,
            Self::Encode => 7,
        }
    }
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::PyTorch => "PyTorch",
            Self::Compiled => "torch.compile",
            Self::OnnxRuntime => "onnxruntime",
        }
    }

    /// How many times faster this project must be.
    fn target(self, kind: Kind, size: Size) -> f64 {
        match (kind, self, size) {
            (Kind::Train, Self::PyTorch, Size::Ti) => 1.5,
            (Kind::Train, Self::PyTorch, Size::S) => 1.3,
            (Kind::Train, Self::PyTorch, Size::B) => 1.2,
            (Kind::Train, _, Size::Ti | Size::S) | (Kind::Encode, Self::PyTorch, _) => 1.1,
            _ => 1.0,
        }
    }

    fn command(self, tools: &Toolbox, kind: Kind, size: Size, chosen: Option<&Path>) -> Result<Command> {
        if self == Self::OnnxRuntime {
            let python = python::with(tools, chosen, "onnxruntime", "onnxruntime==1.32.0")?;
            let mut command = tools.command(python);
            command.arg("benches/peers/vit_onnx.py").arg(exported(tools, size)?);
            return Ok(command);
        }
        let python = python::with(tools, chosen, "torch", "torch==2.15.0")?;
        let mut command = tools.command(python);
        command.args(["benches/peers/rmae_torch.py", "--turns", "--preset", size.name()]);
        command.args(["--batch", &size.batch().to_string()]);
        command.args((kind == Kind::Encode).then_some("--encode"));
        command.args((self == Self::Compiled).then_some("--compile"));
        Ok(command)
    }
}

/// The encoder as a file for onnxruntime.
fn exported(tools: &Toolbox, size: Size) -> Result<PathBuf> {
    let file = tools.root().join("target").join(format!("vit-{}.onnx", size.name()));
    let script = format!("{}/export.mjs", node::PEERS);
    let mut command = node::node(tools, [&script, size.name()]);
    tools.run(command.arg(&file)).context("cannot write the encoder as ONNX; Node 20 or newer does it")?;
    Ok(file)
}

/// Compares the sizes asked for, and writes table and plot.
///
/// # Errors
/// When this project's side fails, or is slower than it should be.
pub(crate) fn compare(
    tools: &Toolbox, kind: Kind, sizes: &[Size], rounds: u32, python: Option<&Path>,
) -> Result<()> {
    tools.run(tools.command("cargo").args(["build", "--release", "--workspace", "--bins"]))?;
    tools.run(ours(tools, kind).args(["--runs", "1"]))?;
    let mut missed = vec![];
    for &size in sizes {
        println!("\n=== {} {}, peer / ours ===", kind.name(), size.name());
        for row in rounds_of(tools, kind, size, rounds, python)? {
            println!("{}: median ratio {:.2}, wanted {}", row.title(), row.ratio, row.target);
            if row.ratio < row.target {
                missed.push(row.title());
            }
            bench_report::keep(tools.root(), row)?;
        }
    }
    bench_report::write(tools.root())?;
    ensure!(missed.is_empty(), "slower than wanted: {}", missed.join(", "));
    Ok(())
}

fn ours(tools: &Toolbox, kind: Kind) -> Command {
    let program = format!("target/release/rmae{}", std::env::consts::EXE_SUFFIX);
    let mut command = tools.command(tools.root().join(program));
    command.args(["--device", "cpu", "bench", kind.name()]);
    command
}

/// Our side and every peer that there is, in turns.
fn rounds_of(
    tools: &Toolbox, kind: Kind, size: Size, rounds: u32, python: Option<&Path>,
) -> Result<Vec<Row>> {
    let mut command = ours(tools, kind);
    command.args(["--turns", "--preset", size.name(), "--batch", &size.batch().to_string()]);
    let mut us = Player::start("ours", &mut command)?;
    us.turn(1)?;
    let (mut peers, mut players) = (vec![], vec![]);
    for &peer in kind.peers() {
        match ready(tools, peer, kind, size, python) {
            Ok(player) => {
                peers.push(peer);
                players.push(player);
            }
            Err(error) => println!("left out: {}: {error:#}", peer.name()),
        }
    }
    let (own, outcomes) = play(&mut us, &mut players, rounds, kind.runs())?;
    let rows = peers.into_iter().zip(outcomes).map(|(peer, outcome)| Row {
        kind: kind.name().into(),
        size: size.name().into(),
        peer: peer.name().into(),
        batch: if kind == Kind::Train { size.batch() } else { 1 },
        ours: own,
        theirs: outcome.seconds,
        ratio: outcome.ratio,
        target: peer.target(kind, size),
    });
    Ok(rows.collect())
}

/// A peer that has warmed up: PyTorch takes several steps until it is at its speed.
fn ready(tools: &Toolbox, peer: Peer, kind: Kind, size: Size, python: Option<&Path>) -> Result<Player> {
    let mut player = Player::start(peer.name(), &mut peer.command(tools, kind, size, python)?)?;
    player.turn(2)?;
    Ok(player)
}
