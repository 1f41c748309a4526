#!/usr/bin/env python3
"""Time this library and PyTorch by turns in one run, same threads, each in its own layout.

A line for each item and batch: ours_ms, peer_ms, ratio = peer / ours. PyTorch's convolutions include
F.pad. Ours include packing the weight, as after every optimiser step; kept_ms is without. Every
result is compared before it is timed.
"""
import argparse
import ctypes
import inspect
import json
import statistics
import sys
import time

import numpy as np

import energyflow

MODEL = dict(V=30522, D=256, H=512, K=5, E=768, dilations=(1, 2, 4, 8))
L = 128
TRAINER = dict(alpha=0.5, beta=0.5, lr=1e-4, warmup=0, weight_decay=0.01, clip=1.0)


class Pair:
    """What an item gives: two calls that each wait, how far apart their results are, what to say."""

    def __init__(self, shape, ours, peer, differ, kept=None, samples=None):
        self.shape, self.ours, self.peer, self.differ = shape, ours, peer, differ
        self.kept, self.samples = kept, samples


def apart(ours, peer):
    peer = peer.detach().cpu().numpy().astype(np.float64)
    return float(np.linalg.norm(ours.reshape(peer.shape) - peer) / np.linalg.norm(peer))


class Bench:
    def __init__(self, actor, library, device, torch, compiling=None):
        self.actor, self.library, self.device, self.torch = actor, library, device, torch
        self.compiling = compiling
        self.random = np.random.default_rng(1)

    def normal(self, *shape, scale=1.0):
        return (scale * self.random.standard_normal(shape)).astype(np.float32)

    def peer(self, array, grad=False):
        tensor = self.torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
        return tensor.requires_grad_() if grad else tensor

    def zeros(self, *shape):
        return self.actor.tensor(np.zeros(shape, np.float32))

    def grad(self, y, of, dy):
        """A call of autograd that gives the gradients of some inputs of y, over and over."""
        return lambda: self.torch.autograd.grad(y, of, dy, retain_graph=True)

    def without_grad(self, function):
        def call():
            with self.torch.no_grad():
                return function()
        return call

    def packing(self, weight, call):
        """The call with a weight that counts as new, and without."""
        def packs():
            self.actor.c.ef_tensor_touch(weight)
            call()
        return dict(ours=packs, kept=call)


def conv1d(b, B, what, I=256, O=512, K=5, d=4):
    F, op = b.torch.nn.functional, b.actor.op
    x, w, bias, dy = b.normal(B, L, I), b.normal(O, I, K, scale=0.03), b.normal(O), b.normal(B, L, O)
    px, pw, pb = b.peer(x.transpose(0, 2, 1), True), b.peer(w, True), b.peer(bias, True)
    pdy = b.peer(dy.transpose(0, 2, 1))
    tx, tw, tbias, tdy = (b.actor.tensor(a) for a in (x, w, bias, dy))
    shape = f"L{L} {I}->{O} K{K} d{d}"

    def forward():
        return F.conv1d(F.pad(px, ((K - 1) * d, 0)), pw, pb, dilation=d)

    if what == "forward":
        ty, epilogue = b.zeros(B, L, O), energyflow.Epilogue(bias=tbias)
        return Pair(shape, peer=b.without_grad(forward),
                    differ=lambda: apart(b.actor.read(ty), forward().transpose(1, 2)),
                    **b.packing(tw, lambda: op("conv1d_forward", tx, tw, d,
                                               ctypes.byref(epilogue), ty)))
    y = forward()
    if what == "dx":
        tdx, peer = b.zeros(B, L, I), b.grad(y, (px,), pdy)
        return Pair(shape, peer=peer,
                    differ=lambda: apart(b.actor.read(tdx), peer()[0].transpose(1, 2)),
                    **b.packing(tw, lambda: op("conv1d_dx", tdy, tw, d, None, tdx)))
    tdw, tdb, peer = b.zeros(O, I, K), b.zeros(O), b.grad(y, (pw, pb), pdy)
    return Pair(shape, lambda: op("conv1d_dw", tx, tdy, d, tdw, tdb), peer,
                lambda: max(apart(b.actor.read(t), g) for t, g in zip((tdw, tdb), peer())))


