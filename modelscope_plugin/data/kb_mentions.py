"""Training mentions made from a knowledge base, for use without labelled texts or with few."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

from modelscope_plugin.data.records import Entity, Mention

_BREAKS = re.compile(r"[，。；、：！？,;!?\n]+|\.\s")
_SEPARATOR = "，"
# A clause longer than this says enough in its beginning.
_CLAUSE = 40


def mentions_of_entity(entity: Entity, per_name: int, seed: int) -> Iterator[Mention]:
    """Write mentions of an entity from its own names and description.

    Each name occurs once alone, and otherwise beside clauses drawn from the description and the facts, so
    that a model learns that a name, and words of the description around it, point to the entity.

    Args:
        entity: The entity.
        per_name: How many mentions for each of its names.
        seed: Seed of the draw; together with the entity's id it alone decides.

    Yields:
        The mentions, with the entity as gold.
    """
    draw = random.Random(f"{seed} {entity.id}")
    clauses = clauses_of(entity)
    for name in dict.fromkeys((entity.name.strip(), *(alias.strip() for alias in entity.aliases))):
        for turn in range(per_name if name else 0):
            chosen = draw.sample(clauses, min(2, len(clauses))) if turn else []
            before = chosen[0] + _SEPARATOR if len(chosen) == 2 and draw.random() < 0.5 else ""
            after = _SEPARATOR + chosen[-1] if chosen else ""
            yield Mention(before + name + after, len(before), len(before) + len(name), (entity.id,))


def clauses_of(entity: Entity) -> list[str]:
    """Return the clauses of the description and the facts of an entity, each at most 40 characters of it."""
    texts = (entity.description, *(value for _, value in entity.facts))
    return [clause.strip()[:_CLAUSE] for text in texts for clause in _BREAKS.split(text) if clause.strip()]
