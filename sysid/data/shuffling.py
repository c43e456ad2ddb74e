"""Random orders of very many items, without listing them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_LISTED = 1 << 22  # items whose order is drawn as a list: 32 MB
_ROUNDS = 6


def shuffled_batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield ``0 ... n-1`` in a random order, ``size`` at a time.

    Up to some millions it is ``torch.randperm``. Beyond, positions are encrypted by a Feistel
    network with random keys, a bijection that needs no memory; what falls outside of ``n`` is
    encrypted again.

    Args:
        n: how many.
        size: of a batch; the last one may be smaller.
        generator: where randomness is drawn from.

    Source: J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002.
    """
    if n <= _LISTED:
        yield from torch.randperm(n, generator=generator).split(size)
        return
    bits = ((n - 1).bit_length() + 1) // 2
    keys = torch.randint(1 << 31, (_ROUNDS,), generator=generator).tolist()
    for start in range(0, n, size):
        items = _encrypted(torch.arange(start, min(start + size, n)), bits, keys)
        while bool((outside := items >= n).any()):
            items[outside] = _encrypted(items[outside], bits, keys)
        yield items


def _encrypted(x: Tensor, bits: int, keys: list[int]) -> Tensor:
    mask = (1 << bits) - 1
    left, right = x >> bits, x & mask
    for key in keys:
        mixed = (right + key) * 0x9E3779B1 & 0xFFFFFFFF
        mixed = (mixed ^ (mixed >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
        left, right = right, left ^ ((mixed ^ (mixed >> 12)) & mask)
    return (left << bits) | right
