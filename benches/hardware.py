"""Everything that only a hardware GPU can show, unattended, within ten minutes; `cargo xtask bench hardware`
builds what it needs and starts it.

    python3 benches/hardware.py --programs target/hardware --out target/hardware/results

Checks every kernel against the CPU and the published implementation's numbers, then lets ours and PyTorch
run in turns: products of 4096 x 4096, training steps of preset B, in f32 and mixed precision. Steps that fail
or run late are noted, and the others go on. Leaves a log of each step, results.json and summary.md. Needs
only Python, and for PyTorch's side one that can `import torch` with CUDA; without it, ours is measured alone.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent

# No adapter is a failure, and fixtures are here, wherever the tests were built.
FOR_TESTS = {"RMAE_REQUIRE_GPU": "1", "CARGO_MANIFEST_DIR": str(ROOT / "core")}

# What issues ask of a hardware GPU, as our speed in parts of theirs.
GOALS = {
    ("matmul", "f32", "torch"): 0.6,
    ("matmul", "mixed", "torch"): 0.5,
    ("train", "f32", "torch"): 0.8,
    ("train", "mixed", "torch compiled"): 0.6,
}


class Run:
    """Where results go, and how much time is left."""

    def __init__(self, args):
        self.args = args
        self.out = Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.end = time.monotonic() + 60 * args.minutes
        self.results = []

    def left(self):
        return self.end - time.monotonic()

    def note(self, **result):
        self.results.append(result)
        print(json.dumps(result), flush=True)
        (self.out / "results.json").write_text(json.dumps(self.results, indent=1))
        (self.out / "summary.md").write_text(summary(self.results))

    def step(self, name, command, limit):
        """Runs a program to its end; its output goes to a log."""
        limit = min(limit, self.left())
        if limit < 5:
            return self.note(step=name, outcome="no time left")
        start = time.monotonic()
        with open(self.out / f"{name}.log", "w") as log:
            try:
                code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=limit, cwd=ROOT,
                                      env={**os.environ, **FOR_TESTS}).returncode
                outcome = "passed" if code == 0 else f"failed with {code}"
            except subprocess.TimeoutExpired:
                outcome = f"stopped after {limit:.0f} s"
            except OSError as error:
                outcome = f"not started: {error}"
        return self.note(step=name, outcome=outcome, seconds=round(time.monotonic() - start, 1))


class Player:
    """A program that does work for each line with a number, and prints the seconds."""

    def __init__(self, command, log):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                        text=True, cwd=ROOT)

    def turn(self, runs):
        self.process.stdin.write(f"{runs}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return median(json.loads(line)["seconds"]) if line.strip() else None

    def stop(self):
        self.process.kill()
        self.process.wait()


def contest(run, what, precision, players, runs):
    """Lets players run in turns; notes the median of each, and of the ratios to ours."""
    if run.left() < 30:
        return run.note(contest=what, precision=precision, outcome="no time left")
    with open(run.out / f"{what}-{precision}.log", "w") as log:
        started, times = {}, {}
        try:
            for name, command in players.items():
                started[name] = Player(command, log)
                # The first turns compile and tune.
                if started[name].turn(3) is None:
                    run.note(contest=what, precision=precision, player=name, outcome="ended early; see the log")
                    started.pop(name).stop()
            times = {name: [] for name in started}
            for _ in range(run.args.rounds):
                if run.left() < 15:
                    break
                for name, player in started.items():
                    times[name].append(player.turn(runs))
        except (OSError, ValueError) as error:
            run.note(contest=what, precision=precision, outcome=str(error))
        finally:
            for player in started.values():
                player.stop()
    whole = [turn for turn in zip(*times.values()) if None not in turn]
    columns = dict(zip(times, zip(*whole)))
    for name, column in columns.items():
        ratios = [theirs / ours for ours, theirs in zip(columns.get("ours", ()), column)]
        run.note(contest=what, precision=precision, player=name, seconds=median(column),
                 ratio=median(ratios) if ratios else None, rounds=len(whole),
                 goal=GOALS.get((what, precision, name)))


def summary(results):
    lines = ["| step | outcome | seconds |", "| --- | --- | --- |"]
    lines += [f"| {r['step']} | {r['outcome']} | {r.get('seconds', '')} |" for r in results if "step" in r]
    lines += ["", "| what | precision | who | ms | theirs / ours | goal |", "| --- | --- | --- | --- | --- | --- |"]
    for r in (r for r in results if "contest" in r):
        measured = "seconds" in r
        ms = f"{1e3 * r['seconds']:.3f}" if measured else r["outcome"]
        ratio, goal = (f"{r['ratio']:.2f}" if r.get("ratio") else "", r.get("goal") or "")
        lines.append(f"| {r['contest']} | {r['precision']} | {r.get('player', '')} | {ms} | {ratio} | {goal} |")
    return "\n".join(lines) + "\n"


def cuda(python):
    check = "import torch, sys; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([python, "-c", check], capture_output=True).returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", default="target/hardware", help="folder with rmae and the kernels' tests")
    parser.add_argument("--out", default="target/hardware/results")
    parser.add_argument("--device", default="gpu", help="what rmae --device takes")
    parser.add_argument("--python", default=sys.executable, help="one that can import torch")
    parser.add_argument("--peer", help="PyTorch's device [default: cuda, where it has that]")
    parser.add_argument("--minutes", type=float, default=9.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--preset", default="b")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    run, programs = Run(args), Path(args.programs).resolve()
    rmae = [str(programs / "rmae"), "--device", args.device]
    fixtures = sorted(str(path) for path in (ROOT / "tests/fixtures/golden").glob("*.safetensors"))
    peer = args.peer or ("cuda" if cuda(args.python) else None)
    run.note(step="torch", outcome=f"on {peer}" if peer else "without CUDA: ours alone")
    run.step("devices", [*rmae, "devices"], 60)
    run.step("verify-f32", [*rmae, "verify", *fixtures], 60)
    run.step("verify-mixed", [*rmae, "verify", "--precision", "mixed", *fixtures], 60)
    for test in ["gpu_kernels", "gpu_golden"]:
        run.step(test, [str(programs / test), "--nocapture"], 120)
    for precision in ["f32", "mixed"]:
        ours = [*rmae, "bench", "--precision", precision]
        matmul, train = players(args, ours, precision, peer)
        contest(run, "matmul", precision, matmul, 10)
        contest(run, "train", precision, train, 3)
        for preset in dict.fromkeys(["ti", args.preset]):
            profile = ["train", "--preset", preset, "--batch", str(args.batch), "--profile"]
            run.step(f"profile-{preset}-{precision}", [*ours, *profile], 60)
    run.step("gpu_mixed", [str(programs / "gpu_mixed"), "--nocapture"], 120)


def players(args, ours, precision, peer):
    """Who multiplies, and who trains."""
    model = ["--preset", args.preset, "--batch", str(args.batch)]
    matmul = {"ours": [*ours, "--turns", "matmul", "--size", str(args.size)]}
    train = {"ours": [*ours, "--turns", "train", *model]}
    if peer:
        script = lambda name: [args.python, str(ROOT / "benches/peers" / name), "--device", peer]
        half, amp = (["--half"], ["--amp"]) if precision == "mixed" else ([], [])
        matmul["torch"] = [*script("matmul_torch.py"), "--size", str(args.size), *half]
        eager = [*script("rmae_torch.py"), "--turns", *model, *amp]
        train["torch"] = eager
        train["torch compiled"] = [*eager, "--compile"]
    return matmul, train


if __name__ == "__main__":
    main()
