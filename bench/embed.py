#!/usr/bin/env python3
"""Embed a file of texts with efembed and with PyTorch and Hugging Face's tokenizers, by turns.

Both read the file, tokenize, run the same checkpoint's encoder and write a .npy; loading libraries
and model is not counted, for efembed as it says itself: its first texts still wait for kernels,
which --repeat makes less of. PyTorch is warm. It takes batches of texts of like length, as
sentence-transformers does, and in the order of the file; its best way is compared.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

import energyflow
from parity import read_start

TOLERANCE = 1e-4


class Ours:
    def __init__(self, given, output):
        self.command = [given.efembed, "--checkpoint", given.checkpoint, "--output", str(output), given.texts]
        self.output = output

    def __call__(self):
        """Texts a second, as the command says."""
        said = subprocess.run(self.command, check=True, capture_output=True, text=True).stderr
        return float(re.search(r"([0-9.]+) texts/s", said).group(1))


class Peer:
    def __init__(self, given, folder):
        import tokenizers
        import torch
        import torch_model
        torch.set_num_threads(given.threads)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        values, config, _ = read_start(given.checkpoint)
        vocab = folder / "vocab.txt"
        vocab.write_bytes(values.pop("tokenizer.vocab").numpy().tobytes())
        self.tokenizer = tokenizers.BertWordPieceTokenizer(str(vocab), lowercase=True)
        self.tokenizer.enable_truncation(config["length"])
        self.net = torch_model.Encoder(*(config[k] for k in ("vocab", "width", "hidden", "taps", "vector", "dilations")))
        self.net.load_state_dict(values)
        self.device = "cuda" if given.cuda else "cpu"
        self.net.to(self.device).eval()
        self.torch, self.texts, self.output = torch, given.texts, folder / "peer.npy"

    def batch(self, ids):
        longest = max(map(len, ids))
        padded, mask = np.zeros((len(ids), longest), np.int64), np.zeros((len(ids), longest), np.int64)
        for row, text in enumerate(ids):
            padded[row, :len(text)], mask[row, :len(text)] = text, 1
        return [self.torch.from_numpy(a).to(self.device) for a in (padded, mask)]

    def __call__(self, size, by_length):
        began = time.perf_counter()
        lines = pathlib.Path(self.texts).read_text(encoding="utf-8").split("\n")
        ids = [e.ids for e in self.tokenizer.encode_batch(lines[:-1] if lines[-1] == "" else lines)]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i])) if by_length else range(len(ids))
        result = None
        with self.torch.inference_mode():
            for at in range(0, len(ids), size):
                chosen = list(order[at:at + size])
                vectors = self.net(*self.batch([ids[i] for i in chosen])).cpu().numpy()
                if result is None:
                    result = np.empty((len(ids), vectors.shape[1]), np.float32)
                result[chosen] = vectors
        np.save(self.output, result)
        return len(ids) / (time.perf_counter() - began)


def apart(ours, peer):
    ours, peer = np.load(ours).astype(np.float64), np.load(peer).astype(np.float64)
    return float(np.linalg.norm(ours - peer) / np.linalg.norm(peer))


def measure(ours, peer, sizes, rounds):
    """Medians of texts a second, and how far the vectors are apart."""
    ways = {f"{'sorted' if by else 'in order'}, batch {size}": (size, by) for size in sizes for by in (True, False)}
    rates = {way: [] for way in ways}
    mine = []
    ours()
    for way in ways.values():
        peer(*way)
    for _ in range(rounds):
        time.sleep(0.5)  # idle OpenMP threads spin for a while
        mine.append(ours())
        for way, (size, by_length) in ways.items():
            rates[way].append(peer(size, by_length))
    peers = {way: round(statistics.median(rate), 1) for way, rate in rates.items()}
    best = max(peers, key=peers.get)
    return dict(ours_texts_per_s=round(statistics.median(mine), 1), peer_texts_per_s=peers[best], peer=best,
                ratio=round(statistics.median(mine) / peers[best], 3), others=peers,
                difference=float(f"{apart(ours.output, peer.output):.2g}"))


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--checkpoint", required=True, metavar="FILE", help="with its vocabulary (eftrain --vocab)")
    a.add_argument("--texts", required=True, metavar="FILE", help="UTF-8, a text a line")
    a.add_argument("--batch", type=lambda text: [int(word) for word in text.split(",")], default=[32, 64, 128],
                   metavar="B,...", help="PyTorch's batches (default: 32,64,128)")
    a.add_argument("--repeat", type=int, default=4, help="times that the texts are taken (default: 4)")
    a.add_argument("--rounds", type=int, default=5, help="a rate is the median of so many")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--cuda", action="store_true", help="PyTorch runs on cuda")
    a.add_argument("--efembed", default=energyflow.default_command("efembed"), metavar="PATH")
    a.add_argument("--json", action="store_true", help="one JSON object")
    return a.parse_args()


def main():
    given = arguments()
    energyflow.set_environment(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        texts = folder / "texts.txt"
        texts.write_bytes(given.repeat * pathlib.Path(given.texts).read_bytes())
        given.texts = str(texts)
        result = measure(Ours(given, folder / "ours.npy"), Peer(given, folder), given.batch, given.rounds)
    if given.json:
        print(json.dumps(result))
    else:
        for way, rate in result["others"].items():
            print(f"peer, {way:24} {rate:10.1f} texts/s")
        print(f"{'efembed':30} {result['ours_texts_per_s']:10.1f} texts/s   ratio {result['ratio']:.2f}   "
              f"difference {result['difference']}")
    return 0 if result["difference"] <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
