"""Texts to vectors and pairs to scores: one encoder behind pipelines, index building, evaluation and training.

`EntityEncoder` and `CrossEncoder` are loaded when they are first asked for: whoever needs the protocols of this room
alone needs no torch.
"""

from typing import TYPE_CHECKING, Any

from modelscope_plugin.encoding.protocol import Encoder

if TYPE_CHECKING:
    from modelscope_plugin.encoding.cross_encoder import CrossEncoder
    from modelscope_plugin.encoding.encoder import EntityEncoder

__all__ = ["CrossEncoder", "Encoder", "EntityEncoder"]


def __getattr__(name: str) -> Any:
    if name == "EntityEncoder":
        from modelscope_plugin.encoding.encoder import EntityEncoder

        return EntityEncoder
    if name == "CrossEncoder":
        from modelscope_plugin.encoding.cross_encoder import CrossEncoder

        return CrossEncoder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
