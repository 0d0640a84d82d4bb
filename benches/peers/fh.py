"""Times scikit-image's felzenszwalb as core/examples/fh_bench.rs times ours.

    pip install scikit-image==0.26.0
    python benches/peers/fh.py [IMAGE.png] [--rounds N] [--scales 500,1000]

Prints one JSON object. Without an image, draws the one that fh_bench draws:
equal image_checksum shows it.
"""

import os

# One core, whatever the numeric libraries would like.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import time

import numpy as np
import skimage
from skimage import io
from skimage.segmentation import felzenszwalb


def noise(x, y, channel):
    """0 to 18, from a hash of the place."""
    with np.errstate(over="ignore"):
        value = (x * np.uint32(73856093)) ^ (y * np.uint32(19349663))
        value ^= np.uint32(channel * 83492791 & 0xFFFFFFFF)
        value ^= value >> np.uint32(13)
        value *= np.uint32(0x5BD1E995)
        value ^= value >> np.uint32(15)
    return value % np.uint32(19)


def draw(width, height):
    """Discs on a ramp, with noise, in integers."""
    y, x = np.mgrid[:height, :width].astype(np.uint32)
    image = np.stack([40 + x // 4, 60 + y // 3, 160 - y // 4], -1).astype(np.int64)
    for disc in range(24):
        cx, cy = disc * 191 % width, disc * 137 % height
        radius = 12 + disc * 29 % 37
        inside = (x.astype(int) - cx) ** 2 + (y.astype(int) - cy) ** 2 < radius**2
        image[inside] = [60 + disc * factor % 150 for factor in (53, 97, 31)]
    for channel in range(3):
        image[..., channel] += noise(x, y, channel)
    return image.astype(np.uint8)


def checksum(image):
    total = 0
    for byte in image.tobytes():
        total = (total * 31 + byte) & 0xFFFFFFFF
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("image", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scales", default="500")
    arguments = parser.parse_args()
    scales = [int(scale) for scale in arguments.scales.split(",")]
    image = io.imread(arguments.image) if arguments.image else draw(480, 320)

    def run():
        return [felzenszwalb(image, scale=s, sigma=0.8, min_size=s) for s in scales]

    maps = run()
    seconds = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        maps = run()
        seconds.append(time.perf_counter() - start)
    report = {
        "library": f"scikit-image {skimage.__version__}",
        "width": image.shape[1],
        "height": image.shape[0],
        "image_checksum": checksum(image),
        "scales": scales,
        "segments": [int(labels.max()) + 1 for labels in maps],
        "seconds": seconds,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
