"""Trains the glance (what catches the eye, what belongs to a clicked thing) and the decoder of prompts.

    python train.py all.npz glance.pt --trunk efficientnet-lite0.pth --steps 8000
`data.py` writes the first file; `--trunk` names weights of EfficientNet-Lite0 as PyTorch packages have them,
`--init` a file that this script wrote instead.
"""

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F

from net import DEVIATION, GRID, MEAN, SIDE, Decoder, Glance, Heads
from prompts import deepest, first, further

BATCH, OTHERS, HELD_OUT = 16, 5, 200
RATE, DECAY = 2e-3, 0.02
# Of what is pre-trained.
SLOWER = 0.2
LEAST_PIXELS = 150
# Part of the photos that are seen close by.
CLOSER = 0.5
# Prompts that one photo is asked with, one after the other.
ROUNDS = 3


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
        theta = torch.eye(2, 3)[None].repeat(n, 1, 1)
        if vary:
            theta = crops(n)
            for i in torch.nonzero(torch.rand(n) < CLOSER)[:, 0].tolist():
                theta[i] = closer(self.masks[index[i]], theta[i])
        grid = F.affine_grid(theta, (n, 1, SIDE, SIDE), align_corners=False)
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


def an_object(mask):
    """One object of a mask by chance, where it is; none where there is none of some size."""
    values = [v for v in mask.unique().tolist() if v not in (0, 128) and (mask == v).sum() > LEAST_PIXELS]
    return mask == values[torch.randint(len(values), (1,)).item()] if values else None


def closer(mask, otherwise):
    """A crop around an object by chance, flipped or not; another where there is no object."""
    chosen = an_object(mask)
    if chosen is None:
        return otherwise
    theta, side = torch.zeros(2, 3), mask.shape[0]
    ends = [torch.nonzero(chosen.any(axis))[:, 0][[0, -1]].float() + torch.tensor([0.0, 1.0]) for axis in (0, 1)]
    margin = max(high - low for low, high in ends)
    for axis, (low, high) in enumerate(ends):
        around = margin * torch.empty(2).uniform_(0.08, 0.5)
        low, high = (low - around[0]).clamp(min=0), (high + around[1]).clamp(max=side)
        theta[axis, axis], theta[axis, 2] = (high - low) / side, (low + high) / side - 1
    if torch.rand(()) < 0.5:
        theta[0, 0] = -theta[0, 0]
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


def share(of):
    """Part of every cell."""
    return F.avg_pool2d(of.float()[:, None], SIDE // GRID)[:, 0]


def objects(masks):
    """One object of each mask by chance [n, SIDE, SIDE], and whether there is one."""
    chosen, there = torch.zeros(masks.shape), torch.zeros(len(masks))
    for i, mask in enumerate(masks):
        found = an_object(mask)
        if found is not None:
            chosen[i], there[i] = found.float(), 1
    return chosen, there


def loss(logits, wanted, where, there):
    """Cross-entropy, and half of one minus the soft overlap, over the cells `where`."""
    logits = logits[:, 0].float()
    entropy = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * where).sum((1, 2))
    p = logits.sigmoid()
    both, either = ((a * where).sum((1, 2)) for a in (p * wanted, p + wanted - p * wanted))
    each = entropy / where.sum((1, 2)).clamp(min=1) + 0.5 * (1 - (both + 1) / (either + 1))
    return (each * there).sum() / there.sum().clamp(min=1)


def losses(net, heads, decoder, x, masks, rounds=ROUNDS):
    """Losses, and log odds, truth and cells that count of what is measured."""
    chosen, there = objects(masks)
    cells, everywhere, all_there = share(chosen), torch.ones(len(x), GRID, GRID), torch.ones(len(x))
    # In full precision: the backward pass of convolutions by channel is slower in bfloat16.
    seen, ups = net(x)
    eye, things = heads.catches_eye(seen), share((masks != 0) & (masks != 128))
    kin = heads.kin(seen)
    inside = (cells > 0.9 * cells.amax((1, 2), keepdim=True)).float()
    place, _ = deepest(inside, jitter=4.0)
    there_kin = kin.flatten(2).gather(2, place[:, None, None].expand(-1, kin.shape[1], 1))[..., None]
    alike = heads.alike((kin - there_kin).square().sum(1, keepdim=True))
    made = {
        "eye": loss(eye, things, everywhere, all_there),
        "kin": loss(alike, cells, everywhere, there),
    }
    results = {"eye": (eye, things, everywhere)}
    prompts = first(cells, chosen)
    for at in range(rounds):
        maps, told = prompts.maps(kin, ups[0], heads.scale[1].clamp(min=1e-3))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = decoder(ups, maps, told)
        made[f"round {at}"] = loss(logits, cells, prompts.inside(), there)
        results[f"round {at}"] = (logits, cells, prompts.inside())
        if at + 1 < rounds:
            prompts = further(prompts, logits, cells)
    return made, results


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
        net, heads, decoder = networks = Glance(), Heads(), Decoder()
        for network, means in zip(networks, self.means):
            network.load_state_dict(means)
            network.eval()
        found = {}
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(3)
            for index in photos.held_out.split(20):
                for key, what in losses(net, heads, decoder, *photos.batch(index, vary=False), rounds=5)[1].items():
                    found.setdefault(key, []).append(overlap(*what))
        return {key: round(float(np.mean(values)), 4) for key, values in found.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--init")
    parser.add_argument("--trunk")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    photos, heads = Photos(args.data), Heads()
    net, decoder = (network.to(memory_format=torch.channels_last) for network in (Glance(), Decoder()))
    if args.init:
        state = torch.load(args.init)
        for network, name in ((net, "net"), (heads, "heads"), (decoder, "decoder")):
            network.load_state_dict(state[name])
    if args.trunk:
        net.pretrained(torch.load(args.trunk))
    net.freeze()
    net.train()
    trunk = [weight for part in net.trunk()[1] for weight in part.parameters()]
    of_trunk = {id(weight) for part in net.trunk() for piece in part for weight in piece.parameters()}
    others = [weight for network in (net, heads, decoder) for weight in network.parameters() if id(weight) not in of_trunk]
    groups = [{"params": trunk, "share": SLOWER}, {"params": others, "share": 1.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY)
    weights = [*trunk, *others]
    averaged, sums, begun = Averaged(net, heads, decoder), {}, time.time()
    for step in range(1, args.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * RATE * min(1, step / 300) * (0.5 + 0.5 * math.cos(math.pi * step / args.steps))
        made, _ = losses(net, heads, decoder, *photos.batch(photos.some()))
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
        if step % 1000 == 0 or step == args.steps:
            print("overlap on held-out photos:", averaged.check(photos), flush=True)
            # The prior learns from an early state: see docs/refinement.md.
            for file in (args.out, args.out.replace(".pt", f"-{step}.pt")):
                torch.save(dict(zip(("net", "heads", "decoder"), averaged.means)), file)


if __name__ == "__main__":
    main()
