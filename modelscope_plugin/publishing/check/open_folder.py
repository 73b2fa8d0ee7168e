"""Opens an exported folder in one way, in a fresh process: encodes texts, then runs snippets of Python.

This file is run by its path, not as a module: a standalone folder must open without the package.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

DONE = "done"
"""Content of the outcome file if everything went well."""


def _plugin(job: dict[str, Any]) -> Any:
    __import__("modelscope_plugin")
    return _pipeline(job)


def _standalone(job: dict[str, Any]) -> Any:
    # As if neither the package nor its dependencies beyond ModelScope were installed.
    for name in ("modelscope_plugin", "faiss", "tabulate", "sentence_transformers"):
        sys.modules[name] = None  # type: ignore[assignment]
    return _pipeline(job)


def _pipeline(job: dict[str, Any]) -> Any:
    from modelscope.pipelines import pipeline

    pipe = pipeline("sentence-embedding", job["folder"], device="cpu", trust_remote_code=job["standalone"])
    inputs = {"source_sentence": job["mentions"], "sentences_to_compare": job["entities"]}
    return pipe(inputs)["text_embedding"]


def _sentence_transformers(job: dict[str, Any]) -> Any:
    import modelscope
    import numpy as np
    from sentence_transformers import SentenceTransformer

    # The snippet downloads the model, which is not on the hub yet.
    modelscope.snapshot_download = lambda *_, **__: job["folder"]
    model = SentenceTransformer(job["folder"], device="cpu")
    return np.concatenate([model.encode_query(job["mentions"]), model.encode_document(job["entities"])])


def _onnx(job: dict[str, Any]) -> Any:
    import numpy as np

    from modelscope_plugin import EntityEncoder

    encoder = EntityEncoder.from_pretrained(job["folder"], device="cpu", backend=job["way"])
    return np.concatenate([encoder.encode_query(job["mentions"]), encoder.encode_document(job["entities"])])


WAYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "plugin": _plugin,
    "standalone": _standalone,
    "sentence-transformers": _sentence_transformers,
    "onnx": _onnx,
    "onnx-int8": _onnx,
}
"""The ways of opening a folder; each returns the vectors of the job's mentions, then of its entities."""


def _main(way: str, job_file: str, vectors_file: str, outcome_file: str) -> None:
    import numpy as np

    job = {"way": way, **json.loads(Path(job_file).read_text(encoding="utf-8"))}
    step = "opening the folder"
    outcome = DONE
    try:
        np.save(vectors_file, WAYS[way](job))
        for name, code in job["snippets"].items():
            step = f"the {name} snippet of the card"
            exec(compile(code, step, "exec"), {"__name__": "__main__"})
    except BaseException as error:  # a snippet that exits has not run to its end
        traceback.print_exc()
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        outcome = f"{step} failed ({type(error).__name__}: {reason})"
    Path(outcome_file).write_text(outcome, encoding="utf-8")


if __name__ == "__main__":
    # Nothing may be imported from the folder of this file.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    _main(*sys.argv[1:])
