"""Gold entities of one mention that are spread over several records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from modelscope_plugin.data.records import Mention


def merge_golds(mentions: Iterable[Mention]) -> list[Mention]:
    """Give every mention the gold entities of all records of the same span of the same text.

    Files with one gold entity a line repeat a mention for each of its gold entities; none of these entities may
    become a negative of the others.

    Args:
        mentions: Mentions of one data set.

    Returns:
        As many mentions, in the same order.
    """
    given = list(mentions)
    golds: dict[tuple[str, int, int], dict[str, None]] = {}
    for mention in given:
        span = golds.setdefault((mention.text, mention.start, mention.end), {})
        span.update(dict.fromkeys(mention.entity_ids))
    return [_add_golds(mention, tuple(golds[mention.text, mention.start, mention.end])) for mention in given]


def _add_golds(mention: Mention, golds: tuple[str, ...]) -> Mention:
    if len(golds) == len(mention.entity_ids):
        return mention
    # Its own come first; a record without a gold entity gets them too, and is no NIL then.
    ordered = tuple(dict.fromkeys((*mention.entity_ids, *golds)))
    return replace(mention, entity_ids=ordered, nil=None)
