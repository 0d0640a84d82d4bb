"""Folds normalisation into convolutions, rounds weights to bytes, writes core/src/prompt/refine/glance.bin: the
glance's layers, then the decoder's, in the order in which they are run.

    python export.py glance.pt all.npz core/src/prompt/refine/glance.bin
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F

from net import DEVIATION, MEAN, SIDE, Decoder, Glance, Heads, in_order


def folded(layer):
    conv, norm = layer[1], layer[2]
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    return conv.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor


def last(net, heads, photos):
    """The last layer: numbers of mean 0 and deviation 1, the eye-catcher's log odds, kin to scale."""
    seen, _ = net((photos - MEAN) / DEVIATION)
    mean, deviation = seen.mean((0, 2, 3)), seen.std((0, 2, 3))
    weight, bias = net.out.weight[:, :, 0, 0], net.out.bias
    eye, kin = heads.catches_eye, heads.kin
    scale = heads.scale[1].clamp(min=1e-3).sqrt()
    rows = [weight / deviation[:, None], 0.4 * eye.weight[:, :, 0, 0] @ weight, scale * kin.weight[:, :, 0, 0] @ weight]
    biases = [
        (bias - mean) / deviation,
        0.4 * (eye.weight[:, :, 0, 0] @ bias + eye.bias),
        scale * (kin.weight[:, :, 0, 0] @ bias + kin.bias),
    ]
    return torch.cat(rows)[:, :, None, None], torch.cat(biases)


def layers(net, heads, decoder, photos):
    for part in in_order(net, decoder):
        if part is net.out:
            yield last(net, heads, photos)
        elif isinstance(part, torch.nn.Sequential):
            yield folded(part)
        else:
            yield part.weight.reshape(*part.weight.shape[:2], 1, 1), part.bias


def written(weight, bias):
    rows = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0]).numpy()
    scale = np.maximum(np.abs(rows).max(0), 1e-9).astype(np.float32) / 127
    upper = ((scale.view(np.uint32) + 0x8000) >> 16).astype("<u2")
    scale = (upper.astype(np.uint32) << 16).view(np.float32)
    levels = np.clip(np.round(rows / scale), -127, 127).astype(np.int8)
    return bias.numpy().astype("<f4").tobytes() + upper.tobytes() + levels.tobytes()


@torch.no_grad()
def main():
    state, net, heads, decoder = torch.load(sys.argv[1]), Glance(), Heads(), Decoder()
    for network, name in ((net, "net"), (heads, "heads"), (decoder, "decoder")):
        network.load_state_dict(state[name])
        network.eval()
    photos = torch.from_numpy(np.load(sys.argv[2])["photos"][::100]).permute(0, 3, 1, 2).float() / 255
    photos = F.interpolate(photos, size=SIDE, mode="bilinear", antialias=True)
    content = b"".join(written(*layer) for layer in layers(net, heads, decoder, photos))
    with open(sys.argv[3], "wb") as file:
        file.write(content)
    print(f"{len(content)} bytes")


if __name__ == "__main__":
    main()
