#!/usr/bin/env python3
"""Train the same model on the same batches with eftrain and with PyTorch, and compare what they log.

Options that are not listed go to eftrain. Both start from the checkpoint of eftrain --epochs 0 --save;
it also tells PyTorch the model and the hyper-parameters. Exit status 1: out of bounds.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

import energyflow

STEPS, LOSS_BOUND, COS_BOUND, MSE_BOUND = 20, 1e-4, 0.005, 0.03


def run_eftrain(given, folder):
    """The initial checkpoint's path, and the log's lines for steps and for epochs."""
    start, log = folder / "start.safetensors", folder / "log.json"
    command = [given.eftrain, "--data", given.data, "--val", given.val, *given.rest]
    subprocess.run(command + ["--epochs", "0", "--save", str(start)], check=True, stdout=sys.stderr)
    subprocess.run(command + ["--epochs", str(given.epochs), "--init-from", str(start), "--log-json", str(log)],
                   check=True, stdout=sys.stderr)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return start, [x for x in lines if "step" in x], [x for x in lines if "step" not in x]


def read_start(path):
    """Parameters by name, the model's configuration, the run's."""
    import safetensors
    with safetensors.safe_open(path, "pt") as file:
        meta = file.metadata()
        values = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("optim.")}
    return values, json.loads(meta["config"]), json.loads(meta["run"])


class Peer:
    """The run of a checkpoint, in PyTorch."""

    def __init__(self, torch, device, values, config, run):
        import torch_model
        shape = [config[k] for k in ("vocab", "width", "hidden", "taps", "vector", "dilations")]
        self.torch, self.model, self.device, self.trainer = torch, torch_model, device, run["trainer"]
        self.net = torch_model.Encoder(*shape)
        self.net.load_state_dict(values)
        self.net.to(device)
        self.optimizer = torch_model.make_optimizer(self.net, self.trainer["lr"], self.trainer["weight_decay"])

    def give(self, batch):
        ids, mask, target = (self.torch.from_numpy(array) for array in batch)
        return ids.long().to(self.device), mask.long().to(self.device), target.to(self.device)

    def step(self, batch, number, steps):
        t = self.trainer
        low = t["min_lr"] if t["min_lr"] >= 0 else t["lr"] / 100
        rate = self.model.lr_at(number, t["lr"], t["warmup"], max(0, steps - t["warmup"]), low)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        clip = t["clip"] if t["clip"] > 0 else float("inf")
        return self.model.train_step(self.net, self.optimizer, self.give(batch), t["alpha"], t["beta"], clip).item()

    def evaluate(self, loader):
        """Means over the samples of a file: cos, mse."""
        cos = mse = 0.0
        with self.torch.no_grad():
            for batch in loader.epoch(0):
                ids, mask, target = self.give(batch)
                _, batch_mse, batch_cos = self.model.kd_loss(self.net(ids, mask), target, 1, 1)
                mse += batch_mse.item() * len(ids) / loader.size
                cos += batch_cos.item() * len(ids) / loader.size
        return cos, mse


def train_peer(given, start):
    """Losses step by step, held-out cos and mse, samples/s of the last epoch."""
    import torch
    torch.set_num_threads(given.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    values, config, run = read_start(start)
    if run["accum"] != 1 or run["trainer"]["optim"] != 0 or run["trainer"]["scope"] != 0:
        raise RuntimeError("only AdamW on all parameters, a batch a step, can be compared")
    library = energyflow.Library(given.lib)
    train = energyflow.Loader(library, given.data, batch=run["batch"], length=config["length"], shuffle=True,
                              bucket=run["bucket"], seed=run["seed"], vocab=config["vocab"])
    val = energyflow.Loader(library, given.val, batch=64, length=config["length"], vocab=config["vocab"])
    peer = Peer(torch, given.peer_device, values, config, run)
    steps, losses, rate = given.epochs * train.batches, [], 0.0
    for epoch in range(given.epochs):
        began = time.perf_counter()
        for batch in train.epoch(epoch):
            losses.append(peer.step(batch, len(losses), steps))
        rate = train.size / (time.perf_counter() - began)
        print(f"peer: epoch {epoch + 1}, loss {losses[-1]:.4g}, {rate:.0f} samples/s", file=sys.stderr)
    cos, mse = peer.evaluate(val)
    return losses, dict(cos=cos, mse=mse, samples_per_s=rate)


def compare(steps, epochs, losses, peer):
    pairs = list(zip((line["loss"] for line in steps), losses))
    last = epochs[-1]
    ours = dict(cos=last["val_cos"], mse=last["val_mse"], samples_per_s=last["samples_per_s"])
    result = dict(steps=len(steps), loss_difference=max(abs(x / y - 1) for x, y in pairs[:STEPS]),
                  cos_difference=abs(ours["cos"] - peer["cos"]), mse_difference=abs(ours["mse"] / peer["mse"] - 1),
                  speed_ratio=ours["samples_per_s"] / peer["samples_per_s"], ours=ours, peer=peer)
    result["ok"] = (len(steps) == len(losses) and result["loss_difference"] <= LOSS_BOUND
                    and result["cos_difference"] <= COS_BOUND and result["mse_difference"] <= MSE_BOUND)
    return result


def show(result):
    print(f"{'':24}{'eftrain':>12}{'PyTorch':>12}{'apart by':>12}{'at most':>10}")
    print(f"{f'loss of {STEPS} steps':48}{result['loss_difference']:12.2g}{LOSS_BOUND:10g}")
    for key, bound in (("cos", COS_BOUND), ("mse", MSE_BOUND)):
        print(f"{'held-out ' + key:24}{result['ours'][key]:12.5g}{result['peer'][key]:12.5g}"
              f"{result[key + '_difference']:12.2g}{bound:10g}")
    print(f"{'samples/s, last epoch':24}{result['ours']['samples_per_s']:12.0f}{result['peer']['samples_per_s']:12.0f}")
    print("parity holds" if result["ok"] else "PARITY DOES NOT HOLD")


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                allow_abbrev=False)
    a.add_argument("--data", required=True, metavar="FILE.efb")
    a.add_argument("--val", required=True, metavar="FILE.efb")
    a.add_argument("--epochs", type=int, default=1)
    a.add_argument("--json", action="store_true", help="one JSON object")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--eftrain", default=energyflow.default_command("eftrain"), help="the command")
    a.add_argument("--lib", default=energyflow.default_library(), help="libenergyflow.so")
    a.add_argument("--peer-device", default="cpu", help="where PyTorch runs")
    given, given.rest = a.parse_known_args()
    return given


def main():
    given = arguments()
    energyflow.set_environment(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        start, steps, epochs = run_eftrain(given, pathlib.Path(folder))
        result = compare(steps, epochs, *train_peer(given, start))
    if given.json:
        print(json.dumps(result))
    else:
        show(result)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"parity.py: {error}")
