"""Draws the gallery's still life: signed distance fields, marched in numpy.

    python draw_still_life.py still-life.jpg [width]

Fruit, a mug and a vase on a wooden table, lit by a window on the left. Everything is drawn from the
formulas below, so the picture belongs to the project. Needs numpy and pillow.
"""

import sys

import numpy as np
from PIL import Image

FAR = 14.0
LIGHT = np.array([-0.62, 0.68, 0.42]) / np.linalg.norm([-0.62, 0.68, 0.42])


# Noise -----------------------------------------------------------------------------------------


def lattice(i, j, k):
    """A pseudo-random value in 0..1 for each whole-numbered point."""
    n = (i * 374761393 + j * 668265263 + k * 2147483647 + 1013904223) & 0xFFFFFFFF
    n = ((n ^ (n >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((n ^ (n >> 16)) & 0xFFFF) / 65535.0


def value_noise(p):
    """Smooth noise in 0..1 at points `p` [N, 3]."""
    cell = np.floor(p).astype(np.int64)
    t = p - cell
    t = t * t * (3 - 2 * t)
    out = 0.0
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                corner = lattice(cell[:, 0] + dx, cell[:, 1] + dy, cell[:, 2] + dz)
                wx = t[:, 0] if dx else 1 - t[:, 0]
                wy = t[:, 1] if dy else 1 - t[:, 1]
                wz = t[:, 2] if dz else 1 - t[:, 2]
                out = out + corner * wx * wy * wz
    return out


def fbm(p, octaves=4):
    total, size = 0.0, 0.5
    for _ in range(octaves):
        total = total + size * value_noise(p)
        p, size = p * 2.03 + 17.1, size * 0.5
    return total


# Shapes ----------------------------------------------------------------------------------------


def smooth_min(a, b, k):
    h = np.clip(0.5 + 0.5 * (b - a) / k, 0, 1)
    return b * (1 - h) + a * h - k * h * (1 - h)


def ball(p, centre, radius):
    return np.linalg.norm(p - centre, axis=1) - radius


def ellipsoid(p, centre, radii):
    q = p - centre
    outer = np.linalg.norm(q / radii, axis=1)
    inner = np.linalg.norm(q / np.square(radii), axis=1)
    return outer * (outer - 1) / np.maximum(inner, 1e-6)


def capsule(p, a, b, radius):
    pa, ba = p - a, np.asarray(b) - a
    h = np.clip(pa @ ba / (ba @ ba), 0, 1)
    return np.linalg.norm(pa - h[:, None] * ba, axis=1) - radius


def lathe(p, centre, profile):
    """A vessel: a polyline of (radius, height) turned about the y axis."""
    q = p - centre
    r, y = np.hypot(q[:, 0], q[:, 2]), q[:, 1]
    out = np.full(len(p), 1e9)
    for (r0, y0), (r1, y1) in zip(profile, profile[1:]):
        er, ey = r1 - r0, y1 - y0
        h = np.clip(((r - r0) * er + (y - y0) * ey) / (er * er + ey * ey), 0, 1)
        out = np.minimum(out, np.hypot(r - r0 - h * er, y - y0 - h * ey))
    return out


def curve(points, steps=50):
    """A smooth profile through `points` (Catmull-Rom)."""
    pts = np.array([points[0], *points, points[-1]], float)
    out = []
    for i in range(1, len(pts) - 2):
        for t in np.linspace(0, 1, max(2, steps // len(points)), endpoint=False):
            a, b, c, d = pts[i - 1 : i + 3]
            out.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return [tuple(q) for q in out] + [tuple(pts[-1])]


VASE_AT = np.array([-1.22, 0.0, -0.75])
VASE = curve([(0.0, 0.02), (0.36, 0.03), (0.62, 0.55), (0.56, 1.05), (0.24, 1.5), (0.21, 1.72), (0.34, 1.9)])
MUG_AT = np.array([1.45, 0.0, -0.35])
MUG = [(0.0, 0.03), (0.4, 0.03), (0.43, 0.08), (0.45, 0.92)]
BRANCH = [
    [np.array(q) + VASE_AT for q in line]
    for line in (
        [(0.0, 1.4, 0.0), (-0.05, 2.1, 0.05), (-0.32, 2.7, 0.1)],
        [(0.02, 1.5, 0.0), (0.2, 2.2, 0.02), (0.62, 2.66, 0.0)],
    )
]
LEAVES = [
    (np.array(c) + VASE_AT, np.array(r), a)
    for c, r, a in (
        ((-0.28, 2.15, 0.12), (0.27, 0.1, 0.035), 0.5),
        ((0.12, 2.48, 0.05), (0.26, 0.1, 0.035), -0.7),
        ((-0.5, 2.62, 0.12), (0.28, 0.11, 0.035), -0.5),
        ((0.52, 2.28, 0.06), (0.28, 0.11, 0.035), 0.3),
        ((0.84, 2.74, 0.02), (0.27, 0.1, 0.035), 0.5),
        ((-0.26, 2.9, 0.1), (0.24, 0.1, 0.035), 1.1),
    )
]


def apple(p):
    q = p - np.array([0.02, 0.31, 0.62])
    r = np.hypot(q[:, 0], q[:, 2])
    body = np.hypot(r - 0.17, q[:, 1] * 1.02) - 0.3
    return np.where(r < 0.17, np.maximum(body, np.abs(q[:, 1]) - 0.3 + 0.5 * (0.17 - r)), body) * 0.8


def pear(p):
    low = ellipsoid(p, np.array([-0.52, 0.42, 0.05]), np.array([0.43, 0.42, 0.43]))
    high = ball(p, np.array([-0.47, 0.98, 0.03]), 0.2)
    return smooth_min(low, high, 0.34)


def lemon(p):
    a = 0.55
    q = p - np.array([-0.72, 0.3, 1.1])
    q = np.stack([q[:, 0] * np.cos(a) - q[:, 2] * np.sin(a), q[:, 1], q[:, 0] * np.sin(a) + q[:, 2] * np.cos(a)], 1)
    body = ellipsoid(q, np.zeros(3), np.array([0.42, 0.3, 0.3]))
    return smooth_min(body, ball(q, np.array([0.42, 0.0, 0.0]), 0.06), 0.14)


def leaf(p, centre, radii, angle):
    q = p - centre
    c, s = np.cos(angle), np.sin(angle)
    return ellipsoid(np.stack([q[:, 0] * c + q[:, 1] * s, q[:, 1] * c - q[:, 0] * s, q[:, 2]], 1), np.zeros(3), radii)


def plant(p):
    out = np.full(len(p), 1e9)
    for line in BRANCH:
        for a, b in zip(line, line[1:]):
            out = np.minimum(out, capsule(p, a, b, 0.022))
    return out


def leaves(p):
    return np.min([leaf(p, *l) for l in LEAVES], axis=0) * 0.7


def mug(p):
    body = lathe(p, MUG_AT, MUG) - 0.03
    q = p - MUG_AT - np.array([0.47, 0.5, 0.06])
    handle = np.hypot(np.hypot(q[:, 0], q[:, 1]) - 0.25, q[:, 2]) - 0.06
    outside = 0.44 - np.hypot(*(p - MUG_AT)[:, [0, 2]].T)
    return smooth_min(body, np.maximum(handle, outside), 0.05)


SHAPES = [
    ("table", lambda p: p[:, 1]),
    ("wall", lambda p: p[:, 2] + 2.3),
    ("vase", lambda p: lathe(p, VASE_AT, VASE) - 0.03),
    ("mug", mug),
    ("coffee", lambda p: np.maximum(np.abs(p[:, 1] - 0.76) - 0.01, np.hypot(*(p - MUG_AT)[:, [0, 2]].T) - 0.43)),
    ("orange", lambda p: ball(p, np.array([0.62, 0.46, 0.12]), 0.46)),
    ("orange2", lambda p: ball(p, np.array([0.93, 0.38, 0.95]), 0.38)),
    ("apple", apple),
    ("stem", lambda p: capsule(p, np.array([0.02, 0.48, 0.62]), np.array([0.1, 0.74, 0.6]), 0.022)),
    ("pear", pear),
    ("pear stem", lambda p: capsule(p, np.array([-0.47, 1.14, 0.03]), np.array([-0.4, 1.36, 0.05]), 0.022)),
    ("lemon", lemon),
    ("plant", plant),
    ("leaves", leaves),
]
NAMES = [n for n, _ in SHAPES]


def nearest(p):
    """Distance to the scene."""
    out = np.full(len(p), 1e9)
    for _, shape in SHAPES:
        out = np.minimum(out, shape(p))
    return out


def which(p):
    return np.argmin(np.stack([shape(p) for _, shape in SHAPES]), axis=0)


def normals(p):
    e = 1.2e-3
    out = np.zeros_like(p)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = e
        out[:, axis] = nearest(p + step) - nearest(p - step)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)


def march(origin, direction, steps=110):
    t = np.zeros(len(origin))
    live = np.arange(len(origin))
    for _ in range(steps):
        d = nearest(origin[live] + t[live, None] * direction[live])
        t[live] += 0.92 * d
        live = live[(d > 6e-4) & (t[live] < FAR)]
        if not len(live):
            break
    return t


def shadow(p, n):
    """Light that reaches `p`, 0..1: the window's penumbra widens with distance."""
    origin, out, t = p + 0.012 * n, np.ones(len(p)), np.full(len(p), 0.02)
    live = np.arange(len(p))
    for _ in range(48):
        d = nearest(origin[live] + t[live, None] * LIGHT)
        out[live] = np.minimum(out[live], np.clip(0.5 + 0.5 * d / (0.075 * t[live]), 0, 1))
        t[live] += np.clip(d, 0.02, 0.25)
        live = live[(out[live] > 0.01) & (t[live] < 5)]
        if not len(live):
            break
    return out * out * (3 - 2 * out)


def occlusion(p, n):
    out = np.zeros(len(p))
    for i, h in enumerate((0.04, 0.12, 0.26, 0.48)):
        out += (h - nearest(p + h * n)) * 0.72**i
    return np.clip(1 - 1.15 * out, 0.12, 1)


# Materials -------------------------------------------------------------------------------------


def wood(p):
    grain = fbm(p * np.array([0.7, 1.0, 9.0]) + 3.1, 5)
    rings = 0.5 + 0.5 * np.sin(26 * grain + 2.5 * p[:, 2])
    plank = np.floor((p[:, 2] + 4.2) / 1.05)
    tint = 0.9 + 0.2 * lattice(plank.astype(np.int64), plank.astype(np.int64) * 0 + 3, plank.astype(np.int64) * 0)
    gap = np.abs((p[:, 2] + 4.2) / 1.05 - plank - 0.5) > 0.492
    colour = np.array([0.40, 0.245, 0.14]) * (1 - rings)[:, None] + np.array([0.53, 0.35, 0.21]) * rings[:, None]
    return colour * tint[:, None] * np.where(gap, 0.45, 1.0)[:, None]


def colours(p, kind):
    """Albedo [N, 3], gloss [N] and sharpness of the highlight [N]."""
    albedo, gloss, sharp = np.zeros_like(p), np.full(len(p), 0.05), np.full(len(p), 20.0)

    def paint(name, colour, shine=0.05, power=20.0):
        sel = kind == NAMES.index(name)
        if sel.any():
            albedo[sel] = colour(p[sel]) if callable(colour) else np.asarray(colour)
            gloss[sel], sharp[sel] = shine, power

    def mix(a, b, t):
        return np.asarray(a) * (1 - t)[:, None] + np.asarray(b) * t[:, None]

    paint("table", wood, 0.1, 30)
    paint("wall", lambda q: mix([0.50, 0.55, 0.55], [0.60, 0.64, 0.62], fbm(q * 1.3, 4)))
    band = lambda q: (np.abs(q[:, 1] - 1.0) < 0.07) | (np.abs(q[:, 1] - 0.8) < 0.02)
    glaze = lambda q: mix([0.045, 0.13, 0.24], [0.09, 0.23, 0.36], fbm(q * 4, 4))
    paint("vase", lambda q: np.where(band(q)[:, None], np.array([0.78, 0.74, 0.63]), glaze(q)), 0.55, 90)
    speckle = lambda q: (value_noise(q * 38) > 0.86)
    paint("mug", lambda q: np.where(speckle(q)[:, None], [0.42, 0.36, 0.3], [0.80, 0.76, 0.68]), 0.3, 60)
    paint("coffee", [0.06, 0.03, 0.018], 0.5, 120)
    peel = lambda q: mix([0.86, 0.31, 0.03], [0.93, 0.42, 0.06], fbm(q * 5, 3))
    paint("orange", peel, 0.3, 26)
    paint("orange2", peel, 0.3, 26)
    blush = lambda q: np.clip(1.8 * fbm(q * np.array([7, 1.5, 7]), 4) - 0.6 + 0.35 * (q[:, 1] - 0.4), 0, 1)
    paint("apple", lambda q: mix([0.50, 0.025, 0.03], [0.72, 0.42, 0.10], 0.75 * blush(q)), 0.42, 60)
    spots = lambda q: np.clip(4 * (value_noise(q * 30) - 0.72), 0, 1)
    paint("pear", lambda q: mix(mix([0.50, 0.52, 0.10], [0.62, 0.45, 0.14], fbm(q * 2.2, 3)), [0.3, 0.26, 0.08], 0.5 * spots(q)), 0.22, 34)
    paint("lemon", lambda q: mix([0.86, 0.66, 0.05], [0.93, 0.77, 0.14], fbm(q * 6, 3)), 0.28, 30)
    for name in ("stem", "pear stem", "plant"):
        paint(name, [0.17, 0.12, 0.05])
    paint("leaves", lambda q: mix([0.10, 0.24, 0.09], [0.24, 0.40, 0.15], fbm(q * 5, 3)), 0.22, 30)
    return albedo, gloss, sharp


def peel_bumps(p, n, kind):
    """Citrus skin: small dents that tilt the normal."""
    rough = np.zeros(len(p))
    for name, depth in (("orange", 0.12), ("orange2", 0.12), ("lemon", 0.09)):
        rough[kind == NAMES.index(name)] = depth
    sel = rough > 0
    if sel.any():
        tilt = np.stack([value_noise(p[sel] * 58 + s) - 0.5 for s in (0.0, 71.3, 143.9)], 1)
        n[sel] += rough[sel, None] * 2 * tilt
        n[sel] /= np.linalg.norm(n[sel], axis=1, keepdims=True)
    return n


def shade(origin, direction):
    t = march(origin, direction)
    p = origin + t[:, None] * direction
    kind = which(p)
    n = normals(p)
    lit, around = shadow(p, n), occlusion(p, n)
    n = peel_bumps(p, n, kind)
    albedo, gloss, sharp = colours(p, kind)
    direct = np.clip(n @ LIGHT, 0, 1) * lit
    sky = (0.5 + 0.5 * n[:, 1]) * around
    bounce = np.clip(0.4 - 0.6 * n[:, 1], 0, 1) * around * np.exp(-1.2 * np.clip(p[:, 1], 0, None))
    light = direct[:, None] * np.array([2.35, 2.05, 1.65]) + sky[:, None] * np.array([0.42, 0.50, 0.60])
    light = light + bounce[:, None] * np.array([0.34, 0.22, 0.13])
    half = LIGHT - direction
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = gloss * np.clip((n * half).sum(1), 0, 1) ** sharp * lit
    rim = gloss * 0.35 * (1 - np.clip(-(n * direction).sum(1), 0, 1)) ** 4 * around
    colour = albedo * light + shine[:, None] * np.array([1.6, 1.5, 1.3]) + rim[:, None] * np.array([0.6, 0.7, 0.8])
    wall = kind == NAMES.index("wall")
    pool = np.exp(-0.22 * ((p[:, 0] + 0.9) ** 2 + 0.8 * (p[:, 1] - 1.6) ** 2))
    colour[wall] *= (0.5 + 0.75 * pool[wall])[:, None]
    return colour


def rays(width, height, dx, dy):
    eye, at = np.array([0.05, 2.0, 5.9]), np.array([0.06, 1.16, 0.0])
    forward = (at - eye) / np.linalg.norm(at - eye)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    ys, xs = np.mgrid[0:height, 0:width]
    u = ((xs + dx) / width - 0.5) * width / height
    v = 0.5 - (ys + dy) / height
    d = forward + 0.66 * (u.ravel()[:, None] * right + v.ravel()[:, None] * up)
    return np.repeat(eye[None], len(d), 0), d / np.linalg.norm(d, axis=1, keepdims=True)


def film(colour):
    """A soft shoulder, as film has, and the display's gamma."""
    x = np.clip(colour * 0.5, 0, None)
    y = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.clip(y, 0, 1) ** (1 / 2.2)


def draw(width):
    height = width * 2 // 3
    total = np.zeros((width * height, 3))
    samples = [(0.25, 0.125), (0.75, 0.375), (0.25, 0.625), (0.75, 0.875)]
    for dx, dy in samples:
        origin, direction = rays(width, height, dx, dy)
        for at in range(0, len(origin), 60_000):
            part = slice(at, at + 60_000)
            total[part] += film(shade(origin[part], direction[part])) / len(samples)
    grain = np.random.default_rng(7).normal(0, 0.006, (width * height, 1))
    image = np.clip(total + grain, 0, 1).reshape(height, width, 3)
    return Image.fromarray((image * 255 + 0.5).astype(np.uint8))


if __name__ == "__main__":
    draw(int(sys.argv[2]) if len(sys.argv) > 2 else 1024).save(sys.argv[1], quality=86, optimize=True, progressive=True)
