#!/usr/bin/env python3
"""What Hugging Face's tokenizers makes of texts, for tests/test_wordpiece and tests/test_words.

usage: make_wordpiece.py OUTDIR [SEED]     (needs tokenizers; the files here were made by 0.23.3 with seed 11)

vocab.txt        the vocabulary of tests/sample, pieces of it, and single characters of many scripts
golden.jsonl     a text a line, or its bytes in hex, which need not be UTF-8; its ids, and what they are decoded to
code_points.txt  for each 4096 code points: the SHA-256 of the words of "A", c, U+302E, c, "b" of every c
"""
import hashlib, json, os, random, sys
from tokenizers import BertWordPieceTokenizer, normalizers, pre_tokenizers

BLOCKS = [(0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x4ff), (0x590, 0x5ff), (0x600, 0x6ff),
          (0x8c0, 0x8ff), (0x900, 0x97f), (0xe00, 0xe7f), (0x1e00, 0x1eff), (0x2000, 0x206f), (0x20a0, 0x20bf),
          (0x2100, 0x214f), (0x2460, 0x24ff), (0x3000, 0x30ff), (0x4e00, 0x4e40), (0xac00, 0xac7f), (0xf900, 0xf940),
          (0xfe00, 0xfe2f), (0xff00, 0xffef), (0x11430, 0x1146f), (0x1d160, 0x1d180), (0x1f300, 0x1f340),
          (0x1d400, 0x1d4ff), (0x1e000, 0x1e02f), (0x20000, 0x20020), (0x2f800, 0x2f820)]
TEXTS = ["", " ", "\t\n\r", "\u00a0x\u3000y", "don't", "U.S.A.", "a" * 100, "a" * 101, "\u00e9" * 100, "\u00e9" * 101,
         "\uac01" * 33, "\uac01" * 34, "b" * 250, "\u302e" * 150, "\u0130stanbul", "stra\u00dfe", "\u01c5",
         "na\u00efve caf\u00e9", "e\u0301", "\ufb01ne", "\u4f60\u597d a\u4e00b\u4e01\u4e02", "\ufffd\x00x", "\x7f\x01y",
         "\u200bzero\u200dwidth", "[CLS] [MASK] [sep] [UNK]", "a[MASK]b", "[[MASK]]", "[MASK", "[MA\u0301SK]", "[MASK]\u0301",
         "[PAD][PAD] [SEP]x", "3.14e-10", "\U0001f600\U0001f44d\U0001f3fd", "\u0627\u0644\u0639", "\u05e9\u05b8\u05dc",
         "\u1e9e", "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3",
         "x\u2028y\u2029z\u0085w\x0bv", "a\u00adb", "##ing ##", "\u2019quote\u2018", "$100\u20ac", "C++ C# a_b-c",
         "a \u2260 b", "\u212a", "\u1fef\u037e\u0387", "a\u302e\U0001d165\u08d4b", "\u166d\u1734\U000111c9"]
BYTES = [b"a\xe2\x28b", b"\xf0\x9f\x92x", b"\xed\xa0\x80a", b"\xc0\xafa", b"a\xf4\x90\x80\x80b", b"[MA\xffSK]", b"a\xe2\x82",
         b"a\xff", b"\x80", b"\xf8\x88\x80\x80\x80", b"\xe0\x80\xafa", b"\xf0\x80\x80\xafa", b"a\xc3\xc3\xa9b",
         b"a\0b\0", b"\xe2[MASK]", b"a\xe2\x80[SEP]", b"a\xef\xbf\xbdb"]
outdir, rng = sys.argv[1], random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 11)
sample = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../sample")


def lines(path):
    return open(path, encoding="utf8").read().splitlines()


def hostile():
    out = []
    for _ in range(rng.randint(1, 8)):
        low, high = rng.choice(BLOCKS)
        out.append("".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 6))))
    return rng.choice([" ", "", "\t"]).join(out)


def bytes_of(text):
    """Spoilt UTF-8: some bytes gone or replaced."""
    data = bytearray(text.encode())
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        data[at:at + rng.randint(0, 2)] = bytes(rng.choice([rng.randrange(256), rng.randrange(0xc0, 0x100)])
                                                for _ in range(rng.randint(0, 2)))
    return bytes(data)


def make_vocabulary(normalise):
    tokens = dict.fromkeys(lines(os.path.join(sample, "vocab.txt")))
    words = [t for t in tokens if t.isalpha() and len(t) > 3]
    for word in words:
        at, end = sorted(rng.sample(range(len(word) + 1), 2))
        tokens["##" * (at > 0) + word[at:end]] = None
    for low, high in BLOCKS:
        for c in range(low, high + 1):
            for part in normalise(chr(c)).split():
                for piece in part:
                    tokens[piece] = None
                    if rng.random() < .7:  # words without them are unknown
                        tokens["##" + piece] = None
    path = os.path.join(outdir, "vocab.txt")
    open(path, "w", encoding="utf8").write("\n".join(tokens) + "\n")
    return path


def make_golden(path, vocabulary):
    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
    sentences = lines(os.path.join(sample, "sample.txt"))
    texts = TEXTS + rng.sample(sentences, 100) + [s.upper() + hostile() for s in rng.sample(sentences, 60)]
    texts += [hostile() for _ in range(300)]
    broken = BYTES + [bytes_of(hostile()) for _ in range(150)]
    with open(path, "w") as f:
        for source in texts + broken:
            whole = isinstance(source, str)
            ids = tokenizer.encode(source if whole else source.decode("utf-8", errors="replace")).ids
            line = {"text": source} if whole else {"hex": source.hex()}
            f.write(json.dumps({**line, "ids": ids, "decoded": tokenizer.decode(ids)}, ensure_ascii=True) + "\n")


def make_code_points(path, normalise):
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    with open(path, "w") as f:
        for first in range(0, 0x110000, 0x1000):
            sha = hashlib.sha256()
            for c in range(first, first + 0x1000):
                if not 0xd800 <= c < 0xe000:
                    words = split(normalise("A%c\u302e%cb" % (c, c)))
                    sha.update("".join(w + " " for w, _ in words).encode() + b"\n")
            f.write("%06x %s\n" % (first, sha.hexdigest()[:16]))


bert = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
make_golden(os.path.join(outdir, "golden.jsonl"), make_vocabulary(bert.normalize_str))
make_code_points(os.path.join(outdir, "code_points.txt"), bert.normalize_str)
