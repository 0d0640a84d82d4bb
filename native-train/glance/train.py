"""Trains the glance: what catches the eye, what belongs to a clicked thing, what is inside a box.

    python train.py all.npz glance.pt --steps 13000 [--init glance.pt]
`data.py` writes the first file. One thread a process; several do not help on two processors of one core.
"""

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from net import DEVIATION, GRID, MEAN, SIDE, Glance, Heads

BATCH, OTHERS, HELD_OUT = 16, 3, 200
RATE, DECAY = 2e-3, 0.02
LEAST_PIXELS = 150


class Photos:
    def __init__(self, file):
        data = np.load(file)
        self.photos, self.masks, kinds = (torch.from_numpy(data[key]) for key in ("photos", "masks", "kinds"))
        first = torch.nonzero(kinds == 0)[:, 0]
        first = first[torch.randperm(len(first), generator=torch.Generator().manual_seed(1))]
        self.held_out, self.first = first[:HELD_OUT], first[HELD_OUT:]
        self.others = torch.nonzero(kinds != 0)[:, 0]

    def some(self):
        """Indices of a batch."""
        draw = lambda of, count: of[torch.randint(len(of), (count,))]
        others = OTHERS if len(self.others) else 0
        return torch.cat([draw(self.first, BATCH - others), *([draw(self.others, others)] if others else [])])

    def batch(self, index, vary=True):
        """Normalised photos [n, 3, SIDE, SIDE] and masks [n, SIDE, SIDE]."""
        x = self.photos[index].permute(0, 3, 1, 2).float() / 255
        mask = self.masks[index].float()[:, None]
        n = len(index)
        grid = F.affine_grid(crops(n) if vary else torch.eye(2, 3)[None].repeat(n, 1, 1), (n, 1, SIDE, SIDE), align_corners=False)
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
        mask = F.grid_sample(mask, grid, mode="nearest", padding_mode="reflection", align_corners=False)
        return (((colours(x) if vary else x) - MEAN) / DEVIATION).contiguous(memory_format=torch.channels_last), mask[:, 0].round().long()


def crops(n):
    """Crops of half to all of the photo, flipped, stretched and turned a little."""
    between = lambda low, high: torch.empty(n).uniform_(low, high)
    scale, stretch, turn = between(0.5, 1.05), between(-0.2, 0.2).exp(), between(-0.12, 0.12)
    w, h = scale * stretch, scale / stretch
    flip = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0] = torch.stack([w * flip * turn.cos(), -h * turn.sin(), between(-1, 1) * (1 - w).clamp(min=0)], 1)
    theta[:, 1] = torch.stack([w * flip * turn.sin(), h * turn.cos(), between(-1, 1) * (1 - h).clamp(min=0)], 1)
    return theta


def colours(x):
    """Other light: balance, brightness, saturation, contrast."""
    n = len(x)
    each = lambda low, high, channels=1: torch.empty(n, channels, 1, 1).uniform_(low, high)
    grey = x.mean(1, keepdim=True)
    saturation = torch.where(torch.rand(n, 1, 1, 1) < 0.05, torch.zeros(1), each(0.3, 1.3))
    x = (grey + (x - grey) * saturation) * each(0.85, 1.15, 3) * each(0.75, 1.25)
    mean = x.mean((2, 3), keepdim=True)
    return ((x - mean) * each(0.75, 1.25) + mean).clamp(0, 1)


ROWS, COLUMNS = torch.meshgrid((torch.arange(GRID) + 0.5) / GRID, (torch.arange(GRID) + 0.5) / GRID, indexing="ij")


