"""The engine's rule for pieces on a cluster, on a simulated clock, with slow nodes and nodes that die.

What decides the order is the real `engine.ahead`: it submits pieces in order, `AHEAD` for each core under way, and
collects results in order. Simulated are the cores that take submitted pieces first come, first served; nodes that die
at random, lose the pieces under way and come back; and the starting process, which works on one result at a time. A
lost piece goes to the end of the queue, and is lost for good after `TRIES` attempts, as in `engine.on_ray`.

Not simulated: Ray's own costs beyond a constant for each piece, the network, storage.
"""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field

from llm_core.runtime.engine import AHEAD, TRIES, ahead

TOLERANCE = 0.2  # between formula and simulation, of the formula's hours


@dataclass(frozen=True)
class Trouble:
    """What goes wrong on a cluster. The defaults: nothing does."""

    spread: float = 0.0
    """a piece takes up to this share more or less than the mean"""
    slow_share: float = 0.0
    """share of nodes that are slow (at least one node where it is above 0)"""
    slowness: float = 1.0
    """how many times as long a piece takes on a slow node"""
    hours_between_deaths: float = float("inf")
    """mean, of one node"""
    hours_away: float = 0.0
    """until another node is there in place of a dead one"""


@dataclass
class Piece:
    seconds: float
    attempts: int = 0
    done: bool = False


@dataclass
class Outcome:
    """What a simulated stage took."""

    hours: float
    deaths: int
    repeated: int
    """pieces that ran again, counted each time"""


class PieceLostError(Exception):
    """A piece was lost as often as the engine tries it; the verb ends with an error."""


@dataclass(order=True)
class Event:
    at: float
    number: int
    kind: str = field(compare=False)
    node: int = field(compare=False)
    life: int = field(compare=False)
    """how often the node had died when this was planned; another number now: the event is void"""
    piece: Piece | None = field(compare=False, default=None)


class Cluster:
    """Nodes with cores, and the clock, in seconds."""

    def __init__(self, nodes: int, cores: int, trouble: Trouble, seed: int) -> None:
        self.trouble, self.random, self.cores = trouble, random.Random(seed), cores
        slow = max(1, round(nodes * trouble.slow_share)) if trouble.slow_share else 0
        self.factors = [trouble.slowness] * slow + [1.0] * (nodes - slow)
        self.random.shuffle(self.factors)
        self.now = 0.0
        self.deaths = self.repeated = self._number = 0
        self._lives = [0] * nodes
        self._under_way: list[list[Piece]] = [[] for _ in range(nodes)]
        self._queue: deque[Piece] = deque()
        self._idle = deque(node for _ in range(cores) for node in range(nodes))  # spread over nodes first
        self._events: list[Event] = []
        for node in range(nodes):
            self._plan_death(node)

    def submit(self, piece: Piece) -> Piece:
        self._queue.append(piece)
        self._start()
        return piece

    def wait(self, piece: Piece) -> None:
        """Let time pass until the piece is done. Raises PieceLostError."""
        while not piece.done:
            self._step()

    def work(self, seconds: float) -> None:
        """The starting process works; the nodes go on meanwhile."""
        until = self.now + seconds
        while self._events and self._events[0].at <= until:
            self._step()
        self.now = until

    def _step(self) -> None:
        event = heapq.heappop(self._events)
        self.now = max(self.now, event.at)
        if event.life != self._lives[event.node]:
            return
        if event.kind == "done" and event.piece:
            event.piece.done = True
            self._under_way[event.node].remove(event.piece)
            self._idle.append(event.node)
        elif event.kind == "dies":
            self._die(event.node)
        else:
            self._idle.extend([event.node] * self.cores)
            self._plan_death(event.node)
        self._start()

    def _die(self, node: int) -> None:
        self.deaths += 1
        self._lives[node] += 1
        self._idle = deque(other for other in self._idle if other != node)
        for piece in self._under_way[node]:
            if piece.attempts == TRIES:
                raise PieceLostError
            self.repeated += 1
            self._queue.append(piece)
        self._under_way[node] = []
        self._plan(self.trouble.hours_away * 3600, "back", node)

    def _start(self) -> None:
        while self._queue and self._idle:
            piece, node = self._queue.popleft(), self._idle.popleft()
            piece.attempts += 1
            self._under_way[node].append(piece)
            self._plan(piece.seconds * self.factors[node], "done", node, piece)

    def _plan_death(self, node: int) -> None:
        if self.trouble.hours_between_deaths < float("inf"):
            self._plan(self.random.expovariate(1 / (self.trouble.hours_between_deaths * 3600)), "dies", node)

    def _plan(self, seconds: float, kind: str, node: int, piece: Piece | None = None) -> None:
        self._number += 1
        heapq.heappush(self._events, Event(self.now + seconds, self._number, kind, node, self._lives[node], piece))


def simulate(
    pieces: int,
    seconds: float,
    nodes: int,
    cores: int,
    driver_seconds: float,
    trouble: Trouble = Trouble(),
    seed: int = 0,
) -> Outcome:
    """A stage of so many pieces of `seconds` each, whose results cost the starting process `driver_seconds` each.

    Raises PieceLostError where a piece is lost `TRIES` times.
    """
    cluster = Cluster(nodes, cores, trouble, seed)
    draw = random.Random(seed + 1)
    items = (Piece(seconds * (1 + trouble.spread * draw.uniform(-1, 1))) for _ in range(pieces))
    for _ in ahead(items, cluster.submit, cluster.wait, AHEAD * nodes * cores - 1):
        cluster.work(driver_seconds)
    return Outcome(cluster.now / 3600, cluster.deaths, cluster.repeated)


def expected_hours(
    pieces: int, seconds: float, nodes: int, cores: int, driver_seconds: float, trouble: Trouble = Trouble()
) -> float:
    """The formula that the simulation checks, to a `TOLERANCE`.

    The slowest of three sets the pace: the cores that are there; the starting process; the window of `AHEAD` pieces for
    each core, which moves on only when its oldest piece, perhaps on a slow node, is done. Behind the first two the last
    piece is waited for. A death takes a node's time, and its oldest piece, which waits behind the queue once more,
    holds up the window by about half a piece. Pieces that are no more than the cores all start at once.
    """
    workers = nodes * cores
    slow = max(1, round(nodes * trouble.slow_share)) if trouble.slow_share else 0
    slowest = seconds * (trouble.slowness if slow else 1.0)
    last = slowest * (1 + trouble.spread)
    deaths_a_piece = nodes * seconds / (trouble.hours_between_deaths * 3600)  # while one piece is worked on
    hit = 1 - math.exp(-deaths_a_piece)
    if pieces <= workers:
        return (last + hit * seconds + pieces * driver_seconds) / 3600
    speed = (nodes - slow + slow * seconds / slowest) * cores
    away = (trouble.hours_away * 3600 + seconds / 2) / (trouble.hours_between_deaths * 3600)
    computing = pieces * seconds / speed * (1 + away) * (1 + hit / 2 / AHEAD)
    window = math.ceil(pieces / (AHEAD * workers)) * slowest if slow else 0.0
    return max(max(computing, pieces * driver_seconds) + (last if slow else last / 2), window) / 3600
