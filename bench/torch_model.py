"""Encoder and decoder, their losses and their optimiser in PyTorch, under the names that the library's checkpoints use."""
import math

import torch
import torch.nn.functional as F
from torch import nn


class Block(nn.Module):
    def __init__(self, D, H, K, dilation):
        super().__init__()
        self.norm = nn.LayerNorm(D, eps=1e-5)
        self.conv1 = nn.Conv1d(D, H, K, dilation=dilation)
        self.conv2 = nn.Conv1d(H, D, 1)
        self.pad = (K - 1) * dilation

    def forward(self, x, mask):  # x [B,L,D], mask [B,L,1]
        h = F.pad(self.norm(x).transpose(1, 2), (self.pad, 0))
        h = self.conv2(F.gelu(self.conv1(h), approximate="tanh")).transpose(1, 2)
        return (x + h) * mask


class Encoder(nn.Module):
    def __init__(self, V, D, H, K, E, dilations):
        super().__init__()
        self.embedding = nn.Embedding(V, D, padding_idx=0)
        self.blocks = nn.ModuleList(Block(D, H, K, dilation) for dilation in dilations)
        self.proj = nn.Linear(D, E)

    def forward(self, ids, mask):  # both [B,L]
        x, mask = self.embedding(ids), mask.unsqueeze(-1).to(self.proj.weight.dtype)
        for block in self.blocks:
            x = block(x, mask)
        return self.proj((x * mask).sum(1) / mask.sum(1).clamp(min=1e-9))


class Decoder(nn.Module):
    def __init__(self, V, D, H, K, E, dilations):
        super().__init__()
        self.embedding = nn.Embedding(V, D, padding_idx=0)
        self.cond = nn.Linear(E, D)
        self.blocks = nn.ModuleList(Block(D, H, K, dilation) for dilation in dilations)
        self.out = nn.Linear(D, V)

    def forward(self, ids, mask, z):
        x, mask = self.embedding(ids) + self.cond(z)[:, None], mask.unsqueeze(-1).to(z.dtype)
        for block in self.blocks:
            x = block(x, mask)
        return self.out(x)


def ce_loss(logits, ids, mask):
    """Of the next ids, where they are not masked."""
    target = F.pad(ids[:, 1:].masked_fill(mask[:, 1:] == 0, -100), (0, 1), value=-100)
    return F.cross_entropy(logits.flatten(0, 1), target.flatten())


def kd_loss(y, target, alpha, beta):
    """loss, mse, cos"""
    mse = ((y - target) ** 2).mean()
    norms = y.norm(dim=1).clamp(min=1e-6) * target.norm(dim=1).clamp(min=1e-6)
    cos = ((y * target).sum(1) / norms).mean()
    return beta * mse + alpha * (1 - cos), mse, cos


def make_optimizer(net, lr, weight_decay):
    matrices = [q for q in net.parameters() if q.dim() >= 2]
    others = [q for q in net.parameters() if q.dim() < 2]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": weight_decay},
                              {"params": others, "weight_decay": 0.0}],
                             lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def loss_of(net, batch, alpha, beta):
    ids, mask, vectors = batch
    if isinstance(net, Decoder):
        return ce_loss(net(ids, mask, vectors), ids, mask)
    return kd_loss(net(ids, mask), vectors, alpha, beta)[0]


def train_step(net, optimizer, batch, alpha, beta, clip):
    """One step on (ids, mask, vectors); the loss before the update, still on the device."""
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(net, batch, alpha, beta)
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), clip)
    optimizer.step()
    return loss


def lr_at(step, base, warmup, decay, low):
    if step < warmup:
        return max(low, base * (step + 1) / warmup)
    part = min(step - warmup, decay) / decay if decay else 0
    return low + (base - low) * 0.5 * (1 + math.cos(math.pi * part))
