"""Vectors by ONNX Runtime on the CPU, in float32 or 8 bits."""

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
)
from modelscope_plugin.encoding.backends.protocol import BatchEmbedder, TokenMatrix
from modelscope_plugin.errors import InputError, InputTypeError
from modelscope_plugin.modeling.checkpoint_files import first_line
from modelscope_plugin.modeling.dual_encoder import DualEncoder
from modelscope_plugin.modeling.pooling import pool
from modelscope_plugin.types import OnnxPrecision, Side, Vectors

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
        self._sessions = _open_sessions(model, folder, precision)

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


def _open_sessions(model: DualEncoder, folder: Path, precision: OnnxPrecision) -> dict[Side, Any]:
    """Open the ONNX files of a model where they were made before, else make them."""
    fingerprint = onnx_fingerprint(model)
    for target in _folders(folder, fingerprint):
        files: dict[Side, Path] = {side: onnx_file(target, model, side, precision) for side in ("mention", "entity")}
        sessions = {file: _open_session(file, fingerprint) for file in set(files.values())}
        if None in sessions.values():
            logger.info("writing the ONNX files of %s to %s", folder, target)
            try:
                sessions = {file: _open_session(file, fingerprint) for file in export_onnx(model, target, precision)}
            except OSError as error:
                logger.info("%s cannot be written to (%s)", target, error)
                continue
        return {side: sessions[file] for side, file in files.items()}
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
