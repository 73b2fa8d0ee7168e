"""Lets ``modelscope server --model_id FOLDER`` serve a local folder.

ModelScope's server asks the hub for configuration.json even if the model is a local folder, and fails because the hub
does not know it; everything after that works with a folder. So the one function that it downloads with is replaced by
one that looks for a local file first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_folders_locally(input_output: Any) -> None:
    """Make ModelScope's server read the files of a local model folder instead of asking the hub.

    Args:
        input_output: The module ``modelscope.utils.input_output``, by which the server makes its pipeline.
    """
    download = input_output.model_file_download

    def find_or_download(model_id: str, file_path: str, **options: Any) -> Any:
        # A local folder goes before a hub id of the same name, as in pipeline().
        local = Path(model_id) / file_path
        return str(local) if local.is_file() else download(model_id=model_id, file_path=file_path, **options)

    input_output.model_file_download = find_or_download
