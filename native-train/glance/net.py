"""The glance: RGB of 192 x 192 pixels to numbers for each of 48 x 48 cells; the decoder: these and prompts to a mask.

`core/src/prompt/refine/glance.rs` and `decoder.rs` run the same networks; `export.py` writes their weights.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F

SIDE, GRID = 192, 48
STEM = 32
# Of EfficientNet-Lite0, up to the next to last stage: blocks, kernel, stride, widening, outputs.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192))
# Parts at its start that keep what they were pre-trained to: they take most of the time to train.
FROZEN = 4
# Stages whose ends are seen on the way up, from fine to coarse, and the way's channels there.
FINER, UP = (1, 2, 4), (32, 48, 80)
SEEN, KIN = 24, 12
MEAN, DEVIATION = 127 / 255, 128 / 255


def normed(inputs, outputs, stride=1, kernel=3, groups=1):
    """A convolution and its normalisation. TensorFlow's padding: at stride 2 the far side has more of it."""
    before = (kernel - stride) // 2
    after = kernel - stride - before
    pad = nn.ZeroPad2d((before, after, before, after)) if after > before else nn.Identity()
    conv = nn.Conv2d(inputs, outputs, kernel, stride, 0 if after > before else before, groups=groups, bias=False)
    return nn.Sequential(pad, conv, nn.BatchNorm2d(outputs, eps=1e-3))


class Block(nn.Module):
    """Widen, look around in each channel, narrow."""

    def __init__(self, inputs, outputs, kernel, stride, widening):
        super().__init__()
        inner = inputs * widening
        self.expand = normed(inputs, inner, kernel=1) if widening > 1 else None
        self.depthwise = normed(inner, inner, stride, kernel, groups=inner)
        self.project = normed(inner, outputs, kernel=1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        inner = F.relu6(self.expand(x)) if self.expand else x
        inner = self.project(F.relu6(self.depthwise(inner)))
        return x + inner if self.residual else inner


class Glance(nn.Module):
    """Five scales down, one glance at everything, three scales up."""

    def __init__(self):
        super().__init__()
        self.stem, stages, width = normed(3, STEM, 2), [], STEM
        for blocks, kernel, stride, widening, outputs in STAGES:
            stage = []
            for at in range(blocks):
                stage.append(Block(width, outputs, kernel, stride if at == 0 else 1, widening))
                width = outputs
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.top = normed(width, UP[-1], kernel=1)
        self.everywhere = nn.Linear(width, UP[-1])
        nn.init.zeros_(self.everywhere.weight)
        nn.init.zeros_(self.everywhere.bias)
        wide = (*UP, UP[-1])
        self.beside = nn.ModuleList(normed(STAGES[FINER[at]][-1], UP[at], kernel=1) for at in (2, 1, 0))
        self.lateral = nn.ModuleList(normed(wide[at + 1], UP[at], kernel=1) for at in (2, 1, 0))
        self.up = nn.ModuleList(normed(UP[at], UP[at]) for at in (2, 1, 0))
        self.out = nn.Conv2d(UP[0], SEEN, 1)

    def trunk(self):
        """What comes pre-trained: what is kept as it is, and what is trained further."""
        parts = [self.stem, *self.stages]
        return parts[:FROZEN], parts[FROZEN:]

    def pretrained(self, state):
        """Takes the trunk's weights from those of EfficientNet-Lite0, as PyTorch packages name them."""

        def take(to, conv, norm):
            to[1].weight.data.copy_(state[f"{conv}.weight"])
            for key in ("weight", "bias", "running_mean", "running_var"):
                getattr(to[2], key).data.copy_(state[f"{norm}.{key}"])

        take(self.stem, "_conv_stem", "_bn0")
        for at, block in enumerate(block for stage in self.stages for block in stage):
            name = f"_blocks.{at}"
            if block.expand:
                take(block.expand, f"{name}._expand_conv", f"{name}._bn0")
            take(block.depthwise, f"{name}._depthwise_conv", f"{name}._bn1")
            take(block.project, f"{name}._project_conv", f"{name}._bn2")

    def freeze(self):
        for part in self.trunk()[0]:
            part.requires_grad_(False)

    def train(self, mode=True):
        """The trunk's normalisation keeps what it was pre-trained with."""
        super().train(mode)
        for part in (self.stem, *self.stages):
            part.eval()
        return self

    def forward(self, x):
        finer = []
        # What is not trained need not be exact either.
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.training):
            x = F.relu6(self.stem(x))
            for at, stage in enumerate(self.stages[: FROZEN - 1]):
                x = stage(x)
                if at in FINER:
                    finer.append(x.float())
        x = x.float()
        for at, stage in enumerate(self.stages[FROZEN - 1 :], FROZEN - 1):
            x = stage(x)
            if at in FINER:
                finer.append(x)
        x = F.relu(self.top(x) + self.everywhere(x.mean((2, 3)))[:, :, None, None])
        ups = []
        for lateral, beside, up, fine in zip(self.lateral, self.beside, self.up, finer[::-1]):
            x = up(F.relu(beside(fine) + F.interpolate(lateral(x), scale_factor=2, mode="nearest")))
            x = F.relu(x)
            ups.append(x)
        return self.out(x), ups[::-1]


