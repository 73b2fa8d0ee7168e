"""The towers of a dual encoder as ONNX files, in float32 or 8 bits.

The files are made by torch's own exporter and ONNX Runtime's own quantiser. A tower gives its token states, under
the name that transformers and sentence-transformers look for; pooling stays outside, the same for all backends.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.checkpoint_files import first_line
from modelscope_plugin.modeling.dual_encoder import ENTITY_TOWER_FOLDER, DualEncoder
from modelscope_plugin.modeling.pooling import needs_all_states
from modelscope_plugin.storage.atomic_write import replace_file
from modelscope_plugin.types import OnnxPrecision, Side

ONNX_FOLDER = "onnx"
"""Sub-folder of a tower's folder with its ONNX files."""

FINGERPRINT_KEY = "modelscope_plugin.fingerprint"
"""Under which an ONNX file remembers the model it was made from."""

_FILES: dict[OnnxPrecision, str] = {"float32": "model.onnx", "int8": "model_int8.onnx"}
# From 23 on attention is one operator: a quarter faster in 8 bits than its parts.
_OPSET = 23
# What a protocol-buffer file can hold.
_MOST_BYTES = 2**31 - 2**20
# Texts and tokens of the batches on which an export is compared with torch, and the difference that rounding makes.
_BATCHES = ((1, 4), (2, 9), (5, 3), (4, 20))
_TOLERANCE = 1e-3


def onnx_file(folder: Path, model: DualEncoder, side: Side, precision: OnnxPrecision) -> Path:
    """Return the path of the ONNX file of a tower.

    Args:
        folder: The model folder.
        model: The model in it.
        side: The tower; both are one where they share their weights.
        precision: Its arithmetic.

    Returns:
        ``FOLDER/onnx/model.onnx``, ``FOLDER/entity_tower/onnx/model_int8.onnx`` ...
    """
    second = side == "entity" and model.towers == 2
    return (folder / ENTITY_TOWER_FOLDER if second else folder) / ONNX_FOLDER / _FILES[precision]


def onnx_fingerprint(model: DualEncoder) -> str:
    """Identify what the ONNX files of a model are made from: its weights, its pooler and the operator set."""
    return f"{model.fingerprint()}-{_OPSET}"


def export_onnx(model: DualEncoder, folder: str | Path, precision: OnnxPrecision = "float32") -> list[Path]:
    """Write the towers of a model as ONNX files, each whole or not at all.

    Args:
        model: The dual encoder.
        folder: The model folder; the files go into ``onnx`` in it and, for a second tower, in ``entity_tower``.
        precision: ``float32`` or ``int8``.

    Returns:
        The files.

    Raises:
        InputError: If a library is missing, the precision is unknown, a tower is too large for one file, or it does not
            give the vectors of torch; no file is written then.
    """
    check_onnx()
    if precision not in _FILES:
        raise InputError(f"unknown precision {precision!r}; choose from {', '.join(_FILES)}")
    fingerprint = onnx_fingerprint(model)
    files = []
    sides: tuple[Side, ...] = ("mention", "entity")
    for side in sides[: model.towers]:
        file = onnx_file(Path(folder), model, side, precision)
        with replace_file(file) as draft:
            _write_tower(model, side, precision, fingerprint, draft)
        files.append(file)
    return files


