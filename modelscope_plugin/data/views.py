"""Views of an entity (Ma et al. 2021, MuVER): the whole entity, and its name with each part, as texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from modelscope_plugin.config.settings import Settings, setting, setting_of
from modelscope_plugin.config.training_settings import TrainingSettings
from modelscope_plugin.data.entity_text import MAX_CHARACTERS, entity_text
from modelscope_plugin.data.records import Entity
from modelscope_plugin.errors import InputError
from modelscope_plugin.types import ViewScores

WHOLE = (0, 0)
"""The span of the view that is the whole entity; all others hold at least one part."""

# Where a sentence ends: Chinese full stops and their like with closing quotes and brackets behind them; Latin ones
# before white space only, and not behind a single letter or digit, so that 3.5, n!, J. Smith and x.org stay whole.
# A Latin one is looked for at the beginning of a run only, or a long run of dots would be read anew from each dot.
_END = re.compile(r"[。！？…．]+[”’」』）)》\"']*|(?<![.!?])(?<!\b[A-Za-z0-9])[.!?]{1,64}[”’\"')]{0,8}(?=\s)|\n+")
_ENDS = tuple("。！？!?….．”’」』）)》\"'")
# A fact longer than this is running text; it is cut into its sentences.
_LONG_FACT = 200
# What a view shows of the name, and of the name of a fact: half a window of 128 tokens, where each character is one, so
# that there is always room for what the views differ in.
_LONG_NAME = 64


@dataclass(frozen=True)
class ViewSettings(Settings):
    """How an entity is written as several texts, and how the scores of these become one.

    Attributes:
        max_views: Views of an entity at most, the whole among them, before merging; 1 for the whole alone. An
            entity with more parts than fit has neighbouring ones in one view, so that all of its text is seen.
        merge_rounds: How often neighbouring views are merged into longer ones, which come on top.
        merge_share: Share of the views of an entity that a round merges with the next one, those farthest from it.
        view_scores: ``max`` takes the score of the nearest view; ``sum`` orders entities by the softmax over all views
            of the knowledge base, summed over all views of an entity, found or not. MuVER's code adds up only what it
            meets before it has seen 200 entities.
        temperature: What scores are divided by before that softmax, as in training; ``max`` does not use it.

    Raises:
        InputError: If a value is out of its range, or there is nothing to merge.
    """

    max_views: int = setting_of(TrainingSettings, "views", option="--views")
    merge_rounds: int = setting(
        "index.merge_rounds",
        least=0,
        option="--merge-views",
        metavar="ROUNDS",
        help="merge neighbouring views that are far apart into longer ones, on top, for so many rounds",
    )
    merge_share: float = setting("index.merge_share", above=0, most=1, option=None)
    view_scores: ViewScores = setting(
        "index.view_scores",
        option="--view-scores",
        help="score an entity by its nearest view (max), or by the softmax over all views, summed over its own (sum)",
    )
    temperature: float = setting_of(TrainingSettings, "temperature", option=None)

    def _check_combination(self) -> None:
        if self.merge_rounds and self.max_views < 3:
            raise InputError(
                f"merge_rounds={self.merge_rounds} needs max_views of at least 3: the whole and two neighbours"
            )
        if self.view_scores == "max":
            # What is not used must not tell equal settings apart.
            object.__setattr__(self, "temperature", self.declarations()["temperature"].get_default())

    @property
    def sum_temperature(self) -> float:
        """The temperature of the softmax that is summed; 0 where the score is that of the nearest view."""
        return self.temperature if self.view_scores == "sum" else 0.0


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of an entity that its views are made of.

    Attributes:
        texts: Its sentences and facts in order, or runs of them; at most ``max_views - 1``, none of them empty.
        cut: Whether it has more text than was looked at.
    """

    texts: tuple[str, ...]
    cut: bool


def entity_views(entity: Entity, max_views: int) -> list[str]:
    """Write an entity as several texts.

    Args:
        entity: The entity.
        max_views: How many at most.

    Returns:
        First the whole (`entity_text`), then its name with each sentence of the description and each fact, in their
        order; at least one text, each at most `MAX_CHARACTERS` long.
    """
    parts = entity_parts(entity, max_views).texts
    return [view_text(entity, parts, span) for span in view_spans(len(parts))]


def view_spans(parts: int) -> list[tuple[int, int]]:
    """Return the views of an entity with ``parts`` parts as spans of them; the first is the whole entity."""
    return [WHOLE, *((part, part + 1) for part in range(parts))]


def view_text(entity: Entity, parts: Sequence[str], span: tuple[int, int]) -> str:
    """Write one view.

    Args:
        entity: The entity.
        parts: Its parts.
        span: First part and the one behind the last, or `WHOLE`.

    Returns:
        The whole entity, or its name, cut where it is endless, and these parts; at most `MAX_CHARACTERS` long.
    """
    if span == WHOLE:
        return entity_text(entity)
    return f"{entity.name.strip()[:_LONG_NAME]}; {_join(parts[slice(*span)])}"[:MAX_CHARACTERS]


def entity_parts(entity: Entity, max_views: int) -> Parts:
    """Cut an entity into the sentences of its description and its facts.

    Args:
        entity: The entity; of one with more text than ``max_views`` texts hold only the beginning is looked at.
        max_views: Views at most, the whole among them.

    Returns:
        The parts; where they are more than fit, runs of neighbours of about equal number.
    """
    most, limit = max_views - 1, max_views * MAX_CHARACTERS
    if not most:
        return Parts((), False)
    parts: list[str] = []
    length = 0
    for part in _parts(entity, limit):
        if length >= limit:
            return Parts(_group(parts, most), True)
        parts.append(part)
        length += len(part) + 2
    return Parts(_group(parts, most), False)


def _parts(entity: Entity, limit: int) -> Iterator[str]:
    """The sentences and facts of an entity; a little more than ``limit`` of a text, to see that more is there."""
    yield from _sentences(entity.description[: limit + MAX_CHARACTERS])
    for predicate, value in entity.facts:
        value = value[: limit + MAX_CHARACTERS].strip()
        for piece in _sentences(value) if len(value) > _LONG_FACT else filter(None, [value]):
            yield f"{predicate.strip()[:_LONG_NAME]}： {piece}"


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in (*(match.end() for match in _END.finditer(text)), len(text)):
        sentence = text[start:end].strip()
        for cut in range(0, len(sentence), MAX_CHARACTERS):
            yield sentence[cut : cut + MAX_CHARACTERS]
        start = end


def _group(parts: list[str], most: int) -> tuple[str, ...]:
    """Join neighbouring parts into at most ``most`` runs, whose numbers of parts differ by at most one."""
    groups = min(most, len(parts))
    return tuple(
        _join(parts[len(parts) * group // groups : len(parts) * (group + 1) // groups]) for group in range(groups)
    )


def _join(parts: Sequence[str]) -> str:
    return "".join(part + (" " if part.endswith(_ENDS) else "； ") for part in parts[:-1]) + "".join(parts[-1:])
