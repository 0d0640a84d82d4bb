"""The glance: RGB of 160 x 160 pixels to numbers for each of 40 x 40 cells, and what it is trained with.

`core/src/prompt/refine/glance.rs` runs the same network; `export.py` writes its weights.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

SIDE, GRID = 160, 40
WIDTHS = (16, 32, 64, 96, 128)
BLOCKS = (2, 2, 3, 2)
SEEN, KIN = 24, 12
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def conv(inputs, outputs, stride=1, kernel=3, relu=True):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = conv(width, width), conv(width, width, relu=False)
        nn.init.zeros_(self.second[1].weight)

    def forward(self, x):
        return F.relu(x + self.second(self.first(x)))


class Glance(nn.Module):
    """Four scales down, one glance at everything, three scales up."""

    def __init__(self):
        super().__init__()
        w = WIDTHS
        self.stem = conv(3, w[0], 2)
        self.scales = nn.ModuleList(
            nn.Sequential(conv(w[i], w[i + 1], 2), *(Block(w[i + 1]) for _ in range(blocks)))
            for i, blocks in enumerate(BLOCKS)
        )
        self.everywhere = nn.Linear(w[4], w[4])
        nn.init.zeros_(self.everywhere.weight)
        nn.init.zeros_(self.everywhere.bias)
        self.lateral = nn.ModuleList(conv(w[i + 1], w[i], kernel=1, relu=False) for i in (3, 2, 1))
        self.up = nn.ModuleList(conv(w[i], w[i]) for i in (3, 2, 1))
        self.out = nn.Conv2d(w[1], SEEN, 1)

    def forward(self, x):
        x, finer = self.stem(x), []
        for scale in self.scales:
            x = scale(x)
            finer.append(x)
        x = x + self.everywhere(x.mean((2, 3)))[:, :, None, None]
        for lateral, up, beside in zip(self.lateral, self.up, finer[-2::-1]):
            x = up(F.relu(beside + F.interpolate(lateral(x), scale_factor=2, mode="nearest")))
        return self.out(x)


def perceptron(inputs, hidden=64):
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, 1, 1)
    )


class Heads(nn.Module):
    """What asks the glance's numbers in training; eye-catcher and kin go with it, the others do not."""

    def __init__(self):
        super().__init__()
        self.catches_eye = nn.Conv2d(SEEN, 1, 1)
        self.kin = nn.Conv2d(SEEN, KIN, 1)
        self.scale = nn.Parameter(torch.tensor([1.0, 1.0]))
        self.click = perceptron(3 * SEEN + 3)
        self.box = perceptron(3 * SEEN + 4)

    def alike(self, seen, clicked):
        """Log odds that cells are of the thing whose cell has the numbers `clicked` [batch, SEEN]."""
        there = F.conv2d(clicked[:, :, None, None], self.kin.weight, self.kin.bias)
        away = (self.kin(seen) - there).square().sum(1, keepdim=True)
        return 3 * self.scale[0] - self.scale[1] * away
