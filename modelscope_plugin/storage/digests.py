"""Digests of files and of values."""

from __future__ import annotations

import hashlib
from pathlib import Path

BLOCK_SIZE = 1 << 20
"""Bytes of a file that are read at once."""


def digest_of(*parts: str | bytes) -> str:
    """A 128-bit BLAKE2b digest of texts and bytes, in hexadecimal digits.

    Texts may hold halves of surrogate pairs, as names in a knowledge base can. Where a part ends is not part of the
    digest.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK_SIZE):
            digest.update(block)
    return digest.hexdigest()
