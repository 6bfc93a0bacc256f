"""Service time against one measure of work, learned online.

    log time = level + shape(work) + noise

The level is the speed of the machine, shared by all works. The shape rests on nodes, one for each quarter of
an octave of work that was ever seen. Each batch moves the level a little, and its node by its share in the
mean of what that node has seen. So the whole law scales with a machine that slows down while one size alone
is seen, and noise at one size does not turn the slope.

What each part is worth: the most that is lost where it is left out, of latency, of requests in time, or of
what is done in a second of the device (`python -m benches.policy estimator`, means of 5 seeds).

    nodes and bends            30 % where time grows in steps of 8 items, 13 % in powers of 2, 8 to 49 %
                               of a padded backlog; that is against a plain line in the curve's place
    ... four to an octave      22 % in steps of 8
    ... bent as far as due     5 % in steps of 8 while the speed changes; 5 % with outliers
    residuals clipped          6 % with outliers
    a level beside the nodes   4 % while the speed changes
    jumps of the level         5 % while the speed changes
    a slow first is ignored    160 % with outliers, 8 % where each size is slow at first
    slow starts are forgotten  9 % on a device that becomes faster; and predictions within 10 % a few batches
                               after a cold start
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, exp, log, log2, sqrt
from statistics import median

from rpcb_trio._statistics import fit_line

PER_OCTAVE = 4
"""How many nodes; each ends with its largest work, since tiles and paddings end at powers of two."""
NO_WORK = -10_000
"""The bucket of no work."""
MOST_NODES = 48
FIRST_NOISE = 0.0625
"""The variance of one batch's logarithm before it is known: a spread of 25 %."""
LEAST_NOISE = 1e-4
DISCOUNT = 0.02
"""The weight of the newest batch in the noise, in the long run; and in the level."""
LEVEL_DISCOUNT = DISCOUNT
NODE_DISCOUNT = DISCOUNT / 4
"""The same in its node: less, so that the level takes most of what is common to all."""
CLIP = 2.0
"""Residuals beyond so many standard deviations count as this (Huber)."""
RUN = 5
"""So many residuals in a row beyond that, all slower or all faster, and the machine has another speed."""
SLOW = log(2)
"""The first batch of a node does not count if it takes so much longer than expected (a logarithm: twice)."""
FAST = log(2)
"""A batch that takes so much less than expected is a surprise ..."""
SURE = 3.0
"""... if that is also beyond so many standard deviations."""
YOUNG = 3
"""A node of fewer batches may have been slow because they came first."""
SETTLED = 8
"""A node of so many batches changes little at each; then the shape is fitted every so many batches."""
UNDECIDED = 3.0
"""The weight of the prior that an average batch's time is half fixed, half growing: any share of 0 to 1 is as
likely as another, so that (a - k * work) / time has a variance of 1/3."""
FIRST_MISFIT = 0.01
"""The variance of the nodes around the line before there are enough nodes to tell: 10 %."""
LARGEST_MISFIT = 1.0
LEAST_FIXED = 1e-3
"""The fixed part is at least this share of the shortest time seen, so that all predictions are positive."""


class Node:
    """What was seen near one work."""

    __slots__ = ("count", "height", "work")

    def __init__(self, work: float, height: float, count: int) -> None:
        self.work = work
        self.height = height
        """The logarithm of the time, at a speed of the machine that all nodes share."""
        self.count = count
        """How many batches it is the mean of; 0 if the next one takes the place of its only one."""


class Shape:
    """A time (of no unit) for each work of 0 or more; positive, and never less for more work.

    It is a line, fixed + slope * work, fitted to the nodes and bent towards them as far as they contradict it
    by more than their noise explains. How far that is, is the between-groups variance of a random-effects
    model (Paule and Mandel, "Consensus values and weighting factors", 1982), one Newton step at each fit.

    Args:
        nodes: at least one, in order of their works, which are distinct.
        variances: of each node's height.
        misfit: the variance of the nodes around the line, as the last fit left it.
    """

    __slots__ = ("_fixed", "_heights", "_slope", "_works", "misfit")

    def __init__(
        self, nodes: Sequence[Node], variances: Sequence[float], misfit: float = FIRST_MISFIT
    ) -> None:
        self._works = works = [node.work for node in nodes]
        times = [exp(node.height) for node in nodes]
        weights = [1 / (variance + misfit) for variance in variances]
        fixed, self._slope = fit_line(works, times, weights, prior=UNDECIDED)
        self._fixed = max(fixed, LEAST_FIXED * min(times))
        line = [self._fixed + self._slope * work for work in works]
        above = [node.height - log(by_line) for node, by_line in zip(nodes, line, strict=True)]
        self.misfit = _misfit(above, weights, misfit)
        bent = [
            by_line * exp(excess * self.misfit / (self.misfit + variance))
            for by_line, excess, variance in zip(line, above, variances, strict=True)
        ]
        # level every fall: halfway between what must be raised and what must be lowered
        lowered = [*accumulate(reversed(bent), min)]
        self._heights = [(a + b) / 2 for a, b in zip(accumulate(bent, max), reversed(lowered), strict=True)]

    def __call__(self, work: float) -> float:
        """The time for `work`: interpolated between nodes, proportional to the line beyond them."""
        works, heights = self._works, self._heights
        right = bisect_left(works, work)
        if 0 < right < len(works):
            left = right - 1
            share = (work - works[left]) / (works[right] - works[left])
            return heights[left] + share * (heights[right] - heights[left])
        end = min(right, len(works) - 1)
        return heights[end] * (self._fixed + self._slope * work) / (self._fixed + self._slope * works[end])


