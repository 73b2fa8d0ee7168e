"""Kinds of FAISS index that an approximate search can use, and the setting of how much of them it looks at."""

from __future__ import annotations

from typing import Any, NamedTuple

from modelscope_plugin.errors import InputError

_FEWEST_LINKS, _MOST_LINKS = 2, 1024


class EffortSetting(NamedTuple):
    """The attribute of a FAISS index that decides how much of it a search looks at.

    Attributes:
        part: The object.
        name: Its attribute.
        lists: The inverted lists there are; 0 for a graph.
    """

    part: Any
    name: str
    lists: int


def effort_setting(index: Any) -> EffortSetting:
    """The effort setting of a FAISS index, which may transform vectors first.

    Raises:
        ValueError: If it has none.
    """
    import faiss

    if isinstance(index, faiss.IndexIDMap | faiss.IndexIDMap2):
        raise ValueError("it numbers its vectors itself")
    found = faiss.try_extract_index_ivf(index)
    if found is not None:
        if found.nlist < 1:
            raise ValueError("it has no lists")
        return EffortSetting(found, "nprobe", int(found.nlist))
    inner = index
    while isinstance(inner, faiss.IndexPreTransform):
        inner = faiss.downcast_index(inner.index)
    if isinstance(inner, faiss.IndexHNSW):
        graph: Any = inner.hnsw
        if not _FEWEST_LINKS <= graph.nb_neighbors(1) <= _MOST_LINKS:
            raise ValueError(f"a graph needs {_FEWEST_LINKS} to {_MOST_LINKS} links of a node")
        return EffortSetting(graph, "efSearch", 0)
    raise ValueError("it has neither inverted lists nor an HNSW graph")


def make_faiss_index(dimension: int, kind: str) -> Any:
    """An empty index of FAISS, for dot products.

    Raises:
        InputError: If FAISS knows no such kind, or it has no effort setting.
    """
    import faiss

    try:
        index = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
        effort_setting(index)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise InputError(
            f"FAISS cannot make an index of kind {kind!r} of {dimension} dimensions ({faiss_message(error)}); choose "
            "another, or search exactly"
        ) from None
    return index


def faiss_message(error: Exception) -> str:
    """The message of a FAISS error, without file and line of its source."""
    return str(error).rsplit("Error: ", 1)[-1]
