#!/usr/bin/env python3
"""Make a teacher's vectors of a text file, for `efdata pack --vectors`.

Reads TEXTS, UTF-8 with a text on each line, and writes OUT.npy: float32, C order, a row for each line, in order. An
empty line is a text too. Rows come to lie in the file as they are computed, so memory does not grow with it; OUT.npy
takes its name when all of them are there. With --vocab the teacher's vocabulary is written too, a token a line.

Needs sentence-transformers (pip install sentence-transformers). MODEL is a name on huggingface.co or a folder.

    teacher_vectors.py --model sentence-transformers/all-MiniLM-L6-v2 --vocab vocab.txt train.txt train.npy
    efdata pack --texts train.txt --vectors train.npy --vocab vocab.txt train.efb
"""
import argparse
import os
import sys

import numpy as np


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", metavar="TEXTS", help="UTF-8, a text each line")
    parser.add_argument("out", metavar="OUT.npy")
    parser.add_argument("--model", required=True, help="a sentence-transformers model: its name or folder")
    parser.add_argument("--vocab", metavar="FILE", help="write the teacher's WordPiece vocabulary here, for efdata and eftrain")
    parser.add_argument("--batch", type=int, default=64, help="texts at once (default: 64)")
    parser.add_argument("--device", help="torch's name of a device, such as cuda (default: sentence-transformers' choice)")
    parser.add_argument("--normalize", action="store_true", help="vectors of norm 1")
    return parser.parse_args()


def lines(path):
    """The texts as efdata reads them: without the end of the line, LF or CR LF."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.removesuffix(b"\n").removesuffix(b"\r").decode()
            except UnicodeDecodeError:
                sys.exit(f"{path}:{number}: is not UTF-8")


def batches(items, size):
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def vocabulary(model, name):
    """The tokens by their ids, if they are an uncased BERT's."""
    ids = model.tokenizer.get_vocab()
    if "[UNK]" not in ids or sorted(ids.values()) != list(range(len(ids))):
        sys.exit(f"{name}: its vocabulary is not WordPiece: do without --vocab and take bert-base-uncased's vocab.txt")
    if getattr(model.tokenizer, "do_lower_case", True) is False:
        sys.exit(f"{name}: its vocabulary is cased: do without --vocab and take bert-base-uncased's vocab.txt")
    return sorted(ids, key=ids.get)


def main():
    given = arguments()
    count = sum(1 for _ in lines(given.texts))
    if not count:
        sys.exit(f"{given.texts}: has no texts")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        sys.exit("sentence-transformers is not installed: pip install sentence-transformers")
    model = SentenceTransformer(given.model, device=given.device)
    if given.vocab:
        tokens = vocabulary(model, given.model)
        with open(given.vocab, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(token + "\n" for token in tokens)
    vectors, done, part = None, 0, given.out + ".part"
    for texts in batches(lines(given.texts), 64 * given.batch):
        rows = model.encode(texts, batch_size=given.batch, convert_to_numpy=True, show_progress_bar=False,
                            normalize_embeddings=given.normalize)
        if vectors is None:
            vectors = np.lib.format.open_memmap(part, mode="w+", dtype="<f4", shape=(count, rows.shape[1]))
        vectors[done:done + len(rows)] = rows
        done += len(rows)
        print(f"\r{done} of {count}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    vectors.flush()
    os.replace(part, given.out)


if __name__ == "__main__":
    main()
