"""Makes the gallery: photos from scikit-image's wheel (CC0 or public domain) and drawn pictures.

    pip install scikit-image==0.26.0 pillow
    python make.py            # all; the still life takes a few minutes
    python make.py --photos   # without drawing again

Writes a JPEG of at most 150 kB and a thumbnail for each item, and index.json. Terms: LICENCES.md.
"""

import io
import json
import sys
from pathlib import Path

from PIL import Image

import draw_lake
import draw_still_life

HERE = Path(__file__).parent
BUDGET = 150_000
THUMB = (240, 160)

# name, title, what one sees (read out to those who cannot see it), source, terms
ITEMS = [
    ("still-life", "Still life", "Fruit, a mug and a blue vase on a wooden table", None, "Drawn for this project by draw_still_life.py"),
    ("chelsea", "Cat", "The face of a tabby cat, close up", "chelsea.png", "Stefan van der Walt, CC0"),
    ("coffee", "Coffee", "A red cup of espresso with saucer and spoon", "coffee.png", "Rachel Michetti, CC0"),
    ("lake", "Lake", "A balloon and a sailing boat at sunset, mountains behind the lake", None, "Drawn for this project by draw_lake.py"),
    ("astronaut", "Astronaut", "Astronaut Eileen Collins in an orange suit, with helmet and a model of the shuttle", "astronaut.png", "NASA, public domain"),
    ("rocket", "Rocket", "A rocket on its launch pad at dusk, between lattice towers", "rocket.jpg", "SpaceX, public domain"),
    ("camera", "Cameraman", "A man with a camera on a tripod, in grey", "camera.png", "Lav Varshney, CC0"),
    ("retina", "Retina", "Blood vessels at the back of an eye", "retina.jpg", "Mikael Häggström, CC0"),
]


def source(name, file):
    if file:
        import skimage.data

        return Image.open(Path(skimage.data.__file__).parent / file).convert("RGB")
    return (draw_still_life if name == "still-life" else draw_lake).draw(1080)


def fitting(image):
    """JPEG bytes at the best quality that keeps to the budget."""
    image.thumbnail((1080, 1080), Image.LANCZOS)
    for quality in range(90, 40, -4):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, optimize=True, progressive=True)
        if out.tell() <= BUDGET:
            return out.getvalue()
    raise SystemExit("does not fit the budget at any sensible quality")


def thumbnail(image):
    """The middle of the picture, a little above the centre."""
    w, h = image.size
    wide = min(w, h * THUMB[0] / THUMB[1])
    high = wide * THUMB[1] / THUMB[0]
    left, top = (w - wide) / 2, (h - high) * 0.15
    return image.resize(THUMB, Image.LANCZOS, (left, top, left + wide, top + high))


def main():
    only_photos = "--photos" in sys.argv
    for name, _, _, file, _ in ITEMS:
        path = HERE / f"{name}.jpg"
        if file or not only_photos or not path.exists():
            path.write_bytes(fitting(source(name, file)))
        thumbnail(Image.open(path)).save(HERE / f"{name}-thumb.jpg", quality=80, optimize=True)
    index = []
    for name, title, alt, _, terms in ITEMS:
        width, height = Image.open(HERE / f"{name}.jpg").size
        index.append({"file": f"{name}.jpg", "thumb": f"{name}-thumb.jpg", "title": title, "alt": alt, "credit": terms, "width": width, "height": height})
    (HERE / "index.json").write_text(json.dumps(index, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
