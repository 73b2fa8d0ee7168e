"""The towers of a dual encoder, or a cross encoder, as ONNX files, in float32 or 8 bits.

The files are made by torch's own exporter and ONNX Runtime's own quantiser. A tower gives its token states and a cross
encoder its logits, under the names that transformers and sentence-transformers look for; pooling stays outside, the
same for all backends.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from modelscope_plugin.errors import InputError
from modelscope_plugin.modeling.checkpoint_files import first_line
from modelscope_plugin.modeling.cross_encoder import CrossEncoderModel
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
_INPUTS = ("input_ids", "attention_mask")


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


def onnx_pair_file(folder: Path, precision: OnnxPrecision) -> Path:
    """Return the path of the ONNX file of a cross encoder: ``FOLDER/onnx/model.onnx`` or ``model_int8.onnx``."""
    return folder / ONNX_FOLDER / _FILES[precision]


def onnx_fingerprint(model: DualEncoder | CrossEncoderModel) -> str:
    """Identify what the ONNX files of a model are made from: its weights, its pooler and the operator set."""
    return f"{model.fingerprint()}-{_OPSET}"


def export_onnx(
    model: DualEncoder | CrossEncoderModel, folder: str | Path, precision: OnnxPrecision = "float32"
) -> list[Path]:
    """Write the towers of a dual encoder, or a cross encoder, as ONNX files, each whole or not at all.

    Args:
        model: The dual encoder or cross encoder.
        folder: The model folder; the files go into ``onnx`` in it and, for a second tower, in ``entity_tower``.
        precision: ``float32`` or ``int8``.

    Returns:
        The files.

    Raises:
        InputError: If a library is missing, the precision is unknown, a tower is too large for one file, or it does not
            give the values of torch; no file is written then.
    """
    check_onnx()
    if precision not in _FILES:
        raise InputError(f"unknown precision {precision!r}; choose from {', '.join(_FILES)}")
    fingerprint = onnx_fingerprint(model)
    networks = _find_networks(model, Path(folder), precision)
    for file, network in networks.items():
        with replace_file(file) as draft:
            _write_network(network, precision, fingerprint, draft)
    return list(networks)


def check_onnx() -> None:
    """Raise `InputError` where a library of the extra ``onnx`` is not installed."""
    missing = [name for name in ("onnxruntime", "onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"the ONNX backend needs {', '.join(missing)}, not installed; run: pip install 'modelscope_plugin[onnx]'"
        )


@dataclass(frozen=True)
class _Network:
    """What is exported to one file.

    Attributes:
        module: A function of the inputs, int64 tensors (n, length), that gives a tuple of tensors.
        source: The model of transformers inside.
        inputs: Names of the inputs: token ids, attention mask and, for some, token types.
        outputs: Names of the outputs.
        of_tokens: Whether the outputs have a value for each token, of which those of padding mean nothing.
    """

    module: nn.Module
    source: PreTrainedModel
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    of_tokens: bool

    @property
    def model_type(self) -> str:
        """The architecture, for errors."""
        return str(self.source.config.model_type)


def _find_networks(
    model: DualEncoder | CrossEncoderModel, folder: Path, precision: OnnxPrecision
) -> dict[Path, _Network]:
    """The networks of a model by the files they are exported to."""
    if isinstance(model, CrossEncoderModel):
        inputs = (*_INPUTS, *(["token_type_ids"] if model.has_token_types else []))
        pairs = _Network(_PairScores(model), model.model, inputs, ("logits",), of_tokens=False)
        return {onnx_pair_file(folder, precision): pairs}
    every = needs_all_states(model.emb_pooler_type)
    networks = {}
    sides: tuple[Side, ...] = ("mention", "entity")
    for side in sides[: model.towers]:
        tower = model.mention_tower if side == "mention" else model.entity_tower
        # The last output is last_hidden_state, the others are the states before it.
        layers: int = getattr(tower.config, "num_hidden_layers", 0) if every else 0
        outputs = (*(f"hidden_states.{layer}" for layer in range(layers)), "last_hidden_state")
        networks[onnx_file(folder, model, side, precision)] = _Network(
            _TokenStates(tower, every), tower, _INPUTS, outputs, of_tokens=True
        )
    return networks


def _write_network(network: _Network, precision: OnnxPrecision, fingerprint: str, file: Path) -> None:
    import onnx

    if sum(tensor.numel() * tensor.element_size() for tensor in network.module.parameters()) > _MOST_BYTES:
        raise InputError("the model has more than 2 GB of weights, the most an ONNX file can hold; use backend='torch'")
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        exported = Path(scratch, "exported.onnx")
        try:
            _trace(network, exported)
            _compare(network, exported)
            result = exported
            if precision == "int8":
                result = Path(scratch, "int8.onnx")
                _quantize(exported, result)
                _compare(network, result, tolerance=None)
        except (InputError, OSError):
            raise
        except Exception as error:  # the exporter and ONNX Runtime have no common class
            raise InputError(
                f"the model ({network.model_type}) cannot be computed by ONNX Runtime ({first_line(error)}); "
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


class _PairScores(nn.Module):
    """A cross encoder as a function of tensors that gives logits (n, 1), as classifiers of transformers do."""

    def __init__(self, model: CrossEncoderModel) -> None:
        super().__init__()
        self._model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, ...]:
        return (self._model.score(input_ids, attention_mask, token_type_ids)[:, None],)


def _trace(network: _Network, file: Path) -> None:
    """Export a network."""
    device = next(network.module.parameters()).device
    # Sizes that are no special case of any operator.
    ids = torch.full((3, 7), 1, dtype=torch.int64, device=device)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    with _evaluation(network), _quiet():
        torch.onnx.export(
            network.module,
            (ids, mask, torch.zeros_like(ids))[: len(network.inputs)],
            file,
            input_names=list(network.inputs),
            output_names=list(network.outputs),
            dynamic_shapes=(sizes,) * len(network.inputs),
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _compare(network: _Network, file: Path, tolerance: float | None = _TOLERANCE) -> None:
    """Run an exported network on batches of several sizes, none of them the exported one, beside torch.

    Args:
        network: The network.
        file: The ONNX file.
        tolerance: The largest difference, as part of the range of values; None checks only that values are finite.

    Raises:
        InputError: If the values differ.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    device = next(network.module.parameters()).device
    batches = list(_make_batches(network))
    expected, found = [], []
    with _evaluation(network), torch.inference_mode():
        for arrays in batches:
            shown = arrays[1] == 1 if network.of_tokens else slice(None)
            values = session.run(None, {name: each.numpy() for name, each in zip(network.inputs, arrays, strict=True)})
            found.append([torch.from_numpy(value)[shown] for value in values])
            outputs = network.module(*(each.to(device) for each in arrays))
            expected.append([value.float().cpu()[shown] for value in outputs])
    spreads = [torch.cat([value.flatten() for value in values]) for values in zip(*expected, strict=True)]
    for arrays, wanted, got in zip(batches, expected, found, strict=True):
        for one, other, spread in zip(wanted, got, spreads, strict=True):
            error = (one - other).abs().max() / (spread.max() - spread.min())
            if not torch.isfinite(other).all() or (tolerance is not None and error > tolerance):
                texts, length = arrays[0].shape
                raise InputError(
                    f"the model ({network.model_type}) gives other {'vectors' if network.of_tokens else 'scores'} in "
                    f"ONNX Runtime, for {texts} texts of {length} tokens by {error:.0e} of their range; "
                    "use backend='torch'"
                )


def _make_batches(network: _Network) -> Iterator[tuple[torch.Tensor, ...]]:
    """Random inputs of several sizes."""
    tokens = network.source.get_input_embeddings().num_embeddings
    generator = torch.Generator().manual_seed(0)
    for texts, length in _BATCHES:
        ids = torch.randint(min(5, tokens - 1), tokens, (texts, length), generator=generator)
        mask, types = torch.ones_like(ids), torch.zeros_like(ids)
        mask[-1, (length + 1) // 2 :] = 0 if texts > 1 else 1
        types[:, length // 2 :] = 1
        yield (ids, mask, types)[: len(network.inputs)]


@contextmanager
def _evaluation(network: _Network) -> Iterator[None]:
    """Put a network into evaluation mode, afterwards as before."""
    was_training = network.source.training
    network.module.eval()
    try:
        yield
    finally:
        network.module.train(was_training)


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
