"""What PyTorch makes of glance.bin on a drawn image with prompts: numbers for the tests of core/src/prompt/refine.

    python check.py core/src/prompt/refine/glance.bin
"""

import sys

import numpy as np
import torch
import torch.nn as nn

from net import DEVIATION, GRID, KIN, MEAN, SEEN, SIDE, Decoder, Glance, in_order
from prompts import Prompts

OUT = SEEN + 1 + KIN


class Reader:
    """Takes one layer after the other from bytes."""

    def __init__(self, content):
        self.content, self.at = content, 0

    def take(self, kind, count):
        values = np.frombuffer(self.content, kind, count, self.at)
        self.at += values.nbytes
        return values

    def layer(self, outputs, inputs, kernel):
        bias = self.take("<f4", outputs)
        scale = (self.take("<u2", outputs).astype(np.uint32) << 16).view(np.float32)
        levels = self.take("i1", kernel * kernel * inputs * outputs).reshape(kernel, kernel, inputs, outputs)
        return torch.from_numpy((levels * scale).transpose(3, 2, 0, 1).copy()), torch.from_numpy(bias.copy())

    def into(self, part):
        """A convolution with its normalisation, or a plain layer."""
        conv = part[1] if isinstance(part, nn.Sequential) else part
        shape = conv.weight.shape
        weight, bias = self.layer(shape[0], shape[1], shape[2] if len(shape) == 4 else 1)
        conv.weight.data.copy_(weight.reshape(shape))
        if isinstance(part, nn.Sequential):
            part[2].bias.data.copy_(bias)
            part[2].running_var.fill_(1 - part[2].eps)
        else:
            conv.bias.data.copy_(bias)


def read(content):
    net, decoder, reader = Glance(), Decoder(), Reader(content)
    net.out = nn.Conv2d(net.out.in_channels, OUT, 1)
    for part in in_order(net, decoder):
        reader.into(part)
    assert reader.at == len(content), "other bytes than a glance's"
    return net.eval(), decoder.eval()


def drawn():
    """A bright disc on a ground that grows brighter, SIDE x SIDE."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    disc = (x - 80) ** 2 + (y - 110) ** 2 < 50**2
    levels = np.stack([np.where(disc, 220, x), np.where(disc, 150, y), np.where(disc, 40, (x + y) // 2)])
    return torch.from_numpy(levels.astype(np.float32))[None] / 255


def asked():
    """A positive and a negative click, a box, and the left half as what came before."""
    prompts = Prompts(1)
    prompts.mark(0, 27 * GRID + 20, 1)
    prompts.mark(0, 8 * GRID + 40, -1)
    prompts.boxes[0] = torch.tensor([6.0, 14.0, 34.0, 41.0])
    prompts.boxed[0] = 1
    prompts.earlier[0] = torch.where(torch.arange(GRID) < GRID // 2, 1.0, -1.0)
    return prompts


@torch.no_grad()
def main():
    with open(sys.argv[1], "rb") as file:
        net, decoder = read(file.read())
    seen, ups = net((drawn() - MEAN) / DEVIATION)
    maps, told = asked().maps(seen[:, SEEN + 1 :], ups[0], 1.0)
    odds = decoder(ups, maps, told)[0, 0]
    cells = [(3, 5), (27, 20), (40, 44)]
    for row, column in cells:
        print(f"cell {row}, {column}: seen", [round(seen[0, at, row, column].item(), 4) for at in (0, 24, 36)])
        print("  odds", round(odds[row, column].item(), 4))


if __name__ == "__main__":
    main()
