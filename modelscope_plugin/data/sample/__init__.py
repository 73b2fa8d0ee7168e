"""The sample that ships with the package: a small knowledge base and sentences, written for it.

Entities share names on purpose (苹果 the company, the fruit, the film). The sentences are split into
train, dev and test by sentence. Licence: CC0-1.0.
"""

from __future__ import annotations

from pathlib import Path

_FILES = ("entities", "train", "dev", "test")


def sample_file(name: str) -> Path:
    """The path of one sample file.

    Args:
        name: ``entities``, ``train``, ``dev`` or ``test``.

    Returns:
        Path of the JSON-lines file.

    Raises:
        ValueError: If there is no such sample file.
    """
    if name not in _FILES:
        raise ValueError(f"no sample file {name!r}; there are {', '.join(_FILES)}")
    return Path(__file__).with_name(f"{name}.jsonl")
