"""Vectors of texts and scores of pairs by ONNX Runtime on the CPU, in float32 or 8 bits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch.nn import functional

from modelscope_plugin.encoding.backends.onnx_export import (
    FINGERPRINT_KEY,
    check_onnx,
    export_onnx,
    onnx_file,
    onnx_fingerprint,
    onnx_pair_file,
)
from modelscope_plugin.encoding.backends.protocol import BatchEmbedder, PairScorer, TokenMatrix
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.checkpoint_files import first_line
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.pooling import pool
from modelscope_plugin.types import OnnxPrecision, Scores, Side, Vectors

logger = logging.getLogger(__name__)

_TOKENS = 1024
# On the CPU the sum and its normalisation are faster apart: a tenth of all time in 8 bits.
_SLOWER_FUSIONS = ["SkipLayerNormFusion"]


class OnnxBackend:
    """Computes token states with ONNX Runtime, and pools and normalises them as the model does.

    The ONNX files are made at the first use and kept in the model folder, or, where that cannot be written to, in
    ModelScope's cache folder. A file that was made from other weights is made again.

    Args:
        model: The dual encoder. What is encoded is the model as it was when this was made.
        folder: The model folder.
        precision: ``float32`` or ``int8``.

    Raises:
        InputError: If a library is missing, or the model cannot be exported.
    """

    token_budget = _TOKENS

    def __init__(self, model: DualEncoder, folder: Path, precision: OnnxPrecision = "float32") -> None:
        check_onnx()
        self._pooler_type, self._normalize = model.emb_pooler_type, model.normalize
        sides: tuple[Side, ...] = ("mention", "entity")
        files = [onnx_file(Path(), model, side, precision) for side in sides]
        self._sessions = dict(zip(sides, _open_sessions(model, folder, files, precision), strict=True))

    def __getstate__(self) -> NoReturn:
        raise InputTypeError("an encoder with ONNX Runtime cannot be pickled or copied; load it again in each process")

    @contextmanager
    def prepare(self, side: Side, tokens: int) -> Iterator[BatchEmbedder]:
        """Choose the tower; see `modelscope_plugin.encoding.backends.protocol.Backend`."""
        session = self._sessions[side]

        def embed_batch(input_ids: TokenMatrix, attention_mask: TokenMatrix) -> Vectors:
            states = session.run(None, {"input_ids": input_ids, "attention_mask": attention_mask})
            with torch.inference_mode():
                tensors = tuple(map(torch.from_numpy, states))
                rows = pool(tensors, torch.from_numpy(attention_mask), self._pooler_type)
                rows = functional.normalize(rows, dim=-1) if self._normalize else rows
            result: Vectors = np.ascontiguousarray(rows.numpy())
            return result

        yield embed_batch


class OnnxPairBackend:
    """Scores pairs with ONNX Runtime; files as for `OnnxBackend`.

    Args:
        model: The cross encoder. What scores is the model as it was when this was made.
        folder: The model folder.
        precision: ``float32`` or ``int8``.

    Raises:
        InputError: If a library is missing, or the model cannot be exported.
    """

    token_budget = _TOKENS

    def __init__(self, model: CrossEncoderModel, folder: Path, precision: OnnxPrecision = "float32") -> None:
        check_onnx()
        self._has_token_types = model.has_token_types
        (self._session,) = _open_sessions(model, folder, [onnx_pair_file(Path(), precision)], precision)

    def __getstate__(self) -> NoReturn:
        raise InputTypeError(
            "a cross encoder with ONNX Runtime cannot be pickled or copied; load it again in each process"
        )

    @contextmanager
    def prepare(self, tokens: int) -> Iterator[PairScorer]:
        """Nothing to prepare; see `modelscope_plugin.encoding.backends.protocol.PairBackend`."""

        def score_batch(
            input_ids: TokenMatrix, attention_mask: TokenMatrix, token_type_ids: TokenMatrix | None = None
        ) -> Scores:
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
            if self._has_token_types:
                inputs["token_type_ids"] = np.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            logits: Scores = self._session.run(None, inputs)[0][:, 0]
            return logits

        yield score_batch


def _open_sessions(
    model: DualEncoder | CrossEncoderModel, folder: Path, files: list[Path], precision: OnnxPrecision
) -> list[Any]:
    """Open the ONNX files of a model, by their paths in its folder, where they were made before, else make them."""
    fingerprint = onnx_fingerprint(model)
    for target in _folders(folder, fingerprint):
        sessions = {file: _open_session(target / file, fingerprint) for file in set(files)}
        if None in sessions.values():
            logger.info("writing the ONNX files of %s to %s", folder, target)
            try:
                export_onnx(model, target, precision)
            except OSError as error:
                logger.info("%s cannot be written to (%s)", target, error)
                continue
            sessions = {file: _open_session(target / file, fingerprint) for file in set(files)}
        return [sessions[file] for file in files]
    raise InputError(f"no ONNX file can be written to {folder}, nor to {target}; make one of them writable")


def _open_session(file: Path, fingerprint: str) -> Any:
    """Open an ONNX file; None if there is none, it was made from another model, or it is damaged."""
    import onnxruntime

    if not file.is_file():
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=_SLOWER_FUSIONS
        )
    except Exception as error:  # its exceptions have no common class
        logger.warning("%s cannot be read (%s); it is made again", file, first_line(error))
        return None
    made_of = session.get_modelmeta().custom_metadata_map.get(FINGERPRINT_KEY)
    return session if made_of == fingerprint else None


def _folders(folder: Path, fingerprint: str) -> Iterator[Path]:
    """The model folder and, for one that cannot be written to, a folder of the user's."""
    yield folder
    from modelscope.utils.file_utils import get_modelscope_cache_dir

    yield Path(get_modelscope_cache_dir()) / "modelscope_plugin" / fingerprint
