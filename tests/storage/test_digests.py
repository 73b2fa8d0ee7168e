from __future__ import annotations

import hashlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from modelscope_plugin.storage.digests import digest_of, file_sha256


@given(st.text(), st.binary())
def test_digest_is_that_of_the_bytes_of_all_parts(text: str, data: bytes) -> None:
    assert digest_of(text, data) == hashlib.blake2b(text.encode() + data, digest_size=16).hexdigest()


def test_halves_of_surrogate_pairs_have_a_digest() -> None:
    assert digest_of("\ud800") != digest_of("\ud801")


def test_file_digest_is_the_usual_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a" * (1 << 21) + b"b")
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"a" * (1 << 21) + b"b").hexdigest()
