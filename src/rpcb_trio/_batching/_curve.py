"""Service time against one measure of work, learned online.

    log time = level + shape(work) + noise

The level is the speed of the machine, shared by all works; it drifts, and now and then it jumps. The shape
(`_shape`) rests on nodes, one for each quarter of an octave of work that was ever seen; they change slowly,
and only when they are visited. A batch's residual is divided between the level and its node, as a Kalman
filter would (the covariance between the two is left out). So the machine may slow down while one size
alone is seen and the whole law scales with it, and noise at one size cannot turn the slope: the level takes
most of it, and what the node takes comes back with the level's.

Residuals are clipped (Huber), and far ones more so (Hampel), so an outlier counts as less than noise. A jump
is believed when the median of the last few residuals lies beyond what noise explains: then the level starts
afresh from them.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from math import ceil, exp, log, log2, pi, sqrt

import msgspec

from rpcb_trio._batching._shape import FIRST_MISFIT, Node, Shape

PER_OCTAVE = 4
"""How many nodes; each ends with its largest work, since tiles and paddings end at powers of two."""
NONE_AT_ALL = -10_000
"""The bucket of no work."""
MOST_NODES = 48
FIRST_NOISE = 0.0625
"""The variance of one observation before it is known: a spread of 25 %."""
LEAST_NOISE = 1e-4
CLIP = 2.0
"""Residuals beyond so many standard deviations count as this; far beyond, as less."""
FAR = 0.5
"""A batch of which less counts contradicts its node; ..."""
REFUTED = 3
"""... so many in a row, and the node was wrong: it is worth no more than one, and follows them."""
DISCOUNT = 0.02
"""The weight of the newest batch, in the long run: about the last 100 count."""
LEVEL_DRIFT = DISCOUNT**2
"""How much the level's variance grows from batch to batch, in units of the noise's."""
NODE_DRIFT = LEVEL_DRIFT / 16
"""The same for a node, since it was visited; at most for ..."""
LONGEST_AGE = 2500
"""... so many batches."""
WINDOW = 11
"""How many batches tell of a jump; a majority must agree."""
LATEST = 5
"""All but one of so many must be beyond half the jump, and agree: outliers come and go."""
MEDIAN = pi / 2 / WINDOW
"""The variance of their median, in units of the noise's."""
JUMP = 4.0
"""How many standard deviations of its own the median must be off."""
AFTER_JUMP = 8.0
"""What a node is worth at most after a jump: the shape may have changed as well."""
FEW = 1
"""How many batches the first guess of the noise is worth; more would be more careful than deadlines bear."""
YOUNG = 3.0
"""A node worth less may have been a cold start."""
TWICE = log(2)
ON_TRIAL = 0.05
"""What a node is worth, at most, whose first batch took far longer than the others said."""
SETTLED = 8
"""A node worth so much changes little at each batch; then the shape is fitted every so many batches."""


class Sighting(msgspec.Struct, frozen=True):
    """One of the last batches, by which a jump is noticed."""

    node: Node
    height: float
    """The node's when the batch came, and so are the rest."""
    weight: float
    noise: float
    time: float
    """The logarithm of its seconds, as if it had done the node's work."""