class Curve:
    """Seconds against work. Works are 0 to 1e100, seconds 1e-9 to 1e9: the caller sees to that."""

    def __init__(self) -> None:
        self.shape = Shape([Node(0.0, 0.0, 1)], [FIRST_NOISE])
        self.noise = FIRST_NOISE
        """The variance of the residuals' logarithms, without outliers."""
        self._nodes: dict[int, Node] = {}
        self._slow = set[int]()
        """The buckets whose first batch was so slow that it did not count."""
        self._level = 0.0
        self._count = 0
        self._run: deque[float] = deque(maxlen=RUN)

    def predict(self, work: float) -> float:
        """How many seconds `work` takes; call it only after `observe`."""
        return exp(self._level) * self.shape(work)

    def observe(self, work: float, seconds: float) -> float | None:
        """Learn, and say by how much (as a logarithm) the time was off; None where such work is new."""
        time = log(seconds)
        if not self._nodes:
            self._level = time
        bucket = ceil(PER_OCTAVE * log2(work)) if work else NO_WORK
        node = self._nodes.get(bucket)
        residual = time - self._level - self._expected(work, node)
        if residual < -max(FAST, SURE * sqrt(self.noise)) and (node is None or node.count < YOUNG):
            self._forget_slow_starts(bucket, work, time)
        elif node is None:
            self._meet(bucket, work, residual)
        elif not node.count:
            node.height, node.count = node.height + residual, 1
            self._fit()
        else:
            self._update(node, residual)
        return None if node is None else residual

    def _expected(self, work: float, node: Node | None) -> float:
        if node is None:
            return log(self.shape(work))
        return (
            node.height if work == node.work else node.height + log(self.shape(work) / self.shape(node.work))
        )

    def _meet(self, bucket: int, work: float, residual: float) -> None:
        """Add a node. The first batch of a shape is often slow: then the second one adds it."""
        if residual > SLOW and bucket not in self._slow:
            self._slow.add(bucket)
            return
        self._put(bucket, Node(work, log(self.shape(work)) + residual, 1))

    def _forget_slow_starts(self, bucket: int, work: float, time: float) -> None:
        """Believe the fast one: it is hardly chance, and what came first may have been slow.

        Young nodes go that contradict it: more work can't take half the time, nor less work less than half
        its share. Unless other young ones agree with it, the next batch of such work takes its place.
        """
        height = time - self._level
        self._nodes = {
            each: node
            for each, node in self._nodes.items()
            if node.count >= YOUNG or (each != bucket and node.height <= height + FAST + _growth(work, node))
        }
        if not self._nodes:
            self._level, height = time, 0.0
        is_confirmed = self._nodes and all(node.count < YOUNG for node in self._nodes.values())
        self._put(bucket, Node(work, height, 1 if is_confirmed else 0))

    def _put(self, bucket: int, node: Node) -> None:
        if len(self._nodes) == MOST_NODES:
            del self._nodes[min(self._nodes, key=lambda each: self._nodes[each].count)]
        self._nodes[bucket] = node
        self._fit()

    def _update(self, node: Node, residual: float) -> None:
        self._count += 1
        share = 1 + 1 / node.count  # the node is uncertain as well
        bound = CLIP * sqrt(self.noise * share)
        clipped = _clipped(residual, bound)
        discount = max(DISCOUNT, 1 / (self._count + 1))
        self.noise = max(LEAST_NOISE, self.noise + discount * (clipped * clipped / share - self.noise))
        if self._has_jumped(residual, bound):
            return
        self._level += LEVEL_DISCOUNT * clipped
        node.count += 1
        node.height += clipped * max(NODE_DISCOUNT, 1 / node.count)
        if node.count < SETTLED or self._count % SETTLED == 0:
            self._fit()

    def _has_jumped(self, residual: float, bound: float) -> bool:
        """Whether the machine has another speed now; if so, take it from the batches that showed it."""
        run = self._run
        if abs(residual) < bound or (run and (residual > 0) != (run[0] > 0)):
            run.clear()
        if abs(residual) >= bound:
            run.append(residual)
        if len(run) < RUN:
            return False
        self._level += median(run)
        run.clear()
        return True

    def _fit(self) -> None:
        nodes = [self._nodes[bucket] for bucket in sorted(self._nodes)]
        variances = [self.noise * max(NODE_DISCOUNT / 2, 1 / max(node.count, 1)) for node in nodes]
        self.shape = Shape(nodes, variances, self.shape.misfit)


def _misfit(above: Sequence[float], weights: Sequence[float], misfit: float) -> float:
    """The variance around the line for which the weighted squares come out as they should: one step to it."""
    freedom = len(above) - 2
    if freedom < 1:
        return FIRST_MISFIT
    excess = sum(weight * each * each for weight, each in zip(weights, above, strict=True))
    fall = sum((weight * each) ** 2 for weight, each in zip(weights, above, strict=True))
    if not fall:
        return 0.0
    return min(max(0.0, misfit + (excess - freedom) / fall), LARGEST_MISFIT)


def _clipped(residual: float, bound: float) -> float:
    return max(-bound, min(bound, residual))


def _growth(work: float, node: Node) -> float:
    """The most by which the node's work can take longer, as a logarithm."""
    return log(node.work / work) if node.work > work > 0 else 0.0
