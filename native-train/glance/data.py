"""Photos and index masks of folders with images/*.jpg and masks/*.png, all of one size, in one file.

    python data.py all.npz FOLDER…
The first folder's photos count thirteen times in sixteen, the others' share the rest. In a mask 0 is background,
128 is not judged, any other value is one object.
"""

import os
import sys

import numpy as np
from PIL import Image

SIDE = 240


def read(folders):
    photos, masks, kinds = [], [], []
    for kind, folder in enumerate(folders):
        for name in sorted(os.listdir(f"{folder}/masks")):
            photo = Image.open(f"{folder}/images/{name[:-4]}.jpg").convert("RGB")
            mask = Image.open(f"{folder}/masks/{name}").convert("L")
            photos.append(np.asarray(photo.resize((SIDE, SIDE), Image.BILINEAR)))
            masks.append(np.asarray(mask.resize((SIDE, SIDE), Image.NEAREST)))
            kinds.append(kind)
    return np.stack(photos), np.stack(masks), np.array(kinds)


if __name__ == "__main__":
    photos, masks, kinds = read(sys.argv[2:])
    np.savez(sys.argv[1], photos=photos, masks=masks, kinds=kinds)
    print(f"{len(photos)} photos")
