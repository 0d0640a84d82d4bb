"""Draws the gallery's landscape: a lake at evening with a balloon, a boat and fir trees.

    python draw_lake.py lake.jpg [width]

Layers of noise and simple shapes, painted from back to front at twice the size and halved. The
picture belongs to the project. Needs numpy and pillow.
"""

import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

RNG = np.random.default_rng(3)


def ridge(width, base, height, rough, seed):
    """Heights of a mountain line, by adding ever finer random waves."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0, 1, width)
    out = np.zeros(width)
    size = 1.0
    for octave in range(9):
        knots = rng.uniform(-1, 1, 3 * 2**octave + 2)
        out += size * np.interp(x, np.linspace(0, 1, len(knots)), knots)
        size *= rough
    return base - height * out


def lerp(a, b, t):
    t = np.asarray(t)[..., None]
    return np.asarray(a, float) * (1 - t) + np.asarray(b, float) * t


def sky(width, height):
    y = np.linspace(0, 1, height)[:, None] * np.ones((1, width))
    x = np.ones((height, 1)) * np.linspace(0, 1, width)[None]
    stops = np.array([[46, 74, 128], [118, 134, 172], [236, 176, 140], [253, 214, 160]], float)
    t = np.clip(y / 0.62, 0, 1) * 3
    i = np.minimum(t.astype(int), 2)
    out = lerp(np.zeros(3), np.ones(3), np.zeros_like(t)) + stops[i] * (1 - (t - i))[..., None] + stops[i + 1] * (t - i)[..., None]
    glow = np.exp(-(((x - 0.70) * 1.5) ** 2 + (y - 0.47) ** 2) / 0.035)
    return np.clip(out + glow[..., None] * np.array([70, 46, 8]), 0, 255)


def clouds(image):
    """Streaks of cloud: noise stretched along x."""
    h, w, _ = image.shape
    field = np.zeros((h, w))
    for octave, weight in ((3, 1.0), (6, 0.6), (12, 0.35), (24, 0.2), (48, 0.1)):
        small = RNG.uniform(0, 1, (octave * 3 + 2, octave + 2)).astype(np.float32)
        field += weight * np.asarray(Image.fromarray(small).resize((w, h), Image.BICUBIC))
    field = (field - field.min()) / np.ptp(field)
    y = np.linspace(0, 1, h)[:, None]
    cover = np.clip((field - 0.55) * 3.2, 0, 0.75) * np.clip(1 - np.abs(y - 0.2) / 0.24, 0, 1)
    return image * (1 - cover[..., None]) + cover[..., None] * np.array([255, 226, 206])


def mountains(image, horizon):
    """Three ridges, paler the farther; snow near the tops."""
    h, w, _ = image.shape
    rows = np.arange(h)[:, None]
    for base, tall, rough, seed, near, far in (
        (0.43, 0.085, 0.55, 11, (126, 134, 168), (205, 176, 170)),
        (0.49, 0.060, 0.56, 5, (78, 96, 132), (160, 146, 156)),
        (0.54, 0.032, 0.58, 23, (44, 66, 84), (92, 100, 112)),
    ):
        top = ridge(w, base, tall, rough, seed)[None] * h
        inside = (rows >= top) & (rows < horizon)
        depth = np.clip((rows - top) / (horizon - top + 1e-6), 0, 1)
        grain = 1 + 0.06 * (RNG.random((h, w)) - 0.5)
        colour = lerp(near, far, depth) * grain[..., None]
        if seed != 23:
            wobble = ridge(w, 0.0, 0.012, 0.8, seed + 1)[None] * h
            slope = np.gradient(top[0])[None]
            snow = np.clip((0.40 * h + wobble - rows + 10 * slope) / (0.012 * h), 0, 1) * (seed == 11)
            colour = colour * (1 - 0.75 * snow[..., None]) + 0.75 * snow[..., None] * np.array([246, 232, 228])
        image[inside] = colour[inside]
    return image


def disc(image, cx, cy, r, colour, soft):
    h, w, _ = image.shape
    d = np.hypot(np.arange(w)[None] - cx, np.arange(h)[:, None] - cy)
    a = np.clip((r - d) / soft, 0, 1)[..., None]
    return image * (1 - a) + a * np.array(colour)


def balloon(image, cx, cy, r):
    """A hot-air balloon: gores shaded by the angle at which they are seen."""
    h, w, _ = image.shape
    ys, xs = np.arange(h)[:, None], np.arange(w)[None]
    y = (ys - cy) / r
    wide = np.where(y < 0, np.sqrt(np.clip(1 - y * y, 0, None)), np.sqrt(np.clip(1 - (y / 1.55) ** 2, 0, None)) ** 1.4)
    wide = np.where((y > -1) & (y < 1.3), wide, 0)
    x = (xs - cx) / (r * np.maximum(wide, 1e-6))
    inside = (np.abs(x) <= 1) & (wide > 0.02)
    angle = np.arcsin(np.clip(x, -1, 1))
    gore = np.floor(angle / (np.pi / 8)).astype(int)
    stripes = np.array([[196, 52, 44], [240, 226, 200], [222, 140, 40]], float)
    band = (np.abs(y - 0.12) < 0.14) & inside
    colour = stripes[gore % 3]
    colour = np.where(band[..., None], np.array([40, 72, 110.0]), colour)
    light = 0.62 + 0.48 * np.clip(np.cos(angle - 0.6), 0, 1) - 0.12 * np.clip(y, 0, 1)
    seam = 1 - 0.18 * (np.abs(((angle / (np.pi / 8)) % 1) - 0.5) > 0.46)
    image[inside] = np.clip(colour * (light * seam)[..., None], 0, 255)[inside]
    canvas = Image.fromarray(image.astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    bottom, basket = cy + 1.28 * r, cy + 1.72 * r
    for side in (-1, 1):
        pen.line([(cx + side * 0.2 * r, bottom), (cx + side * 0.14 * r, basket)], fill=(60, 48, 40), width=max(2, int(r / 45)))
    pen.rounded_rectangle([cx - 0.17 * r, basket, cx + 0.17 * r, basket + 0.24 * r], radius=0.05 * r, fill=(122, 80, 44))
    pen.rectangle([cx - 0.19 * r, basket, cx + 0.19 * r, basket + 0.05 * r], fill=(86, 54, 30))
    return np.asarray(canvas).astype(float)


def water(image, horizon):
    """The sky and the hills upside down, darker, broken by waves."""
    h, w, _ = image.shape
    rows = np.arange(horizon, h)
    depth = (rows - horizon) / (h - horizon)
    waves = np.zeros((len(rows), w))
    xs = np.arange(w) / w
    for k, freq in enumerate((9, 23, 51, 97)):
        phase = RNG.uniform(0, 6.3, len(rows))
        phase = np.convolve(phase, np.ones(5) / 5, mode="same")
        waves += np.sin(6.28 * freq * xs[None] + 9 * phase[:, None] + 40 * depth[:, None]) / (k + 1)
    source = np.clip(horizon - 1 - (rows - horizon)[:, None] * 0.92 + waves * (2 + 14 * depth[:, None]), 0, horizon - 1)
    sway = np.clip(np.arange(w)[None] + waves * 3, 0, w - 1)
    mirror = image[source.astype(int), sway.astype(int)]
    dark = (0.80 - 0.30 * depth)[:, None, None]
    tint = np.array([30, 58, 78]) * (0.12 + 0.25 * depth)[:, None, None]
    image[horizon:] = np.clip(mirror * dark + tint + 5 * np.clip(waves, 0, None)[..., None], 0, 255)
    return image


def sail_boat(canvas, cx, cy, s):
    pen = ImageDraw.Draw(canvas)
    pen.polygon([(cx + 0.04 * s, cy - 1.5 * s), (cx + 0.04 * s, cy - 0.14 * s), (cx + 0.82 * s, cy - 0.14 * s)], fill=(246, 238, 222))
    pen.polygon([(cx + 0.04 * s, cy - 1.5 * s), (cx + 0.04 * s, cy - 0.14 * s), (cx + 0.34 * s, cy - 0.14 * s)], fill=(226, 214, 196))
    pen.polygon([(cx - 0.04 * s, cy - 1.35 * s), (cx - 0.04 * s, cy - 0.16 * s), (cx - 0.56 * s, cy - 0.16 * s)], fill=(200, 66, 52))
    pen.line([(cx, cy - 1.6 * s), (cx, cy)], fill=(70, 52, 40), width=max(2, int(0.035 * s)))
    pen.polygon([(cx - 0.74 * s, cy - 0.05 * s), (cx + 0.95 * s, cy - 0.05 * s), (cx + 0.66 * s, cy + 0.2 * s), (cx - 0.5 * s, cy + 0.2 * s)], fill=(250, 250, 246))
    pen.polygon([(cx - 0.66 * s, cy + 0.06 * s), (cx + 0.83 * s, cy + 0.06 * s), (cx + 0.66 * s, cy + 0.2 * s), (cx - 0.5 * s, cy + 0.2 * s)], fill=(36, 62, 92))
    for k in range(9):
        y = cy + (0.24 + 0.1 * k) * s
        half = (0.55 - 0.05 * k) * s
        pen.line([(cx - half + (k % 3) * 4, y), (cx + half * 0.9 - (k % 2) * 7, y)], fill=(222 - 8 * k, 214 - 8 * k, 206 - 6 * k), width=max(1, int(0.03 * s)))


def fir(pen, x, base, tall, rng):
    """A fir tree: rows of drooping branches over a trunk, darker on the left."""
    pen.rectangle([x - 0.02 * tall, base - 0.14 * tall, x + 0.02 * tall, base], fill=(38, 26, 20))
    for k in range(46):
        t = k / 45
        y, half = base - tall + t * 0.9 * tall, (0.015 + 0.2 * t**0.9) * tall * rng.uniform(0.82, 1.08)
        for side in (-1, 1):
            tone = (18, 40, 34) if side < 0 else (34, 62, 46)
            droop = 0.055 * tall * (0.5 + t)
            pen.polygon([(x, y - 0.03 * tall), (x + side * half, y + droop), (x + side * half * 0.45, y + droop * 0.75), (x, y + 0.03 * tall)], fill=tone)


def shore(canvas, w, h):
    """The near bank with grass, and firs on the left."""
    pen = ImageDraw.Draw(canvas)
    line = 0.90 * h + 0.05 * h * np.clip(np.linspace(-0.35, 1.15, w), -1, 1) + 0.1 * (ridge(w, 0.0, 0.05, 0.6, 41) * h)
    pen.polygon([(0, h)] + [(i, line[i]) for i in range(0, w, 4)] + [(w, h)], fill=(30, 44, 30))
    rng = np.random.default_rng(9)
    for _ in range(5200):
        x = rng.integers(0, w)
        y = rng.uniform(line[x], h + 8)
        tall, lean = rng.uniform(0.008, 0.028) * h, rng.uniform(-0.006, 0.008) * h
        g = rng.uniform(0.6, 1.25)
        pen.line([(x, y), (x + lean, y - tall)], fill=(int(48 * g), int(70 * g), int(36 * g)), width=2)
    for x, base, tall in ((0.045, 0.93, 0.5), (0.15, 0.935, 0.62), (0.245, 0.925, 0.40)):
        fir(pen, x * w, base * h, tall * h, rng)


def draw(width):
    w, h = 2 * width, 2 * (width * 2 // 3)
    horizon = int(0.58 * h)
    image = clouds(sky(w, h))
    image = disc(image, 0.70 * w, 0.465 * h, 0.036 * h, (255, 244, 214), 5)
    image = mountains(image, horizon)
    image = balloon(image, 0.50 * w, 0.19 * h, 0.115 * h)
    image = water(image, horizon)
    canvas = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    sail_boat(canvas, 0.62 * w, 0.735 * h, 0.12 * h)
    shore(canvas, w, h)
    small = canvas.filter(ImageFilter.GaussianBlur(0.6)).resize((width, width * 2 // 3), Image.LANCZOS)
    grain = RNG.normal(0, 2.2, (small.height, small.width, 1))
    return Image.fromarray(np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8))


if __name__ == "__main__":
    draw(int(sys.argv[2]) if len(sys.argv) > 2 else 1080).save(sys.argv[1], quality=84, optimize=True, progressive=True)
