"""The base of the pipelines: loading the model, placing it on a device, lists of inputs, unknown keywords."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import torch
from modelscope.models.base import TorchModel
from modelscope.msdatasets import MsDataset
from modelscope.pipelines.base import Pipeline
from modelscope.utils.constant import Frameworks
from modelscope.utils.device import device_placement
from modelscope.utils.logger import get_logger

from modelscope_plugin.config.configuration import CONFIGURATION_FILE, default_configuration_file
from modelscope_plugin.encoding.backends.loading import open_backend
from modelscope_plugin.encoding.device import choose_device
from modelscope_plugin.encoding.encoder import EntityEncoder
from modelscope_plugin.errors import InputTypeError
from modelscope_plugin.modeling.compatibility import check_with_probe
from modelscope_plugin.modeling.location import resolve_model
from modelscope_plugin.modelscope_adapter.models import EntityEmbeddingModel
from modelscope_plugin.modelscope_adapter.preprocessors import EntityEmbeddingPreprocessor, RequestPreprocessor
from modelscope_plugin.types import BackendName, DtypeName

logger = get_logger()

# Keywords that ModelScope's factory passes to every pipeline.
_FACTORY_KEYWORDS = {"trust_remote_code", "model_revision", "framework", "task"}
# Inputs of an MsDataset that are run together.
_STREAM_CHUNK = 256


class BatchPipeline(Pipeline):
    """A ModelScope pipeline that computes all inputs of a list together.

    Results are in input order and do not depend on ``batch_size``. Subclasses define the classes of model and
    preprocessor, how inputs are read (``preprocess``), computed (``forward``) and written (``postprocess``), each for a
    list of inputs at once, and which call keywords there are (``call_keywords``).

    Args:
        model: A model folder, a hub id, or a loaded model (``model_class``).
        preprocessor: A loaded preprocessor (``preprocessor_class``); by default the model folder's.
        config_file: Another configuration.json, for ``self.cfg``.
        device: ``cpu``, ``gpu``, ``gpu:1``, ``cuda:1``; ``gpu`` falls back to the CPU if there is no GPU.
        auto_collate: Passed to ModelScope's base class; not used here.
        max_length: Tokens of a window or a pair; by default what configuration.json says, else 128.
        sequence_length: The name that the built-in pipeline gives to ``max_length``.
        model_revision: Branch or tag of a hub model.
        backend: ``torch``; ``onnx`` or ``onnx-int8`` for ONNX Runtime on the CPU.
        dtype: Arithmetic of the torch backend: ``float32``, or ``float16`` or ``bfloat16`` for GPUs.
        compile: Whether the torch backend uses ``torch.compile``.
        **kwargs: What ModelScope passes to every pipeline; a warning names anything else.

    Raises:
        InputError: If the backend cannot be used on this machine.
        InputTypeError: If the model or the preprocessor has the wrong type.
    """

    call_keywords: tuple[str, ...] = ()
    model_class: type[TorchModel]
    preprocessor_class: type[RequestPreprocessor]

    def __init__(
        self,
        model: str | Path | TorchModel,
        preprocessor: RequestPreprocessor | None = None,
        config_file: str | None = None,
        device: str = "gpu",
        auto_collate: bool = True,
        max_length: int | None = None,
        sequence_length: int | None = None,
        model_revision: str | None = None,
        backend: BackendName = "torch",
        dtype: DtypeName = "float32",
        compile: bool = False,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(kwargs) - _FACTORY_KEYWORDS)
        if unknown:
            logger.warning("%s: not used: %s", type(self).__name__, ", ".join(unknown))
        device = choose_device(device, backend).type if backend != "torch" else device
        if isinstance(model, str | Path):
            model = self.model_class(str(resolve_model(model, model_revision)), device=device)
        if not isinstance(model, self.model_class):
            wanted = self.model_class.__name__
            raise InputTypeError(f"model must be a folder, a hub id or an {wanted}, not {type(model).__name__}")
        if preprocessor is None:
            preprocessor = self.preprocessor_class(
                model.model_dir, max_length=max_length, sequence_length=sequence_length
            )
        if not isinstance(preprocessor, self.preprocessor_class):
            wanted = self.preprocessor_class.__name__
            raise InputTypeError(f"preprocessor must be an {wanted}, not {type(preprocessor).__name__}")
        if config_file is None and not (Path(model.model_dir) / CONFIGURATION_FILE).is_file():
            # A plain transformers folder; the base class needs a configuration.json.
            config_file = str(default_configuration_file())
        super().__init__(
            config_file=config_file, model=model, preprocessor=preprocessor, device=device, auto_collate=auto_collate
        )
        self._open_backend(Path(model.model_dir).resolve(), backend, dtype, compile)

    def _open_backend(self, folder: Path, backend: BackendName, dtype: DtypeName, compile: bool) -> None:
        """Check that model and preprocessor belong together, and open what computes."""
        raise NotImplementedError

    def __getstate__(self) -> NoReturn:
        # ModelScope's base class holds a lock.
        raise InputTypeError(
            "a pipeline cannot be pickled or copied; make one in each process, or pass its encoder or linker on"
        )

    def _get_framework(self) -> str:
        # The base class reads it from configuration.json, which a plain transformers folder lacks.
        return str(Frameworks.torch)

    def __call__(self, input: Any, *, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Run the pipeline on one input, a list of inputs, or an ``MsDataset``.

        Args:
            input: See the class.
            batch_size: Texts in one forward pass; by default as many as suit the device. Results do not depend on it.
            **kwargs: The call keywords of the class (``call_keywords``).

        Returns:
            One result, a list of results, or an iterator of results for an ``MsDataset``.

        Raises:
            InputError: If an input cannot be used.
            InputTypeError: If an input or keyword has the wrong type, or a keyword is unknown.
        """
        unknown = sorted(set(kwargs) - set(self.call_keywords))
        if unknown:
            known = ", ".join(("batch_size", *self.call_keywords))
            raise InputTypeError(f"unknown keyword {unknown[0]!r} in the call; there are {known}")
        options = {"batch_size": batch_size, **kwargs}
        self.prepare_model()
        if isinstance(input, MsDataset):
            return self._stream(iter(input), options)
        return self._run(input, options) if isinstance(input, list) else self._run([input], options)[0]

    def _stream(self, inputs: Iterator[Any], options: dict[str, Any]) -> Iterator[Any]:
        while chunk := list(islice(inputs, _STREAM_CHUNK)):
            yield from self._run(chunk, options)

    def _run(self, inputs: list[Any], options: dict[str, Any]) -> list[Any]:
        with device_placement(self.framework, self.device_name), torch.no_grad():
            results: list[Any] = self.postprocess(self.forward(self.preprocess(inputs), **options))
        return results


class EntityPipeline(BatchPipeline):
    """A pipeline over a dual encoder, ``self.encoder``."""

    model_class = EntityEmbeddingModel
    preprocessor_class = EntityEmbeddingPreprocessor

    def _open_backend(self, folder: Path, backend: BackendName, dtype: DtypeName, compile: bool) -> None:
        model, tokenizer = self.model.dual_encoder, self.preprocessor.tokenizer
        check_with_probe(model, tokenizer)
        self.encoder = EntityEncoder(
            model, tokenizer, str(folder), open_backend(model, folder, backend, dtype, compile)
        )