class Heads(nn.Module):
    """What catches the eye, and numbers of which the distance is small between cells of one thing."""

    def __init__(self):
        super().__init__()
        self.catches_eye = nn.Conv2d(SEEN, 1, 1)
        self.kin = nn.Conv2d(SEEN, KIN, 1)
        self.scale = nn.Parameter(torch.tensor([1.0, 1.0]))

    def alike(self, away):
        """Log odds that cells are of the same thing, from the squared distance of their numbers."""
        return 3 * self.scale[0] - self.scale[1] * away


def in_order(net, decoder):
    """All parts with weights of the glance and its decoder, in the order in which they are run and written."""
    yield net.stem
    for stage in net.stages:
        for block in stage:
            yield from filter(None, (block.expand, block.depthwise, block.project))
    yield from (net.top, net.everywhere)
    for parts in zip(net.lateral, net.beside, net.up):
        yield from parts
    yield net.out
    down, beside, lateral, up = decoder.down, decoder.beside, decoder.lateral, decoder.up
    yield from (decoder.enter, decoder.fine, down[0], beside[0], decoder.middle, down[1], beside[1], decoder.told)
    yield from (*decoder.coarse, lateral[0], up[0], lateral[1], up[1], decoder.out)


# Maps of the prompts that the decoder sees beside what the glance saw.
MAPS = 12
# Channels of the decoder on its three scales.
INNER = (24, 48, 80)


class Decoder(nn.Module):
    """From what the glance saw and prompts to log odds of the thing that is meant, for each cell.

    Two scales down from the glance's finest, what it saw on each of them beside it, and two up. What it saw under
    positive prompts, under negative ones and in the box is told everywhere on the coarsest scale.
    """

    def __init__(self):
        super().__init__()
        a, b, c = INNER
        self.enter = normed(UP[0] + MAPS, a, kernel=1)
        self.fine = normed(a, a)
        self.down = nn.ModuleList([normed(a, b, 2), normed(b, c, 2)])
        self.beside = nn.ModuleList([normed(UP[1], b, kernel=1), normed(UP[2], c, kernel=1)])
        self.middle = normed(b, b)
        self.told = nn.Linear(3 * UP[0], c)
        self.coarse = nn.ModuleList([normed(c, c), normed(c, c)])
        self.lateral = nn.ModuleList([normed(c, b, kernel=1), normed(b, a, kernel=1)])
        self.up = nn.ModuleList([normed(b, b), normed(a, a)])
        self.out = nn.Conv2d(a, 1, 1)

    def forward(self, ups, maps, told):
        twice = lambda x: F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.relu(self.enter(torch.cat([ups[0], maps], 1)))
        fine = F.relu(x + self.fine(x))
        x = F.relu(self.down[0](fine) + self.beside[0](ups[1]))
        middle = F.relu(x + self.middle(x))
        x = F.relu(self.down[1](middle) + self.beside[1](ups[2]) + self.told(told)[:, :, None, None])
        for layer in self.coarse:
            x = F.relu(x + layer(x))
        x = F.relu(self.up[0](F.relu(middle + twice(self.lateral[0](x)))))
        x = F.relu(self.up[1](F.relu(fine + twice(self.lateral[1](x)))))
        return self.out(x)
