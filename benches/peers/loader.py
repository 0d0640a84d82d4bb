"""Times torchvision's loading as native-train/examples/loader_bench.rs times ours: decode, random resized crop, flip.

    pip install torchvision==0.29.2
    python benches/peers/loader.py [FOLDER] [--size 500x375] [--images N] [--rounds N]

Prints one JSON object. Without a folder it takes the photos that loader_bench draws into target/loader-bench.
"""

import os

# One core, whatever the numeric libraries would like.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import time
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torchvision import transforms

BATCH = 32

# The recipe of MAE, whose loader is torchvision's on Pillow.
TRANSFORM = transforms.Compose(
    [
        transforms.RandomResizedCrop(224, scale=(0.2, 1.0), interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def load(file):
    with Image.open(file) as image:
        return TRANSFORM(image.convert("RGB"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--size", default="500x375")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    drawn = Path(__file__).parents[2] / "target" / "loader-bench" / arguments.size
    files = sorted(Path(arguments.folder or drawn).glob("*.jpg"))
    seconds = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        for first in range(0, arguments.images, BATCH):
            torch.stack([load(files[at % len(files)]) for at in range(first, first + BATCH)])
        seconds.append(time.perf_counter() - start)
    report = {
        "library": f"torchvision {torchvision.__version__}",
        "photos": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "images": arguments.images,
        "seconds": seconds,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
