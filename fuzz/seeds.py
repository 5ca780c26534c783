#!/usr/bin/env python3
r"""Expands a corpus of tests/it/fuzz/corpus into a directory, a file an input: `seeds.py CORPUS DIRECTORY`.

A line is an input: `\n` is a line feed, `\\` a backslash, `\xNN` a byte, `\*N;` N more of the byte before.
"""

import re
import sys
from pathlib import Path

ESCAPE = re.compile(rb"\\(?:(n)|(\\)|x(..)|\*(\d+);)|([^\\])", re.S)


def unescaped(line):
    plain = bytearray()
    for feed, slash, digits, count, other in ESCAPE.findall(line):
        plain += (
            b"\n" if feed else slash or other or bytes.fromhex(digits.decode()) if not count else plain[-1:] * int(count)
        )
    return bytes(plain)


corpus, directory = map(Path, sys.argv[1:])
directory.mkdir(parents=True, exist_ok=True)
for number, line in enumerate(corpus.read_bytes().splitlines()):
    (directory / f"{number:03}").write_bytes(unescaped(line))
