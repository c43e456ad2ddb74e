"""The lines of a text file: unpacked, decoded, and how many fields each of them has."""

from __future__ import annotations

import codecs
import csv
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sysid.data.memory import refuse_swollen, refuse_too_large

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]

BLANKS = r"\s+"
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20  # bytes unpacked at a time
_BLOCK = 1 << 24  # bytes whose lines are counted at a time
_HEAD = 1 << 16  # bytes that tell the encoding
_LONGEST = 1 << 25  # bytes of a line
# A comment, which is neither a spreadsheet's error (#REF!) nor a unit (%;V).
_COMMENT = re.compile(r"\s*(#(?!REF!|DIV/0!|VALUE!|NAME\?|NUM!|NULL!|N/A)|%[ A-Za-z]|//)")
_SETTING = re.compile(rb"(?m)^[^\W\d][^\n:=]{0,60}(=|:[ \t\n])")


@dataclass(frozen=True)
class Lines:
    """The lines of a text, as UTF-8 bytes that end in line feeds.

    ``starts`` and ``ends`` are the places of each line; a line's number in messages is its index
    plus one.
    """

    raw: bytes
    starts: Counts
    ends: Counts
    _counted: dict[str, Counts] = field(default_factory=dict)

    @classmethod
    def of(cls, raw: bytes) -> Lines:
        """Find the lines of a text.

        Raises:
            ValueError: for a line too long to be one of a table.
        """
        array = np.frombuffer(raw, np.uint8)
        breaks = [
            np.flatnonzero(array[i : i + _BLOCK] == ord("\n")) + i
            for i in range(0, len(array), _BLOCK)
        ]
        ends = np.concatenate([*breaks, np.empty(0, np.int64)]).astype(np.int64)
        if not raw.endswith(b"\n"):
            ends = np.append(ends, len(raw))
        starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
        if len(ends) and (ends - starts).max() > _LONGEST:
            raise ValueError(f"its lines are longer than {_LONGEST} bytes")
        return cls(raw, starts, ends)

    def __len__(self) -> int:
        """Return the number of lines."""
        return len(self.starts)

    def __getitem__(self, i: int) -> str:
        """Return a line."""
        return self.raw[self.starts[i] : self.ends[i]].decode()

    def split(self, i: int, delimiter: str) -> list[str]:
        """Return the fields of a line."""
        return split(self[i], delimiter)

    def fields(self, delimiter: str) -> Counts:
        """Return how many fields each line has, counted outside quotes."""
        if delimiter not in self._counted:
            self._counted[delimiter] = self._count(lambda block: _separators(block, delimiter))
            if delimiter != BLANKS:
                self._counted[delimiter] += 1
        return self._counted[delimiter]

    def numeric(self) -> Mask:
        """Return whether each line has more digits than letters, and is no ``key: value``."""
        if "numeric" not in self._counted:
            digits = self._count(lambda block: (block - np.uint8(48)) < 10)
            letters = self._count(lambda block: ((block | 32) - np.uint8(97)) < 26)
            self._counted["numeric"] = digits - letters
            for found in _SETTING.finditer(self.raw):
                self._counted["numeric"][np.searchsorted(self.starts, found.start())] = 0
        return self._counted["numeric"] > 0

    def open_quotes(self, begin: int, delimiter: str) -> list[int]:
        """Return the lines from ``begin`` on that do not close a quoted field."""
        odd = np.flatnonzero(self.fields('"')[begin:] % 2 == 0) + begin
        return [i for i in map(int, odd) if _is_open(self[i], delimiter)]

    def begin_with_letters(self) -> Counts:
        """Return the lines whose first byte is a letter."""
        first = np.frombuffer(self.raw + b"\n", np.uint8)[self.starts]
        return np.flatnonzero(((first | 32) - np.uint8(97)) < 26)

    def comments(self) -> Mask:
        """Return whether each line is a comment."""
        found = np.zeros(len(self), bool)
        if not any(sign in self.raw for sign in (b"#", b"%", b"//")):
            return found
        first = np.frombuffer(self.raw + b"\n", np.uint8)[self.starts]
        for i in np.flatnonzero(np.isin(first, np.frombuffer(b"#%/ \t", np.uint8))):
            found[i] = is_comment(self[int(i)])
        return found

    def _count(self, marked: Callable[[NDArray[np.uint8]], Mask]) -> Counts:
        """Count the marked bytes of each line, block by block."""
        counts = np.zeros(len(self), np.int64)
        array = np.frombuffer(self.raw, np.uint8)
        i = 0
        while i < len(self):
            j = int(np.searchsorted(self.starts, self.starts[i] + _BLOCK))
            j = max(j, i + 1)
            begin, end = int(self.starts[i]), int(self.ends[j - 1])
            places = np.flatnonzero(marked(array[begin:end])) + begin
            at = np.searchsorted(places, self.starts[i:j])
            counts[i:j] = np.diff(np.append(at, len(places)))
            i = j
        return counts


