"""Lets ``modelscope server --model_id FOLDER`` serve a folder of this machine.

ModelScope's server asks the hub for configuration.json even where the model is a folder, and ends when the hub does
not know it; everything after that works with a folder. So the one function it asks with answers for folders itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read_folders_locally(input_output: Any) -> None:
    """Make the server's lookup of a model's file find it in a folder.

    Args:
        input_output: ModelScope's ``modelscope.utils.input_output``, from which the server makes its pipeline.
    """
    download = input_output.model_file_download

    def find_or_download(model_id: str, file_path: str, **options: Any) -> Any:
        # A folder wins over an id of the hub, as in pipeline().
        local = Path(model_id) / file_path
        return str(local) if local.is_file() else download(model_id=model_id, file_path=file_path, **options)

    input_output.model_file_download = find_or_download