def share(of):
    """Part of every cell."""
    return F.avg_pool2d(of.float()[:, None], SIDE // GRID)[:, 0]


def objects(masks):
    """One object of each mask by chance [n, SIDE, SIDE], and whether there is one."""
    chosen, there = torch.zeros(masks.shape), torch.zeros(len(masks))
    for i, mask in enumerate(masks):
        values = [v for v in mask.unique().tolist() if v not in (0, 128) and (mask == v).sum() > LEAST_PIXELS]
        if values:
            chosen[i] = (mask == values[torch.randint(len(values), (1,)).item()]).float()
            there[i] = 1
    return chosen, there


def clicked(cells):
    """A cell well inside the object, by chance: its row and column."""
    inside = cells > 0.9 * cells.amax((1, 2), keepdim=True)
    place = torch.multinomial(inside.flatten(1).float() + 1e-9, 1)[:, 0]
    return place // GRID, place % GRID


def with_click(seen, row, column):
    there = seen[torch.arange(len(seen)), :, row, column][:, :, None, None].expand_as(seen)
    dx = COLUMNS[None] - (column[:, None, None] + 0.5) / GRID
    dy = ROWS[None] - (row[:, None, None] + 0.5) / GRID
    way = 3 * torch.stack([dx, dy, (dx * dx + dy * dy).sqrt()], 1)
    return torch.cat([seen, there, seen * there, way], 1)


def with_box(seen, chosen):
    """Input of the box's head, and the cells in the object's bounding box."""
    n = len(chosen)
    inside, way = torch.zeros(n, GRID, GRID), torch.zeros(n, 4, GRID, GRID)
    for i in range(n):
        rows, columns = (torch.nonzero(chosen[i].amax(axis))[:, 0] for axis in (1, 0))
        if len(rows) == 0:
            continue
        y0, y1, x0, x1 = (float(v) / SIDE for v in (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
        inside[i] = ((COLUMNS > x0) & (COLUMNS < x1) & (ROWS > y0) & (ROWS < y1)).float()
        u, v = (COLUMNS - x0) / (x1 - x0) * 2 - 1, (ROWS - y0) / (y1 - y0) * 2 - 1
        way[i] = torch.stack([u, v, u * u, v * v]).clamp(-2, 4)
    mean = lambda part: ((seen * part).sum((2, 3)) / part.sum((2, 3)).clamp(min=1))[:, :, None, None].expand_as(seen)
    part = inside[:, None]
    return torch.cat([seen, mean(part), mean(1 - part), way], 1), inside


def loss(logits, wanted, where, there):
    """Cross-entropy, and half of one minus the soft overlap, over the cells `where`."""
    logits = logits[:, 0].float()
    entropy = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * where).sum((1, 2))
    p = logits.sigmoid()
    both, either = ((a * where).sum((1, 2)) for a in (p * wanted, p + wanted - p * wanted))
    each = entropy / where.sum((1, 2)).clamp(min=1) + 0.5 * (1 - (both + 1) / (either + 1))
    return (each * there).sum() / there.sum().clamp(min=1)


def losses(net, heads, x, masks):
    chosen, there = objects(masks)
    cells, everywhere, all_there = share(chosen), torch.ones(len(x), GRID, GRID), torch.ones(len(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        seen = net(x)
    seen = seen.float()
    row, column = clicked(cells)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        by_click = heads.click(with_click(seen, row, column))
        boxed, inside = with_box(seen, chosen)
        by_box = heads.box(boxed)
    eye, things = heads.catches_eye(seen), share((masks != 0) & (masks != 128))
    alike = heads.alike(seen, seen[torch.arange(len(seen)), :, row, column])
    made = {
        "eye": loss(eye, things, everywhere, all_there),
        "kin": loss(alike, cells, everywhere, there),
        "click": loss(by_click, cells, everywhere, there),
        "box": loss(by_box, cells, inside, there),
    }
    return made, {"click": (by_click, cells, everywhere), "box": (by_box, cells, inside), "eye": (eye, things, everywhere)}


def overlap(logits, wanted, where):
    found, wanted = ((logits[:, 0] > 0) * where).float(), (wanted > 0.5).float()
    return ((found * wanted).sum((1, 2)) / (found + wanted - found * wanted).sum((1, 2)).clamp(min=1)).mean().item()


class Averaged:
    """The mean of the latest weights, which is what is kept."""

    def __init__(self, *modules):
        self.modules = modules
        self.means = [{k: v.clone() for k, v in module.state_dict().items()} for module in modules]

    def update(self, step):
        keep = min(0.998, (step + 1) / (step + 20))
        for module, means in zip(self.modules, self.means):
            for key, value in module.state_dict().items():
                if value.is_floating_point():
                    means[key].lerp_(value.float(), 1 - keep)
                else:
                    means[key].copy_(value)

    def check(self, photos):
        """Mean overlaps on photos that are not trained on."""
        net, heads = Glance(), Heads()
        net.load_state_dict(self.means[0])
        heads.load_state_dict(self.means[1])
        net.eval()
        found = {}
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(3)
            for index in photos.held_out.split(20):
                for key, what in losses(net, heads, *photos.batch(index, vary=False))[1].items():
                    found.setdefault(key, []).append(overlap(*what))
        return {key: round(float(np.mean(values)), 4) for key, values in found.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=13_000)
    parser.add_argument("--init")
    args = parser.parse_args()
    torch.set_num_threads(1)
    photos, net, heads = Photos(args.data), Glance().to(memory_format=torch.channels_last), Heads()
    if args.init:
        state = torch.load(args.init)
        net.load_state_dict(state["net"])
        heads.load_state_dict(state["heads"])
    weights = [*net.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    averaged, sums, begun = Averaged(net, heads), {}, time.time()
    for step in range(1, args.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 300) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        made, _ = losses(net, heads, *photos.batch(photos.some()))
        optimizer.zero_grad()
        sum(made.values()).backward()
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        with torch.no_grad():
            averaged.update(step)
        for key, value in made.items():
            sums[key] = sums.get(key, 0) + value.item() / 200
        if step % 200 == 0:
            print(step, f"{time.time() - begun:.0f} s", {key: round(value, 3) for key, value in sums.items()}, flush=True)
            sums = {}
        if step % 2000 == 0 or step == args.steps:
            print("overlap on held-out photos:", averaged.check(photos), flush=True)
            # The prior learns from an early state: see docs/refinement.md.
            for file in (args.out, args.out.replace(".pt", f"-{step}.pt")):
                torch.save({"net": averaged.means[0], "heads": averaged.means[1]}, file)


if __name__ == "__main__":
    main()