class Curve:
    """Seconds against work. Works are 0 to 1e100, seconds 1e-9 to 1e9: the caller sees to that."""

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}
        self.shape = Shape([Node(0.0, 0.0, 1.0, 0)], FIRST_NOISE)
        self._level = 0.0
        self._level_variance = DISCOUNT
        self._noise = FIRST_NOISE
        self._surprises = 0
        self._count = 0
        self._recent: deque[Sighting] = deque(maxlen=WINDOW)

    @property
    def spread(self) -> float:
        """The standard deviation of the residuals' logarithms."""
        return sqrt(self._noise)

    def predict(self, work: float) -> float:
        """How many seconds `work` takes; call it only after `observe`."""
        return exp(self._level) * self.shape(work)

    def observe(self, work: float, seconds: float) -> float | None:
        """Learn, and say by how much (as a logarithm) the time was off; None where such work is new."""
        self._count += 1
        bucket = ceil(PER_OCTAVE * log2(work)) if work else NONE_AT_ALL
        node = self._nodes.get(bucket)
        if node is None:
            self._meet(bucket, work, log(seconds))
            return None
        time = log(seconds)
        if work != node.work:
            time += log(self.shape(node.work) / self.shape(work))
        residual = time - self._level - node.height
        self._recent.append(Sighting(node, node.height, node.weight, self._noise, time))
        doubt = 0.0 if node.weight <= ON_TRIAL else max(TWICE, 3 * self.spread)
        if node.weight < YOUNG and residual < -doubt:
            self._restart(node, time)
        else:
            self._update(node, residual)
        return residual

    def _meet(self, bucket: int, work: float, time: float) -> None:
        """Add a node; one that surprises by its slowness only on trial, as the first of a shape often is."""
        if not self._nodes:
            self._level = time
        height = log(self.shape(work)) if self._nodes else 0.0
        residual = time - self._level - height
        weight = 1.0 if residual <= TWICE else min(self._noise, ON_TRIAL)  # so that its own variance is 1
        node = Node(work, height + min(residual, TWICE), weight, self._count)
        if len(self._nodes) == MOST_NODES:
            del self._nodes[min(self._nodes, key=lambda each: self._nodes[each].weight)]
        self._nodes[bucket] = node
        if residual < -TWICE:
            self._disprove(node)
        self._fit()

    def _restart(self, node: Node, time: float) -> None:
        """Forget what was seen of such work: it was slow because it came first."""
        node.height, node.weight, node.seen = time - self._level, 1.0, self._count
        self._disprove(node)
        self._fit()

    def _disprove(self, fast: Node) -> None:
        """Drop slow starters: more work can't take half the time, nor less work less than half its share."""
        for bucket, node in list(self._nodes.items()):
            growth = log(node.work / fast.work) if node.work > fast.work > 0 else 0.0
            if node.weight < YOUNG and node.height > fast.height + growth + TWICE:
                del self._nodes[bucket]

    def _update(self, node: Node, residual: float) -> None:
        variance = 1 / node.weight + NODE_DRIFT * min(self._count - node.seen, LONGEST_AGE)
        total = 1 + variance + self._level_variance
        credence = _credence(abs(residual), CLIP * sqrt(self._noise * total))
        step = credence * residual / total
        self._level += self._level_variance * step
        node.height += variance * step
        node.weight = total / (variance * (total - credence * variance))
        node.seen = self._count
        node.contradictions = node.contradictions + 1 if credence < FAR else 0
        if node.contradictions >= REFUTED:
            node.weight = min(node.weight, 1.0)
        self._level_variance *= 1 - credence * self._level_variance / total
        self._level_variance = min(self._level_variance + LEVEL_DRIFT, 1.0)
        self._learn_noise(residual * residual / total)
        has_jumped = self._notice_jump()
        if has_jumped or node.weight < SETTLED or self._count % SETTLED == 0:
            self._fit()

    def _learn_noise(self, square: float) -> None:
        self._surprises += 1
        discount = max(DISCOUNT, 1 / (self._surprises + FEW))
        self._noise += discount * (min(square, CLIP * CLIP * self._noise) - self._noise)
        self._noise = max(self._noise, LEAST_NOISE)

    def _notice_jump(self) -> bool:
        """Whether the machine has another speed now; if so, learn it from the batches that showed it.

        All are compared with what their nodes were before the window: since then a node that is not well
        known may have taken the jump for its own.
        """
        if len(self._recent) < WINDOW:
            return False
        first = {each.node: each for each in reversed(self._recent)}
        if self._is_steady(first):
            return False
        levels = [(each.time - first[each.node].height, first[each.node].weight) for each in self._recent]
        level, weight = sorted(levels)[WINDOW // 2]
        jump = level - self._level
        least = JUMP * sqrt(self._recent[0].noise * (MEDIAN + 1 / weight))
        if abs(jump) < least:
            return False
        beyond = [(each - self._level) / jump > 1 / 2 for each, _ in levels]
        after = sorted(each for (each, _), is_beyond in zip(levels, beyond, strict=True) if is_beyond)
        reached = after[len(after) // 2]
        if sum(beyond[-LATEST:]) < LATEST - 1 or abs(reached - level) > least:
            return False
        self._level = reached
        self._level_variance = 1 / len(after)
        for node, sighting in first.items():
            node.height, node.weight = sighting.height, sighting.weight
        for node in self._nodes.values():
            node.weight = min(node.weight, AFTER_JUMP)
        self._recent.clear()
        return True

    def _is_steady(self, first: dict[Node, Sighting]) -> bool:
        """Whether two of the latest are too near to the level for any jump; found out with little work."""
        near = JUMP * sqrt(self._recent[0].noise * MEDIAN) / 2
        steady = 0
        for each in islice(reversed(self._recent), LATEST):
            steady += abs(each.time - first[each.node].height - self._level) <= near
            if steady > 1:
                return True
        return False

    def _fit(self) -> None:
        nodes = [self._nodes[bucket] for bucket in sorted(self._nodes)]
        misfit = self.shape.misfit if len(nodes) > 1 else FIRST_MISFIT
        self.shape = Shape(nodes, self._noise, misfit)


def _credence(residual: float, bound: float) -> float:
    """What share of a residual counts: all up to `bound`, then as much as `bound`, beyond twice that less."""
    if residual <= bound:
        return 1.0
    return bound / residual * min(1.0, 2 * bound / residual)
