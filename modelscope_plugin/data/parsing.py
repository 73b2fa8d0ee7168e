"""Parses one record of a file, a dict, as an entity or as a text: the CCKS forms and our own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

from modelscope_plugin.data.markers import MENTION_END, MENTION_START, parse_marked_text
from modelscope_plugin.data.records import Document, Entity, Mention, excerpt
from modelscope_plugin.errors import InputError

_LIST_SEPARATOR = "|"


def parse_entity(record: Mapping[str, Any]) -> Entity:
    """Read one entity record.

    Args:
        record: Either CCKS 2019/2020 (``subject_id``, ``subject``, ``alias``, ``type``, ``data``) or this
            package's own form (``id``, ``name``, ``aliases``, ``types``, ``description``, ``facts``).
            Lists may be ``|``-joined strings.

    Returns:
        The entity.

    Raises:
        InputError: If the id or the name is missing, or a field has the wrong type.
    """
    if "subject_id" in record:
        return Entity(
            id=_identity(record, "subject_id"),
            name=_text(record, "subject"),
            aliases=_texts(record, "alias"),
            types=_texts(record, "type"),
            facts=_facts(record, "data"),
        )
    if "id" in record:
        return Entity(
            id=_identity(record, "id"),
            name=_text(record, "name"),
            aliases=_texts(record, "aliases"),
            types=_texts(record, "types"),
            description=_text(record, "description", required=False),
            facts=_facts(record, "facts"),
        )
    raise InputError("no entity id; an entity needs 'subject_id' (CCKS) or 'id'")


def parse_document(record: Mapping[str, Any]) -> Document:
    """Read one text record.

    Args:
        record: ``text`` with either ``mention_data`` (CCKS: ``kb_id``, ``mention``, ``offset``), or ``mentions``
            (a list of ``start``, ``end`` and optionally ``mention``, ``entity_ids`` or ``entity_id``), or these
            fields beside the text for one mention, or markers in the text. ``NIL`` and ``NIL_Type`` as an
            entity id say that the knowledge base lacks the entity. ``negatives`` beside them are hard
            negatives: ids, or objects with an ``id``. Spans that occur several times are merged into one
            mention with several gold entities.

    Returns:
        The text and its mentions; an empty list of them says that there is none (`Document.has_no_mentions`).

    Raises:
        InputError: If the text is missing, or offsets do not fit the text or the mention.
    """
    text = _text(record, "text", blank=True)
    text_id = "" if record.get("text_id") is None else str(record["text_id"])
    if record.get("mention_data") not in (None, ""):
        spans = _records(record, "mention_data")
    elif record.get("mentions") not in (None, ""):
        spans = _records(record, "mentions")
    elif record.get("start") not in (None, "") or record.get("offset") not in (None, ""):
        spans = [record]
    else:
        marked = parse_marked_text(text)
        if marked is None:
            return Document(text, (), text_id)
        ids, nil = _gold(record)
        mention = Mention(marked.text, marked.start, marked.end, ids, nil, text_id, _negatives(record, ids))
        return Document(marked.text, (mention,), text_id)
    if MENTION_START in text or MENTION_END in text:
        raise InputError(f"both offsets and markers in {excerpt(text)}; give one of them")
    merged: dict[tuple[int, int], Mention] = {}
    for span in spans:
        start, end = _span(text, span)
        (ids, nil), negatives = _gold(span), _negatives(span, ())
        known = merged.get((start, end))
        if known is not None:
            ids, nil = tuple(dict.fromkeys(known.entity_ids + ids)), known.nil or nil
            negatives = known.negatives + negatives
        negatives = tuple(one for one in dict.fromkeys(negatives) if one not in ids)
        merged[start, end] = Mention(text, start, end, ids, None if ids else nil, text_id, negatives)
    return Document(text, tuple(merged.values()), text_id, has_no_mentions=not merged)


def _span(text: str, span: Mapping[str, Any]) -> tuple[int, int]:
    surface = span.get("mention")
    if surface in (None, ""):
        surface = None
        if "end" not in span:
            raise InputError("empty mention; a mention needs 'mention', or 'start' and 'end'")
    elif not isinstance(surface, str):
        raise InputError(f"'mention' must be text, not {surface!r}")
    start = _integer(span, "start" if span.get("start") not in (None, "") else "offset")
    end = _integer(span, "end") if span.get("end") not in (None, "") else start + len(surface or "")
    if start < 0 or end > len(text):
        raise InputError(
            f"mention offsets {start}:{end} lie outside the text of {len(text)} characters {excerpt(text)}"
        )
    if surface is not None and text[start:end] != surface:
        raise InputError(
            f"mention {surface!r} is not at offset {start} of {excerpt(text)}, where "
            f"{text[start : start + len(surface)]!r} is; offsets count characters from 0"
        )
    return start, end


def _gold(record: Mapping[str, Any]) -> tuple[tuple[str, ...], str | None]:
    """The gold entities of a mention and its NIL label."""
    for key in ("entity_ids", "entity_id", "kb_id"):
        value = record.get(key)
        if value is None or value == "":
            continue
        ids = _ids(value, key)
        nil = next((item for item in ids if item == "NIL" or item.startswith("NIL_")), None)
        known = tuple(item for item in ids if item != "NIL" and not item.startswith("NIL_"))
        return known, None if known else nil
    return (), None


def _negatives(record: Mapping[str, Any], golds: tuple[str, ...]) -> tuple[str, ...]:
    """The hard negatives of a mention, without its gold entities."""
    value = record.get("negatives")
    if value is None or value == "":
        return ()
    if isinstance(value, list | tuple):
        value = [item.get("id") if isinstance(item, Mapping) else item for item in value]
    return tuple(one for one in _ids(value, "negatives") if one not in golds)


def _ids(value: Any, key: str) -> tuple[str, ...]:
    """Entity ids from one, a list, or a text with separators; each once."""
    values = value.split(_LIST_SEPARATOR) if isinstance(value, str) else value
    values = list(values) if isinstance(values, list | tuple) else [values]
    if not all(isinstance(item, str | int) and not isinstance(item, bool) for item in values):
        raise InputError(f"{key!r} must be an entity id or a list of them, not {value!r}")
    return tuple(dict.fromkeys(str(item).strip() for item in values if str(item).strip()))


def _identity(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key!r} is missing or empty; every entity needs an id")
    return value.strip()


def _text(record: Mapping[str, Any], key: str, *, required: bool = True, blank: bool = False) -> str:
    value = record.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not blank and not value.strip()):
        raise InputError(f"{key!r} is missing or no text")
    return value


def _texts(record: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = record.get(key)
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split(_LIST_SEPARATOR)
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{key!r} must be a list of texts or one text with {_LIST_SEPARATOR!r} between them")
    return tuple(item.strip() for item in value if item.strip())


def _facts(record: Mapping[str, Any], key: str) -> tuple[tuple[str, str], ...]:
    facts = []
    for fact in _as_list(record, key):
        if isinstance(fact, Mapping):
            predicate, value = fact.get("predicate"), fact.get("object")
        elif isinstance(fact, list | tuple) and len(fact) == 2:
            predicate, value = fact
        else:
            raise InputError(f"a fact in {key!r} must be a pair of texts, not {fact!r}")
        if not isinstance(predicate, str) or not isinstance(value, str):
            raise InputError(f"a fact in {key!r} must have a text as predicate and object, not {fact!r}")
        facts.append((predicate, value))
    return tuple(facts)


def _records(record: Mapping[str, Any], key: str) -> Iterable[Mapping[str, Any]]:
    values = _as_list(record, key)
    for value in values:
        if not isinstance(value, Mapping):
            raise InputError(f"{key!r} must be a list of objects, not of {value!r}")
    return values


def _as_list(record: Mapping[str, Any], key: str) -> list[Any]:
    value = record.get(key)
    if value in (None, ""):
        return []
    if not isinstance(value, list | tuple):
        raise InputError(f"{key!r} must be a list, not {value!r}")
    return list(value)


def _integer(record: Mapping[str, Any], key: str) -> int:
    value = record.get(key)
    try:
        if isinstance(value, bool):
            raise TypeError
        return int(value) if isinstance(value, str) else index(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(f"mention {key}={value!r} must be an integer character offset") from None