def linear(b, B, what, I=512, O=256):
    F, op, rows = b.torch.nn.functional, b.actor.op, B * L
    x, w, bias, dy = b.normal(rows, I), b.normal(O, I, scale=0.05), b.normal(O), b.normal(rows, O)
    px, pw, pb, pdy = b.peer(x, True), b.peer(w, True), b.peer(bias, True), b.peer(dy)
    tx, tw, tbias, tdy = (b.actor.tensor(a) for a in (x, w, bias, dy))
    shape = f"rows{rows} {I}->{O}"
    if what == "forward":
        ty, epilogue = b.zeros(rows, O), energyflow.Epilogue(bias=tbias)
        return Pair(shape, peer=b.without_grad(lambda: F.linear(px, pw, pb)),
                    differ=lambda: apart(b.actor.read(ty), F.linear(px, pw, pb)),
                    **b.packing(tw, lambda: op("linear_forward", tx, tw, ctypes.byref(epilogue), ty)))
    y = F.linear(px, pw, pb)
    if what == "dx":
        tdx, peer = b.zeros(rows, I), b.grad(y, (px,), pdy)
        return Pair(shape, peer=peer, differ=lambda: apart(b.actor.read(tdx), peer()[0]),
                    **b.packing(tw, lambda: op("linear_dx", tdy, tw, None, tdx)))
    tdw, tdb, peer = b.zeros(O, I), b.zeros(O), b.grad(y, (pw, pb), pdy)
    return Pair(shape, lambda: op("linear_dw", tx, tdy, tdw, tdb), peer,
                lambda: max(apart(b.actor.read(t), g) for t, g in zip((tdw, tdb), peer())))


def layernorm(b, B, what, C=256):
    F, op = b.torch.nn.functional, b.actor.op
    x, gamma, beta, dy = b.normal(B, L, C), 1 + b.normal(C) / 4, b.normal(C), b.normal(B, L, C)
    peers = [b.peer(a, True) for a in (x, gamma, beta)]
    pdy = b.peer(dy)
    tx, tgamma, tbeta, tdy = (b.actor.tensor(a) for a in (x, gamma, beta, dy))
    ty, tmean, trstd, shape = b.zeros(B, L, C), b.zeros(B * L), b.zeros(B * L), f"L{L} {C}"

    def forward():
        return F.layer_norm(peers[0], (C,), peers[1], peers[2], 1e-5)

    def ours():
        op("layernorm_forward", tx, tgamma, tbeta, None, 1e-5, ty, tmean, trstd)

    if what == "forward":
        return Pair(shape, ours, b.without_grad(forward), lambda: apart(b.actor.read(ty), forward()))
    ours()
    grads, peer = (b.zeros(B, L, C), b.zeros(C), b.zeros(C)), b.grad(forward(), peers, pdy)
    return Pair(shape, lambda: op("layernorm_backward", tx, tgamma, tmean, trstd, tdy, None, None, *grads),
                peer, lambda: max(apart(b.actor.read(t), g) for t, g in zip(grads, peer())))


def gelu(b, B, what, C=512):
    F, op = b.torch.nn.functional, b.actor.op
    x, dy = b.normal(B, L, C), b.normal(B, L, C)
    px, pdy, tx, tdy = b.peer(x, True), b.peer(dy), b.actor.tensor(x), b.actor.tensor(dy)
    ty, shape = b.zeros(B, L, C), f"L{L} {C}"

    def forward():
        return F.gelu(px, approximate="tanh")

    if what == "forward":
        return Pair(shape, lambda: op("gelu_forward", tx, ty), b.without_grad(forward),
                    lambda: apart(b.actor.read(ty), forward()))
    peer = b.grad(forward(), (px,), pdy)
    return Pair(shape, lambda: op("gelu_backward", tx, tdy, ty), peer,
                lambda: apart(b.actor.read(ty), peer()[0]))


