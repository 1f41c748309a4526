#!/usr/bin/env python3
"""bert_unicode.h: where BERT's uncased normaliser does not go by today's Unicode.
usage: make_bert_unicode.py > bert_unicode.h

Hugging Face's tokenizers has categories of Unicode 8, decompositions and their order of Unicode 9, and lower case
of Unicode 17. This compares them, code point by code point, with utf8proc and with unicodedata2 (the newest Unicode,
so that the tables stay right with a newer utf8proc). Needs tokenizers, unicodedata2 and libutf8proc."""
import ctypes
import unicodedata2
from tokenizers import normalizers, pre_tokenizers

utf8proc = ctypes.CDLL("libutf8proc.so.2")
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
CANONICAL = 1 << 4 | 1 << 1

normaliser = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True)
splitter = pre_tokenizers.BertPreTokenizer()


def category(c):
    return utf8proc.utf8proc_category_string(c).decode()


def decompose(c):
    out, state = (ctypes.c_int32 * 32)(), ctypes.c_int(0)
    return list(out[:utf8proc.utf8proc_decompose_char(c, out, 32, CANONICAL, ctypes.byref(state))])


def newest_category(c):
    return unicodedata2.category(chr(c))


def newest_decompose(c):
    return [ord(part) for part in unicodedata2.normalize("NFD", chr(c))]


def by_unicode(c, category, decompose):
    """(text, is it punctuation) of a code point, by these."""
    parts = decompose(c)
    if category(c) in ("Cc", "Cf", "Co", "Mn"):
        return "", False
    first = chr(parts[0])
    point = category(parts[0])[0] == "P" or first.isascii() and first.isprintable() and not first.isalnum()
    return "".join(chr(utf8proc.utf8proc_tolower(p)) for p in parts if category(p) != "Mn"), point


def by_bert(c):
    text = normaliser.normalize_str(chr(c))
    return text, text != " " and len(splitter.pre_tokenize_str("a" + text + "a")) == 3


def exceptions():
    """Rows [first, last, kind, distance to the lower case]: runs of equal code points, from one exception to the
    last. Of several characters, no exceptions are known."""
    rows, row = [], None
    for c in range(0x80, 0x110000):
        if 0xd800 <= c < 0xe000:
            continue
        bert = text, point = by_bert(c)
        gone = "MARK" if newest_category(c)[0] == "M" else "GONE"
        what = (gone if not text else "PUNCT" if point else "LETTER"), ord(text) - c if len(text) == 1 else 0
        if row and what != tuple(row[2:]):
            row = None
        here, newest = by_unicode(c, category, decompose), by_unicode(c, newest_category, newest_decompose)
        if len(text) > 1 or text == " " or bert == here == newest:
            continue
        if row:
            row[1] = c
        else:
            row = [c, c, *what]
            rows.append(row)
    return rows


def orders():
    """Rows [first, last, class]: what stays in a word and yet moves before or behind its neighbours."""
    def moves(text):
        return normaliser.normalize_str(text) != text

    rows = []
    for c in range(0x80, 0x110000):
        order = unicodedata2.combining(chr(c))
        if not order or moves(chr(c)):
            continue
        if not any(moves(chr(c) + by) or moves(by + chr(c)) for by in "\u1b44\u302e\U0001d16d"):
            continue
        if rows and rows[-1][1] == c - 1 and rows[-1][2] == order:
            rows[-1][1] = c
        else:
            rows.append([c, c, order])
    return rows


def table(name, rows, form):
    print("static const %s %ss[] = {" % (name, name))
    line = "   "
    for row in rows:
        cell = " " + form % tuple(row) + ("};" if row is rows[-1] else ",")
        if len(line + cell) > 100:
            print(line)
            line = "   "
        line += cell
    print(line)


print("/* Made by make_bert_unicode.py. */")
print("/* clang-format off */")
print()
print("/* Code points that are not what utf8proc says: first, last, kind, distance to the lower case. */")
table("exception", exceptions(), "{0x%x, 0x%x, %s, %d}")
print()
print("/* Canonical combining classes of marks that stay: first, last, class. */")
table("order", orders(), "{0x%x, 0x%x, %d}")
print()
print("/* clang-format on */")
