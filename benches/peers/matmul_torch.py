"""Products of two square matrices by PyTorch (cuBLAS on an NVIDIA GPU), for speed next to ours.

    python benches/peers/matmul_torch.py --size 4096 --device cuda --half
Waits for a line with a number before that many runs, and prints a JSON line with the seconds of a product in
each. A run is eight products one after another, and a number read back.
Needs: pip install torch
"""

import argparse
import json
import sys
import time

import torch

CHAIN = 8


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--half", action="store_true", help="f16 in place of f32 (TF32 is off)")
    args = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    kind = dict(device=args.device, dtype=torch.float16 if args.half else torch.float32)
    first, w = torch.ones(args.size, args.size, **kind), torch.full((args.size, args.size), 1 / args.size, **kind)

    def run():
        x = first
        for _ in range(CHAIN):
            x = x @ w
        return x[0, 0].item()

    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            run()
            seconds.append((time.perf_counter() - start) / CHAIN)
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
