#!/usr/bin/env python3
"""What a training step takes beyond the model, ours and PyTorch's: the most memory that the process ever had, minus
what it had before the model was made, minus parameters, gradients and both moments. CPU devices only.

Each side runs in a process of its own; ours twice, because compiling kernels takes memory too.
"""
import argparse
import json
import subprocess
import sys

import numpy as np

import compare
import energyflow

STEPS = 4


def of_process(field):
    """Bytes: VmRSS now, VmHWM at most so far."""
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(field + ":"))


def ours(given, batch):
    library = energyflow.Library(given.lib)
    actor = energyflow.Actor(library)
    m, before = compare.MODEL, of_process("VmRSS")
    config = dict(vocab=m["V"], width=m["D"], hidden=m["H"], taps=m["K"], vector=m["E"], length=compare.L)
    model = energyflow.Model(actor, given.model, config, compare.TRAINER)
    for _ in range(STEPS):
        model.step(batch)
    return before, model.parameters()


def peer(given, batch):
    import torch
    import torch_model
    torch.set_num_threads(given.threads)
    m, before = compare.MODEL, of_process("VmRSS")
    net = getattr(torch_model, given.model.capitalize())(*(m[k] for k in "VDHKE"), m["dilations"])
    t = compare.TRAINER
    optimizer = torch_model.make_optimizer(net, t["lr"], t["weight_decay"])
    ids, mask, target = (torch.from_numpy(array) for array in batch)
    for _ in range(STEPS):
        torch_model.train_step(net, optimizer, (ids.long(), mask.long(), target), t["alpha"], t["beta"], t["clip"])
    return before, sum(q.numel() for q in net.parameters())


def run_side(given):
    energyflow.set_environment(given.threads)
    random, shape = np.random.default_rng(1), (given.batch, compare.L)
    batch = (random.integers(1, compare.MODEL["V"], shape).astype(np.int32), np.ones(shape, np.uint8),
             random.standard_normal((given.batch, compare.MODEL["E"])).astype(np.float32))
    before, parameters = (ours if given.side == "ours" else peer)(given, batch)
    floats = 4 * parameters * np.dtype(np.float32).itemsize
    print(round((of_process("VmHWM") - before - floats) / 2**20, 1))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--model", choices=("encoder", "decoder"), default="decoder")
    a.add_argument("--batch", type=int, default=16)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--json", action="store_true")
    a.add_argument("--lib", default=energyflow.default_library(), help="libenergyflow.so")
    a.add_argument("--side", choices=("ours", "peer"), help="print this side's MiB alone")
    given = a.parse_args()
    if given.side:
        run_side(given)
        return
    _, ours_mib, peer_mib = (
        float(subprocess.run([sys.executable, __file__, *sys.argv[1:], "--side", side], check=True,
                             stdout=subprocess.PIPE, text=True).stdout) for side in ("ours", "ours", "peer"))
    line = dict(item=given.model + ".step", B=given.batch, ours_mib=ours_mib, peer_mib=peer_mib,
                share=round(ours_mib / peer_mib, 3))
    print(json.dumps(line) if given.json else
          f"{line['item']} B{given.batch}: ours {ours_mib} MiB, peer {peer_mib} MiB, share {line['share']}")


if __name__ == "__main__":
    main()