def check_onnx() -> None:
    """Raise `InputError` where a library of the extra ``onnx`` is not installed."""
    missing = [name for name in ("onnxruntime", "onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"the ONNX backend needs {', '.join(missing)}, not installed; run: pip install 'modelscope_plugin[onnx]'"
        )


def _write_tower(model: DualEncoder, side: Side, precision: OnnxPrecision, fingerprint: str, file: Path) -> None:
    import onnx

    tower = model.mention_tower if side == "mention" else model.entity_tower
    if sum(tensor.numel() * tensor.element_size() for tensor in tower.parameters()) > _MOST_BYTES:
        raise InputError("the model has more than 2 GB of weights, the most an ONNX file can hold; use backend='torch'")
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        exported = Path(scratch, "exported.onnx")
        every = needs_all_states(model.emb_pooler_type)
        try:
            _trace(tower, every, exported)
            _compare(tower, every, exported)
            result = exported
            if precision == "int8":
                result = Path(scratch, "int8.onnx")
                _quantize(exported, result)
                _compare(tower, every, result, tolerance=None)
        except (InputError, OSError):
            raise
        except Exception as error:  # the exporter and ONNX Runtime have no common class
            raise InputError(
                f"the model ({tower.config.model_type}) cannot be computed by ONNX Runtime ({first_line(error)}); "
                "use backend='torch'"
            ) from error
        onnx_model = onnx.load(result)
        onnx.helper.set_model_props(onnx_model, {FINGERPRINT_KEY: fingerprint})
        onnx.save(onnx_model, file)


class _TokenStates(nn.Module):
    """A tower as a function of two tensors that gives tensors."""

    def __init__(self, tower: nn.Module, every: bool) -> None:
        super().__init__()
        self._tower = tower
        self._every = every

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output: Any = self._tower(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=self._every, return_dict=True
        )
        return tuple(output.hidden_states) if self._every else (output.last_hidden_state,)


def _trace(tower: nn.Module, every: bool, file: Path) -> None:
    """Export a tower; its last output is ``last_hidden_state``, the others are the states before it."""
    module = _TokenStates(tower, every).eval()
    device = next(tower.parameters()).device
    # Sizes that are no special case of any operator.
    ids = torch.full((3, 7), 1, dtype=torch.int64, device=device)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    layers: int = getattr(tower.config, "num_hidden_layers", 0) if every else 0
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    was_training = tower.training
    try:
        with _quiet():
            torch.onnx.export(
                module,
                (ids, mask),
                file,
                input_names=["input_ids", "attention_mask"],
                output_names=[*(f"hidden_states.{layer}" for layer in range(layers)), "last_hidden_state"],
                dynamic_shapes=(sizes, sizes),
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        tower.train(was_training)


def _compare(tower: nn.Module, every: bool, file: Path, tolerance: float | None = _TOLERANCE) -> None:
    """Run an exported tower on batches of several sizes, none of them the exported one, beside torch.

    Args:
        tower: The tower.
        every: Whether the states of all layers are exported.
        file: The ONNX file.
        tolerance: The largest difference, as part of the largest value; None checks only that values are finite.

    Raises:
        InputError: If the values differ.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    module = _TokenStates(tower, every).eval()
    device = next(tower.parameters()).device
    tokens = tower.get_input_embeddings().num_embeddings  # type: ignore[operator]
    generator = torch.Generator().manual_seed(0)
    for texts, length in _BATCHES:
        ids = torch.randint(min(5, tokens - 1), tokens, (texts, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[-1, (length + 1) // 2 :] = 0 if texts > 1 else 1
        found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        with torch.inference_mode():
            expected = module(ids.to(device), mask.to(device))
        for states, values in zip(expected, found, strict=True):
            wanted, got = (array[mask == 1] for array in (states.float().cpu(), torch.from_numpy(values)))
            error = (wanted - got).abs().max() / wanted.abs().max()
            if not torch.isfinite(got).all() or (tolerance is not None and error > tolerance):
                raise InputError(
                    f"the model ({getattr(tower.config, 'model_type', '')}) gives other vectors in ONNX Runtime, for "
                    f"{texts} texts of {length} tokens by {error:.0e} of their size; use backend='torch'"
                )


def _quantize(plain: Path, file: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # Weights of 7 bits: processors without VNNI add products of 8 bits in 16, which overflows. The file has to serve
    # every machine that the model folder comes to.
    with _quiet():
        quantize_dynamic(
            plain,
            file,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep exporter and quantiser from warning of their own internals."""
    names = ("", "torch.onnx", "torch.onnx._internal.exporter", "onnxscript", "onnx_ir")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
