"""Opens the model folder of a re-ranker, whichever kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelscope_plugin.config.configuration import CONFIGURATION_FILE, MISSING, read_configuration
from modelscope_plugin.config.metainfo import Models
from modelscope_plugin.config.model_settings import find_model_type
from modelscope_plugin.errors import ModelFolderError
from modelscope_plugin.linking.reranking.cross_encoder import CrossEncoderReranker
from modelscope_plugin.linking.reranking.late_interaction import LateInteraction
from modelscope_plugin.linking.reranking.protocol import Reranker
from modelscope_plugin.modeling.location import resolve_model

_LATE_INTERACTION = (Models.entity_late_interaction, Models.entity_embedding)


def load_reranker(
    model: str | Path,
    *,
    device: str | None = None,
    max_length: int | None = None,
    revision: str | None = None,
    **arithmetic: Any,
) -> Reranker:
    """Load a re-ranker; ``model.type`` in its configuration.json says which kind it is.

    Args:
        model: A folder, or a hub id such as ``owner/name``: a cross encoder, or a dual encoder, which serves as late
            interaction whether or not it was trained for it.
        device: ``cpu``, ``cuda`` ...; by default a GPU where there is one.
        max_length: Tokens of a window; by default what configuration.json says.
        revision: Branch or tag of a hub model.
        **arithmetic: ``backend`` and ``dtype`` of a cross encoder; late interaction computes with torch in float32.

    Returns:
        The re-ranker.

    Raises:
        MissingFileError: If there is no such model.
        ModelFolderError: If it is a model of another kind, or a file of it is missing or damaged.
        InputError: If the device, the backend or the length cannot be used.
    """
    folder = resolve_model(model, revision)
    kind = find_model_type(read_configuration(folder), folder)
    loading: dict[str, Any] = {"device": device, "max_length": max_length, "revision": revision}
    if kind == Models.entity_cross_encoder:
        return CrossEncoderReranker.from_pretrained(model, **loading, **arithmetic)
    if kind in _LATE_INTERACTION:
        return LateInteraction.from_pretrained(model, **loading)
    known = ", ".join((Models.entity_cross_encoder, *_LATE_INTERACTION))
    found = f"there is no model.type in {CONFIGURATION_FILE}" if kind is MISSING else f"its model.type is {kind!r}"
    raise ModelFolderError(f"{folder} is no re-ranker: {found}; it must be one of {known}")