def both_models(b, kind, length):
    """The same model twice: ours, and PyTorch's with its optimiser."""
    import torch_model
    m = MODEL
    b.torch.manual_seed(1)
    net = getattr(torch_model, kind.capitalize())(*(m[k] for k in "VDHKE"), m["dilations"])
    config = dict(vocab=m["V"], width=m["D"], hidden=m["H"], taps=m["K"], vector=m["E"], length=length)
    ours = energyflow.Model(b.actor, kind, config, TRAINER)
    ours.load({name: q.detach().numpy() for name, q in net.named_parameters()})
    net.to(b.device)
    if b.compiling:
        net.compile(mode=b.compiling)
    optimizer = torch_model.make_optimizer(net, TRAINER["lr"], TRAINER["weight_decay"])

    def step(batch):
        return torch_model.train_step(net, optimizer, batch, *(TRAINER[k] for k in ("alpha", "beta", "clip")))

    return ours, net, step


def for_peer(b, batch):
    ids, mask, target = batch
    return b.peer(ids.astype(np.int64)), b.peer(mask.astype(np.int64)), b.peer(target)


def model(b, B, kind, what):
    ours, net, peer_step = both_models(b, kind, L)
    ids = b.random.integers(1, MODEL["V"], (B, L)).astype(np.int32)
    batch = ids, np.ones((B, L), np.uint8), b.normal(B, MODEL["E"])
    given = for_peer(b, batch)
    shape = f"L{L} " + " ".join(f"{k}{MODEL[k]}" for k in "DHKVE")
    if what == "forward":
        inputs = [b.actor.tensor(array) for array in batch]
        if kind == "encoder":
            inputs, given, result, call = inputs[:2], given[:2], b.zeros(B, MODEL["E"]), ours.encode
        else:
            result, call = b.zeros(B, L, MODEL["V"]), ours.logits
        return Pair(shape, lambda: call(*inputs, result), b.without_grad(lambda: net(*given)),
                    lambda: apart(b.actor.read(result), net(*given)), samples=B)

    def differ():  # the one step before this made both take it; the next three say whether it was the same
        peer_step(given)
        return max(abs(ours.step(batch)["loss"] / peer_step(given).item() - 1) for _ in range(3))

    return Pair(shape, lambda: ours.step(batch), lambda: peer_step(given), differ, samples=B)


def encoder(b, B, what):
    return model(b, B, "encoder", what)


def decoder(b, B, what):
    return model(b, B, "decoder", what)


def train(b, B, path, steps=25):
    """Steps on the batches of a file, in the file's own lengths, no bucketing."""
    loader = energyflow.Loader(b.library, path, batch=B, length=L, shuffle=True, bucket=False, seed=1, vocab=0)
    MODEL.update(E=loader.width, V=max(MODEL["V"], loader.max_id + 1))
    batches = [batch for batch, _ in zip(loader.epoch(0), range(steps))]
    loader.close()
    given = [for_peer(b, batch) for batch in batches]
    ours, _, peer_step = both_models(b, "encoder", L)
    samples = sum(len(batch[0]) for batch in batches)

    def differ():
        for batch in given:
            peer_step(batch)
        return max(abs(ours.step(x)["loss"] / peer_step(y).item() - 1) for x, y in zip(batches, given))

    return Pair(f"{len(batches)} steps", lambda: [ours.step(batch) for batch in batches],
                lambda: [peer_step(batch) for batch in given], differ, samples=samples)


ITEMS = {f"{name}.{what}": (function, what) for name, function, whats in (
    ("conv1d", conv1d, ("forward", "dx", "dw")), ("linear", linear, ("forward", "dx", "dw")),
    ("layernorm", layernorm, ("forward", "backward")), ("gelu", gelu, ("forward", "backward")),
    ("encoder", encoder, ("forward", "step")), ("decoder", decoder, ("forward", "step"))) for what in whats}
TOLERANCE = 1e-4


def time_calls(call, count):
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count * 1e3


def calibrate(call, least_ms=20):
    """Warm up; how many calls the clock sees well."""
    count = 1
    while time_calls(call, count) * count < least_ms:
        count *= 2
    return count


def measure(calls, rounds):
    """The median milliseconds of each call, all taking turns. Whoever was last lets go of the cores
    before the next starts (idle OpenMP threads spin for a while), and a call that is not timed warms up."""
    counts = [calibrate(call) for call in calls]
    times = [[] for _ in calls]
    for _ in range(rounds):
        for call, count, mine in zip(calls, counts, times):
            time.sleep(0.02)
            call()
            mine.append(time_calls(call, count))
    return [statistics.median(mine) for mine in times]