def _separators(block: NDArray[np.uint8], delimiter: str) -> Mask:
    """Mark the separators outside quotes; of blanks, the first byte of each field."""
    found: Mask
    if delimiter == BLANKS:
        found = ~np.isin(block, np.frombuffer(b" \t\n", np.uint8))
        if (quotes := block == ord('"')).any():
            found |= ((np.cumsum(quotes, dtype=np.uint8) & 1) == 1) & (block != ord("\n"))
        found[1:] &= ~found[:-1]
        return found
    found = block == ord(delimiter)
    if delimiter == '"':
        return found
    quotes = block == ord('"')
    if quotes.any():
        # Sums of unsigned bytes wrap around, which keeps them odd or even.
        found &= (np.cumsum(quotes, dtype=np.uint8) & 1) == 0
    return found


def split(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line without blanks around them, and without quotes."""
    if delimiter == BLANKS:
        return [f.strip('"') for f in re.findall(r'"[^"]*"|\S+', line)]
    row = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [f.strip() for f in row]


def _is_open(line: str, delimiter: str) -> bool:
    """Return whether a line ends within quotes: what follows would belong to it."""
    return len(list(csv.reader([line, ""], delimiter=delimiter))) < 2


def is_comment(line: str) -> bool:
    """Return whether a line is a comment."""
    return _COMMENT.match(line) is not None


def read_lines(path: Path) -> Lines:
    """Return the lines of a file: UTF-8, UTF-16 with a byte-order mark or Windows-1252, or gzip.

    Raises:
        ValueError: if it is not text.
    """
    refuse_too_large("the file", path.stat().st_size, "cut it into parts")
    raw = path.read_bytes()
    if raw.startswith(_GZIP):
        raw = _unpacked(raw, path)
    raw = _utf8(raw)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return Lines.of(raw)


def _unpacked(raw: bytes, path: Path) -> bytes:
    """Unpack gzip piece by piece, so that a few bytes do not fill the memory."""
    pieces, size = [], 0
    while raw.startswith(_GZIP):  # a file may hold several, one after the other
        stream = zlib.decompressobj(wbits=31)
        while raw and not stream.eof:
            piece = stream.decompress(raw, _PIECE)
            raw = stream.unconsumed_tail
            size += len(piece)
            refuse_swollen("the text unpacked", size, path)
            refuse_too_large("the text unpacked", len(piece), "cut the file into parts")
            pieces.append(piece)
        if not stream.eof:
            raise ValueError("the packed file is cut off; copy it again")
        raw = stream.unused_data
    return b"".join(pieces)


def _utf8(raw: bytes) -> bytes:
    """Return text of any encoding that is read as UTF-8."""
    for bom, name in _BOMS:
        if raw.startswith(bom):
            return raw.decode(name).encode()
    if b"\0" in raw:
        raise ValueError("it is not text: it holds NUL bytes")
    if raw.isascii():
        return raw
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        if not raw[:_HEAD].isascii() and error.start >= _HEAD:
            number = raw.count(b"\n", 0, error.start) + 1
            raise ValueError(
                f"line {number} holds the byte {raw[error.start]:#x}, which is not UTF-8 as the "
                "text before it; delete it there"
            ) from None
        return raw.decode("cp1252").encode()
    return raw
