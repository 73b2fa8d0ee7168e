"""Texts to vectors: one encoder behind pipelines, index building, evaluation and training.

`EntityEncoder` is loaded when it is first asked for: whoever needs the protocols of this room alone needs no torch.
"""

from typing import TYPE_CHECKING, Any

from modelscope_plugin.encoding.protocol import Encoder

if TYPE_CHECKING:
    from modelscope_plugin.encoding.encoder import EntityEncoder

__all__ = ["Encoder", "EntityEncoder"]


def __getattr__(name: str) -> Any:
    if name != "EntityEncoder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from modelscope_plugin.encoding.encoder import EntityEncoder

    return EntityEncoder