def compare(name, B, pair, b, rounds):
    """One line, as a dict."""
    def peer():
        pair.peer()
        if b.device == "cuda":
            b.torch.cuda.synchronize()

    pair.ours()
    apart_by = pair.differ()
    if not apart_by <= TOLERANCE:
        raise RuntimeError(f"{name}: results differ by {apart_by:.3g}, at most {TOLERANCE:g} is allowed")
    ours_ms, peer_ms, *kept = measure([pair.ours, peer] + [pair.kept] * bool(pair.kept), rounds)
    line = dict(item=name, B=B, shape=pair.shape, ours_ms=round(ours_ms, 4), peer_ms=round(peer_ms, 4),
                ratio=round(peer_ms / ours_ms, 3), difference=float(f"{apart_by:.2g}"))
    if kept:
        line["kept_ms"] = round(kept[0], 4)
    if pair.samples:
        line["ours_samples_per_s"] = round(pair.samples / ours_ms * 1e3, 1)
        line["peer_samples_per_s"] = round(pair.samples / peer_ms * 1e3, 1)
    return line


def show(line, as_json):
    if as_json:
        print(json.dumps(line), flush=True)
        return
    extra = "  ".join(f"{k} {line[k]}" for k in line if k.endswith("per_s") or k == "kept_ms")
    print(f"{line['item']:20} B{line['B']:<4} {line['shape']:34} ours {line['ours_ms']:10.3f} ms   "
          f"peer {line['peer_ms']:10.3f} ms   ratio {line['ratio']:6.2f}   {extra}", flush=True)


def sizes_of(function, sizes):
    """Those of the given sizes that the item has."""
    names = inspect.signature(function).parameters
    return {name: value for name, value in sizes.items() if name in names}


def one_size(text):
    name, value = text.split("=")
    return name, int(value)


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("items", nargs="*", metavar="ITEM", help="prefixes of: " + ", ".join(ITEMS) + ", train; none: all")
    a.add_argument("--json", action="store_true", help="one JSON object a line")
    a.add_argument("--batch", type=lambda text: [int(word) for word in text.split(",")], default=[4, 16],
                   metavar="B,...", help="batch sizes (default: 4,16)")
    a.add_argument("--sizes", default={}, type=lambda text: dict(one_size(word) for word in text.split(",")),
                   metavar="I=N,...", help="of operations: I, O channels, K taps, d dilation, C channels")
    a.add_argument("--compile", metavar="MODE", help="PyTorch's model by torch.compile: default, reduce-overhead ...")
    a.add_argument("--rounds", type=int, default=9, help="a time is the median of so many")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--lib", default=energyflow.default_library(), help="libenergyflow.so")
    a.add_argument("--device", help="as EF_DEVICE; on a GPU PyTorch runs on cuda")
    a.add_argument("--data", metavar="FILE.efb", help="item train: steps on this file's batches of 32")
    given = a.parse_args()
    known = [*ITEMS, "train"] if given.data else [*ITEMS]
    for item in given.items:
        if not any(name.startswith(item) for name in known):
            a.error(f"no item is called {item}" + (" without --data" if item == "train" else ""))
    given.names = [n for n in known if not given.items or n.startswith(tuple(given.items))]
    return given


def main():
    given = arguments()
    energyflow.set_environment(given.threads)
    library = energyflow.Library(given.lib)
    actor = energyflow.Actor(library, given.device)
    import torch
    torch.set_num_threads(given.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    b = Bench(actor, library, "cuda" if actor.is_gpu else "cpu", torch, given.compile)
    print(f"{actor.device}, {given.threads} threads, PyTorch {torch.__version__} on {b.device}", file=sys.stderr)
    for name in given.names:
        function, what = ITEMS.get(name, (train, given.data))
        for B in given.batch if name in ITEMS else [32]:
            pair = function(b, B, what, **sizes_of(function, given.sizes))
            show(compare(name, B, pair, b, given.rounds), given.json)
            del pair
            torch.cuda.empty_cache()  # the device's memory is for both


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, OSError) as error:
        sys.exit(f"compare.py: {error}")
