#!/usr/bin/env python3
"""Write the files that tests/test_golden reads: models trained for 20 steps by PyTorch in double precision.

usage: make_golden.py OUTDIR [SEED]     (needs torch and safetensors; the files here were made with seed 11)

A file has the parameters at the start as param.NAME, a batch (ids, mask, an encoder's target or a decoder's z), its
output, the first step's gradients as grad.NAME, the parameters after the last step as after.NAME, and log [steps,5]:
loss, mse or ce, cos or ce, gradient norm before clipping, learning rate. Shapes and hyper-parameters are JSON in the
metadata, under "config". The models are those of bench/torch_model.py.
"""
import json, math, pathlib, sys
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
from torch_model import Decoder, Encoder

SHAPES = {  # B, L, V, D, H, K, E, dilations
    "one": (1, 1, 5, 4, 4, 1, 1, [1]),
    "odd": (2, 9, 37, 7, 11, 3, 5, [1, 2]),
    "small": (3, 17, 101, 32, 64, 5, 24, [1, 2, 4, 8]),
}
HYPER = dict(lr=2e-3, weight_decay=0.01, clip=1.0, warmup=5, decay=15, min_lr=1e-4, alpha=0.7, beta=1.3, steps=20)


def ce_loss(logits, ids, mask):
    """Mean over the positions whose next one is not masked; 0 where there is none."""
    counted = F.pad(mask[:, 1:] > 0, (0, 1))
    if not counted.any():
        return 0 * logits.sum()
    return F.cross_entropy(logits[counted], F.pad(ids[:, 1:], (0, 1))[counted])


def kd_loss(y, t):
    mse = ((y - t) ** 2).mean()
    cos = ((y * t).sum(1) / (y.norm(dim=1).clamp(min=1e-6) * t.norm(dim=1).clamp(min=1e-6))).mean()
    return HYPER["beta"] * mse + HYPER["alpha"] * (1 - cos), mse, cos


def rate(step):
    base, low, warmup, decay = (HYPER[k] for k in ("lr", "min_lr", "warmup", "decay"))
    if step < warmup:
        return max(low, base * (step + 1) / warmup)
    return low + (base - low) * 0.5 * (1 + math.cos(math.pi * min(step - warmup, decay) / decay))


@torch.no_grad()
def busy_start(net):
    """Values that float32 holds exactly, far enough from 0 and 1 that every gradient matters."""
    for name, p in net.named_parameters():
        if "norm.weight" in name:
            p.copy_((1 + 0.2 * torch.randn_like(p)).float())
        elif p.dim() < 2:
            p.copy_((0.1 * torch.randn_like(p)).float())
        else:
            fan_in = 4 if "embedding" in name else p[0].numel()
            p.copy_((torch.randn_like(p) / math.sqrt(fan_in)).float())


def random_batch(B, L, V, E):
    lengths = torch.tensor([L] + [int(n) for n in torch.randint(1, L + 1, (B - 1,))])
    mask = (torch.arange(L)[None] < lengths[:, None]).long()
    return torch.randint(1, V, (B, L)) * mask, mask, torch.randn(B, E).float().double()


def run(net, ids, mask, vectors):
    """output, loss, and the two metrics of the log"""
    if isinstance(net, Decoder):
        y = net(ids, mask, vectors)
        loss = ce_loss(y, ids, mask)
        return y, loss, loss, loss
    y = net(ids, mask)
    return y, *kd_loss(y, vectors)


def train(net, ids, mask, vectors, out):
    groups = [{"params": [p for p in net.parameters() if p.dim() >= 2], "weight_decay": HYPER["weight_decay"]},
              {"params": [p for p in net.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    opt, log = torch.optim.AdamW(groups, lr=HYPER["lr"]), []
    for step in range(HYPER["steps"]):
        opt.zero_grad()
        y, loss, second, third = run(net, ids, mask, vectors)
        loss.backward()
        if step == 0:
            out["output"] = y.detach().float()
            out.update({f"grad.{n}": p.grad.float() for n, p in net.named_parameters()})
        norm = nn.utils.clip_grad_norm_(net.parameters(), HYPER["clip"], foreach=False)
        for group in opt.param_groups:
            group["lr"] = rate(step)
        opt.step()
        log.append([loss.item(), second.item(), third.item(), norm.item(), rate(step)])
    return torch.tensor(log, dtype=torch.float64)


def make(path, kind, seed, B, L, V, D, H, K, E, dilations):
    torch.manual_seed(seed)
    net = {"encoder": Encoder, "decoder": Decoder}[kind](V, D, H, K, E, dilations).double()
    busy_start(net)
    ids, mask, vectors = random_batch(B, L, V, E)
    out = {"ids": ids.int(), "mask": mask.to(torch.uint8), "target" if kind == "encoder" else "z": vectors.float()}
    out.update({f"param.{n}": p.detach().float() for n, p in net.named_parameters()})
    out["log"] = train(net, ids, mask, vectors, out)
    out.update({f"after.{n}": p.detach().float() for n, p in net.named_parameters()})
    config = dict(kind=kind, B=B, L=L, V=V, D=D, H=H, K=K, E=E, dilations=dilations, eps=1e-5,
                  log="loss, mse|ce, cos|ce, gradient norm before clipping, lr", **HYPER)
    save_file({k: v.contiguous() for k, v in out.items()}, path, metadata={"config": json.dumps(config)})


if len(sys.argv) < 2:
    sys.exit(__doc__)
for name, shape in SHAPES.items():
    for kind in ("encoder", "decoder"):
        make(f"{sys.argv[1]}/{kind}_{name}.safetensors", kind, int(sys.argv[2]) if len(sys.argv) > 2 else 11, *shape)
