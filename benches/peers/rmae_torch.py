"""A plain PyTorch R-MAE of the same sizes, for speed and memory next to ours.

Written from the papers and the project's own notes on shapes. Prints one JSON line:
    python benches/peers/rmae_torch.py --preset ti --batch 64 --steps 3
    python benches/peers/rmae_torch.py --preset ti --encode --steps 20
    python benches/peers/rmae_torch.py --preset b --device cuda --amp --compile
With --turns it waits for a line with a number before that many runs, and prints a JSON line for each.
Needs: pip install torch
"""

import argparse
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

PRESETS = {
    # width, depth, heads, decoder width, decoder depth, decoder heads, neck depth, patch
    "ti": (192, 12, 3, 192, 4, 6, 4, 16),
    "s": (384, 12, 6, 256, 4, 8, 8, 16),
    "b": (768, 12, 12, 512, 8, 16, 8, 16),
}


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(n, t, d))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def stack(dim, heads, depth):
    return nn.Sequential(*[Block(dim, heads) for _ in range(depth)])


def gather(x, ids):
    return x.gather(1, ids.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


class RMae(nn.Module):
    def __init__(self, preset, side=224, regions=8, dr=128, heads_r=8):
        super().__init__()
        d, depth, heads, dd, ddepth, dheads, neck, p = PRESETS[preset]
        self.p, self.k, self.l = p, regions, (side // p) ** 2
        self.patch_embed = nn.Conv2d(3, d, p, p)
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, self.l + 1, d) * 0.02, requires_grad=False)
        self.blocks, self.norm = stack(d, heads, depth), nn.LayerNorm(d, eps=1e-6)
        self.decoder_embed, self.mask_token = nn.Linear(d, dd), nn.Parameter(torch.zeros(1, 1, dd))
        self.decoder_pos = nn.Parameter(torch.randn(1, self.l + 1, dd) * 0.02, requires_grad=False)
        self.decoder, self.decoder_norm = stack(dd, dheads, ddepth), nn.LayerNorm(dd, eps=1e-6)
        self.decoder_pred = nn.Linear(dd, 3 * p * p)
        self.region_embed = nn.Conv2d(1, dr, p, p)
        self.region_pos = nn.Parameter(torch.randn(1, self.l, dr) * 0.02, requires_grad=False)
        self.region_enc = stack(dr, heads_r, 1)
        self.region_proj = nn.Sequential(nn.LayerNorm(dr, eps=1e-6), nn.Linear(dr, dr))
        self.neck_embed, self.neck_token = nn.Linear(d, dr), nn.Parameter(torch.zeros(1, 1, dr))
        self.neck_pos = nn.Parameter(torch.randn(1, self.l + 1, dr) * 0.02, requires_grad=False)
        self.neck, self.neck_norm = stack(dr, heads_r, neck), nn.LayerNorm(dr, eps=1e-6)
        self.q_norm, self.q_attn = nn.LayerNorm(dr, eps=1e-6), Attention(dr, heads_r)
        self.memory_proj, self.norm3 = nn.Linear(dr, dr), nn.LayerNorm(dr, eps=1e-6)
        self.region_mlp = nn.Sequential(nn.Linear(dr, dr), nn.GELU(), nn.Linear(dr, dr))
        self.region_pred = nn.Sequential(nn.GELU(), nn.Linear(dr, p * p))

    def restore(self, x, token, ids_restore):
        b, t, d = x.shape
        tail = torch.cat([x[:, 1:], token.expand(b, self.l + 1 - t, d)], 1)
        return torch.cat([x[:, :1], gather(tail, ids_restore)], 1)

    def encode(self, image):
        """Every patch of a photo, and the class token, through the encoder."""
        x = self.patch_embed(image).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        x = torch.cat([(self.cls + self.pos[:, :1]).expand(image.shape[0], -1, -1), x], 1)
        return self.norm(self.blocks(x))

    def forward(self, image, regions, ids):
        b, p, l = image.shape[0], self.p, self.l
        keep = ids[:, : l // 4]
        restore = ids.argsort(1)
        mask = torch.ones(b, l, device=image.device)
        mask.scatter_(1, keep, 0)
        x = self.patch_embed(image).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        x = torch.cat([(self.cls + self.pos[:, :1]).expand(b, -1, -1), gather(x, keep)], 1)
        latent = self.norm(self.blocks(x))
        y = self.restore(self.decoder_embed(latent), self.mask_token, restore) + self.decoder_pos
        pred = self.decoder_pred(self.decoder_norm(self.decoder(y)))[:, 1:]
        g = image.shape[-1] // p
        target = image.view(b, 3, g, p, g, p).permute(0, 2, 4, 3, 5, 1).reshape(b, l, -1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        mae = (((pred - target) ** 2).mean(-1) * mask).sum() / mask.sum()
        k = self.k
        r = self.region_embed(regions.view(b * k, 1, *image.shape[-2:]) - 0.5).flatten(2).transpose(1, 2)
        r = gather(r + self.region_pos, keep.repeat_interleave(k, 0))
        q = self.region_proj(self.region_enc(r).mean(1)).view(b, k, -1)
        memory = self.neck_norm(self.neck(self.restore(self.neck_embed(latent), self.neck_token, restore) + self.neck_pos))
        q = q + self.q_attn(self.q_norm(q))
        x = q.unsqueeze(2) + self.memory_proj(memory).unsqueeze(1)
        logits = self.region_pred(self.region_mlp(self.norm3(x)))[:, :, 1:]
        truth = regions.view(b, k, g, p, g, p).permute(0, 1, 2, 4, 3, 5).reshape(b, k, l, p * p)
        bce = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(-1).mean(1)
        return mae + (bce * mask).sum() / mask.sum()


def autocast(args):
    """f16 where PyTorch's mixed precision takes it, with --amp."""
    return torch.autocast(args.device, torch.float16, enabled=args.amp)


def encoder(model, args):
    """A function that encodes one photo."""
    image = torch.randn(1, 3, 224, 224, device=args.device)
    encode = torch.compile(model.encode) if args.compile else model.encode

    def run():
        with torch.inference_mode(), autocast(args):
            encode(image)
        if args.device == "cuda":
            torch.cuda.synchronize()

    return run


def trainer(model, args):
    """A function that does one training step and returns the loss."""
    step_fn = torch.compile(model) if args.compile else model
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1.5e-4, (0.9, 0.95), 1e-8, 0.05)
    scaler = torch.amp.GradScaler(args.device, enabled=args.amp)
    image = torch.randn(args.batch, 3, 224, 224)
    regions = (torch.rand(args.batch, 8, 224, 224) > 0.5).float()
    ids = torch.stack([torch.randperm(model.l) for _ in range(args.batch)]).to(args.device)

    def run():
        # Photos and regions come from the processor at every step, as in ours.
        with autocast(args):
            loss = step_fn(image.to(args.device), regions.to(args.device), ids)
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    return run


def measure(run, runs):
    seconds, losses = [], []
    for _ in range(runs):
        start = time.perf_counter()
        losses.append(run())
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "losses": losses}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--preset", default="ti", choices=PRESETS)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--encode", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--turns", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--amp", action="store_true", help="PyTorch's mixed precision")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model = RMae(args.preset).to(args.device)
    run = encoder(model, args) if args.encode else trainer(model, args)
    if args.turns:
        for line in sys.stdin:
            print(json.dumps(measure(run, int(line))), flush=True)
        return
    measured = measure(run, args.steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peer": "pytorch " + torch.__version__, "preset": args.preset, "batch": args.batch,
                      **measured, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
