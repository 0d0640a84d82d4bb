"""Prompts on cells, as they are simulated in training, and the maps that the decoder sees of them."""

import torch
import torch.nn.functional as F

from net import GRID

# Clicks and points of a scribble at most.
MOST = 16
# Squared distance beyond which nothing is kin.
FARTHEST = 16.0

ROWS, COLUMNS = torch.meshgrid(torch.arange(GRID) + 0.5, torch.arange(GRID) + 0.5, indexing="ij")


class Prompts:
    """Of a batch: marked cells with their signs, a box, and what came of the prompts before."""

    def __init__(self, n):
        self.cells = torch.zeros(n, MOST, dtype=torch.long)
        self.signs = torch.zeros(n, MOST)
        self.boxes = torch.zeros(n, 4)
        self.boxed = torch.zeros(n)
        self.earlier = torch.zeros(n, GRID, GRID)

    def mark(self, i, cell, sign):
        free = torch.nonzero(self.signs[i] == 0)[:, 0]
        if len(free):
            self.cells[i, free[0]], self.signs[i, free[0]] = cell, sign

    def maps(self, seen, finest, scale):
        """[n, MAPS, GRID, GRID], and what was seen under either sign and in the box [n, 3 channels].

        `seen` [n, KIN, GRID, GRID] are the numbers of kin, `finest` what the glance saw on its finest scale.
        """
        n = len(self.cells)
        row, column = (self.cells // GRID + 0.5), (self.cells % GRID + 0.5)
        away = ((ROWS[None, None] - row[:, :, None, None]) ** 2 + (COLUMNS[None, None] - column[:, :, None, None]) ** 2).sqrt()
        under = lambda of: of.flatten(2).gather(2, self.cells[:, None].expand(n, of.shape[1], MOST))
        there, flat, finest_there = under(seen), seen.flatten(2), under(finest)
        kin = there.square().sum(1)[:, :, None] + flat.square().sum(1)[:, None] - 2 * there.transpose(1, 2) @ flat
        kin = scale * kin.clamp(min=0).view(n, MOST, GRID, GRID)
        maps, told = [], []
        for sign in (1, -1):
            of = (self.signs == sign)[:, :, None, None]
            least = torch.where(of, away, 1e3).amin(1)
            near = torch.where(of, kin, FARTHEST).amin(1).clamp(max=FARTHEST)
            any_of = of.any(1).float()
            maps += [torch.exp(-((least / 1.5) ** 2)), ((least.clamp(max=GRID) + 1).log() / 2 - 1) * any_of, (1 - near / 4) * any_of]
            share = (self.signs == sign).float()
            told.append((finest_there * share[:, None]).sum(2) / share.sum(1, keepdim=True).clamp(min=1))
        x0, y0, x1, y1 = (self.boxes[:, k, None, None] for k in range(4))
        on = self.boxed[:, None, None]
        u = (2 * (COLUMNS[None] - x0) / (x1 - x0).clamp(min=1) - 1).abs().clamp(max=2) * on
        v = (2 * (ROWS[None] - y0) / (y1 - y0).clamp(min=1) - 1).abs().clamp(max=2) * on
        inside = ((u <= 1) & (v <= 1)).float() * on
        told.append((finest * inside[:, None]).sum((2, 3)) / inside.sum((1, 2)).clamp(min=1)[:, None])
        known = self.earlier.abs().amax((1, 2), keepdim=True).expand_as(self.earlier)
        maps += [inside, u, v, on.expand_as(u), self.earlier, known]
        return torch.stack(maps, 1), torch.cat(told, 1)

    def inside(self):
        """Cells in the box, all without one."""
        x0, y0, x1, y1 = (self.boxes[:, k, None, None] for k in range(4))
        within = (COLUMNS > x0) & (COLUMNS < x1) & (ROWS > y0) & (ROWS < y1)
        return torch.where(self.boxed[:, None, None] > 0, within.float(), torch.ones(1))


def depth(mask):
    """How deep cells lie in a mask [n, GRID, GRID] of 0 and 1, up to 8."""
    total, x = torch.zeros_like(mask), mask.clone()
    for at in range(8):
        total += x
        # By turns with and without the diagonals: nearly round.
        if at % 2:
            x = -F.max_pool2d(-x[:, None], 3, 1, 1)[:, 0]
        else:
            across = -F.max_pool2d(-x[:, None], (1, 3), 1, (0, 1))[:, 0]
            x = torch.minimum(across, -F.max_pool2d(-x[:, None], (3, 1), 1, (1, 0))[:, 0])
        x = x * mask
    return total


def deepest(mask, jitter=0.7):
    """The cell deepest in each mask, nearly, and how deep it is."""
    here = depth(mask)
    value, place = ((here + jitter * torch.rand_like(here)) * mask).flatten(1).max(1)
    return place, value


def bounds(chosen):
    """Bounding boxes in cells [n, 4] of masks [n, side, side]."""
    n, side = len(chosen), chosen.shape[-1]
    boxes = torch.zeros(n, 4)
    for i in range(n):
        rows, columns = (torch.nonzero(chosen[i].amax(axis))[:, 0] for axis in (1, 0))
        if len(rows):
            boxes[i] = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * (GRID / side)
    return boxes


def first(cells, chosen):
    """How a person begins: a click, a box, a scribble, or a box and a click."""
    n = len(cells)
    prompts, kind = Prompts(n), torch.rand(n)
    half = (cells >= 0.5 * cells.amax((1, 2), keepdim=True)).float()
    middle, _ = deepest(half)
    anywhere = torch.multinomial(half.flatten(1) + 1e-9, 6, replacement=True)
    boxes = bounds(chosen)
    for i in range(n):
        if kind[i] < 0.5 or kind[i] > 0.93:
            prompts.mark(i, middle[i] if torch.rand(()) < 0.6 else anywhere[i, 0], 1)
        elif kind[i] < 0.6:
            for cell in anywhere[i]:
                prompts.mark(i, cell, 1)
        if kind[i] >= 0.6:
            x0, y0, x1, y1 = boxes[i]
            size = torch.stack([x1 - x0, y1 - y0, x1 - x0, y1 - y0])
            jitter = 0.03 if torch.rand(()) < 0.7 else 0.1
            prompts.boxes[i] = boxes[i] + jitter * size * torch.randn(4).clamp(-2, 2)
            prompts.boxed[i] = 1
    return prompts


def further(prompts, logits, cells):
    """A click on what is wrong, the result so far known; a box alone is sometimes only looked at again."""
    found = (logits[:, 0].detach().float() > 0).float() * prompts.inside()
    wanted = (cells > 0.5).float()
    missing, wrong = deepest(wanted * (1 - found)), deepest(found * (1 - wanted))
    # The backward pass still needs those of the round before.
    prompts.cells, prompts.signs, prompts.earlier = prompts.cells.clone(), prompts.signs.clone(), 2 * found - 1
    for i in range(len(cells)):
        alone = prompts.boxed[i] > 0 and not prompts.signs[i].any()
        if alone and torch.rand(()) < 0.4:
            continue
        (place, depth), sign = (missing, 1) if missing[1][i] >= wrong[1][i] else (wrong, -1)
        if depth[i] > 0:
            prompts.mark(i, place[i], sign)
    return prompts
