"""How often a name is a mention where it stands in a text, counted in labelled texts.

The link probability of wikification (Mihalcea and Csomai 2007, Milne and Witten 2008), with a prior for
names that the labelled texts have seldom or never.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from modelscope_plugin.linking.detection.protocol import Span

# Lengths from here on share one prior.
_LONGEST = 8
# How many occurrences the prior is worth.
_PRIOR_WEIGHT = 1.0


class LinkProbabilities:
    """The link probabilities of names.

    Args:
        counts: For each normalised name how often it stands in the labelled texts, and how often it is a mention there.
    """

    def __init__(self, counts: Mapping[str, tuple[int, int]]) -> None:
        self.counts = counts
        occurrences, mentions = Counter[int](), Counter[int]()
        for name, (stands, is_mention) in counts.items():
            length = min(len(name), _LONGEST)
            occurrences[length] += stands
            mentions[length] += is_mention
        overall = (sum(mentions.values()) + 1) / (sum(occurrences.values()) + 2)
        self._priors = [(mentions[length] + overall) / (occurrences[length] + 1) for length in range(_LONGEST + 1)]

    def of(self, name: str) -> float:
        """The probability, 0 to 1, that a normalised name is a mention where it stands.

        Names that were counted seldom or never get the mean of all names of their length.
        """
        occurrences, mentions = self.counts.get(name, (0, 0))
        prior = self._priors[min(len(name), _LONGEST)]
        return (mentions + _PRIOR_WEIGHT * prior) / (occurrences + _PRIOR_WEIGHT)


def count_links(matches: Iterable[tuple[Sequence[tuple[Span, str]], set[Span]]]) -> dict[str, tuple[int, int]]:
    """Count how often names stand in labelled texts, and how often they are mentions there.

    Args:
        matches: For each text all names that stand in it, each with its span and normalised, and the spans of all its
            mentions.

    Returns:
        For each name both counts.
    """
    occurrences, mentions = Counter[str](), Counter[str]()
    for names, spans in matches:
        for span, name in names:
            occurrences[name] += 1
            mentions[name] += span in spans
    return {name: (count, mentions[name]) for name, count in occurrences.items()}


def choose_spans(matches: Iterable[tuple[Span, str]], probabilities: LinkProbabilities, threshold: float) -> list[Span]:
    """Choose the mentions among the names that stand in a text, all of them together.

    The spans chosen do not overlap; among such sets it is the one with the largest sum of (probability - threshold) x
    length. Of equal sets it is the one whose last span ends first.

    Args:
        matches: The names, each with its span and normalised.
        probabilities: Their link probabilities.
        threshold: The least probability of a mention, 0 to 1.

    Returns:
        The spans, in the order of the text.
    """
    weighted = [(end, start, (probabilities.of(name) - threshold) * (end - start)) for (start, end), name in matches]
    # The best sum of the spans that end up to each position, the last span of that set, and the set before it.
    ends, sums, last, before = [0], [0.0], [(0, 0)], [0]
    for end, start, weight in sorted(one for one in weighted if one[2] > 0):
        position = bisect_right(ends, start) - 1
        if sums[position] + weight > sums[-1]:
            ends.append(end)
            sums.append(sums[position] + weight)
            last.append((start, end))
            before.append(position)
    chosen = []
    position = len(ends) - 1
    while position:
        chosen.append(last[position])
        position = before[position]
    return chosen[::-1]
