"""Keeps the token vectors of the entity texts that were used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

from modelscope_plugin.storage.digests import digest_of
from modelscope_plugin.types import TokenVectors


class TokenCache:
    """Token vectors by text, least recently used ones dropped first. Threads can share it.

    Args:
        limit: Bytes of the vectors that are kept at most.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._arrays: OrderedDict[str, TokenVectors] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._arrays)

    def look_up(
        self, texts: Sequence[str], encode: Callable[[list[str]], list[TokenVectors]]
    ) -> dict[str, TokenVectors]:
        """Return the token vectors of texts, encoding those that are not kept.

        Args:
            texts: The texts.
            encode: Encodes the texts that are not kept, all in one call.

        Returns:
            The vectors by text.
        """
        keys = {text: digest_of(text) for text in texts}
        with self._lock:
            found = {text: self._arrays[key] for text, key in keys.items() if key in self._arrays}
            for text in found:
                self._arrays.move_to_end(keys[text])
        missing = [text for text in keys if text not in found]
        if missing:
            encoded = dict(zip(missing, encode(missing), strict=True))
            found |= encoded
            self._keep({keys[text]: array for text, array in encoded.items()})
        return found

    def _keep(self, arrays: dict[str, TokenVectors]) -> None:
        with self._lock:
            for key, array in arrays.items():
                if key not in self._arrays:
                    self._arrays[key] = array
                    self.size += array.nbytes
            while self.size > self.limit:
                _, dropped = self._arrays.popitem(last=False)
                self.size -= dropped.nbytes
