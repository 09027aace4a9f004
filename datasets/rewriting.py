"""Environments in which an outdated memory must be overwritten (Shchendrigin and others 2026, AAMAS, "Memory Retention
Is Not Enough to Master Memory Tasks in Reinforcement Learning", arXiv 2601.15086).

Both are Gymnasium environments. The rules of the T-maze are the published ones; those of the colour cubes are our
reading of their description, and what it leaves open is ours: a new target once one is reached, and the numbers.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from connectome.arrays import integer
from connectome.errors import ConnectomeError

__all__ = ["FORWARD", "LEFT", "RIGHT", "ColourCubes", "EndlessTMaze"]

Array = NDArray[Any]
FORWARD, LEFT, RIGHT = range(3)
#: Reward of what is no move.
_PENALTY: Final = -0.01
Level = Literal["trivial", "medium", "extreme"]


class EndlessTMaze(gymnasium.Env[Array, int]):
    """Corridors one after the other; where each ends, the agent must turn as a cue said that it saw where it began.

    Observation (3,): place in the corridor, 0 .. 1; cue left; cue right, each 1 at a corridor's first place alone and 0
    elsewhere. Actions: :data:`FORWARD`, :data:`LEFT`, :data:`RIGHT`. In a corridor only FORWARD moves; anything else
    costs 0.01, as does FORWARD at the junction. The right turn there gives 1 and leads to the next corridor, with a
    new cue; the wrong one gives -1 and ends the trial. After the last corridor the trial is terminated, a success; it
    is truncated after ``6 (length + 1) corridors`` moves. ``info``: ``corridors``, those passed, and ``is_success``.

    Parameters
    ----------
    corridors : >= 1; length : >= 1, of each corridor, or the most, if it ``varies``: then uniform in 1 .. length

    Raises
    ------
    ConnectomeError : a number that does not fit
    """

    def __init__(self, corridors: int = 3, length: int = 10, *, varies: bool = False) -> None:
        self.corridors = integer("corridors", corridors, 1, 10**6)
        self.length, self.varies = integer("length", length, 1, 10**6), varies
        self.observation_space = spaces.Box(0.0, 1.0, (3,), np.float64)
        self.action_space = spaces.Discrete(3)  # type: ignore[assignment]  # of np.int64
        self._passed = self._place = self._end = self._cue = self._moves = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start a trial."""
        super().reset(seed=seed)
        self._passed = self._moves = 0
        self._enter()
        return self._observe(), self._info()

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Move once."""
        self._moves += 1
        reward, over = _PENALTY, False
        if self._place < self._end:
            if action == FORWARD:
                self._place, reward = self._place + 1, 0.0
        elif action == self._cue:
            self._passed, reward = self._passed + 1, 1.0
            over = self._passed == self.corridors
            if not over:
                self._enter()
        elif action != FORWARD:
            reward, over = -1.0, True
        late = self._moves >= 6 * (self.length + 1) * self.corridors
        return self._observe(), reward, over, late and not over, self._info()

    def _enter(self) -> None:
        self._place = 0
        self._end = int(self.np_random.integers(1, self.length + 1)) if self.varies else self.length
        self._cue = int(self.np_random.integers(LEFT, RIGHT + 1))

    def _observe(self) -> Array:
        seen = np.zeros(3)
        seen[0] = self._place / self.length
        if self._place == 0:
            seen[self._cue] = 1.0
        return seen

    def _info(self) -> dict[str, Any]:
        return {"corridors": self._passed, "is_success": self._passed == self.corridors}


class ColourCubes(gymnasium.Env[Array, int]):
    """Find cubes by their colours in a grid in which they are seen at events alone, and move between them.

    Observation (2 + 4 cubes,): the agent's x and y, 0 .. 1; the target's colour, one of ``cubes``; then x, y and 1 for
    each cube at an event, 0 at other times. Cubes are in the order of their colours, but for ``extreme`` after
    the first event, where they come in any order: which of them has moved must be told from where they were. Actions:
    up, down, left, right. Events: the start of a trial, and each teleport. Before each move, if the level is not
    ``trivial``, a cube that is not the target goes to a free place with probability ``teleports``. To come to the
    target gives 1, and another colour becomes the target; a trial ends with success after ``targets`` of them and is
    truncated after ``10 size targets`` moves. ``info``: ``found`` and ``is_success``.

    Parameters
    ----------
    level : ``"trivial"``, ``"medium"`` or ``"extreme"``; size : >= 3, places on a side; cubes : 2 .. size^2 / 2
    targets : >= 1; teleports : 0 .. 1

    Raises
    ------
    ConnectomeError : what does not fit
    """

    def __init__(
        self, level: Level = "medium", *, size: int = 5, cubes: int = 4, targets: int = 5, teleports: float = 0.1
    ) -> None:
        if level not in get_args(Level):
            raise ConnectomeError("level", f"must be one of {', '.join(get_args(Level))}", repr(level))
        if not 0 <= teleports <= 1:
            raise ConnectomeError("teleports", "must be in 0 .. 1", teleports)
        self.level, self.teleports = level, 0.0 if level == "trivial" else teleports
        self.size = integer("size", size, 3, 1000)
        self.cubes = integer("cubes", cubes, 2, size**2 // 2)
        self.targets = integer("targets", targets, 1, 10**6)
        self.observation_space = spaces.Box(0.0, 1.0, (2 + 4 * cubes,), np.float64)
        self.action_space = spaces.Discrete(4)  # type: ignore[assignment]  # of np.int64
        self._at, self._agent, self._order = np.zeros((cubes, 2), int), np.zeros(2, int), np.arange(cubes)
        self._target = self._found = self._moves = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start a trial."""
        super().reset(seed=seed)
        places = self.np_random.choice(self.size**2, self.cubes + 1, replace=False)
        place = np.stack(np.divmod(places, self.size), 1)
        self._at, self._agent, self._order = place[1:], place[0], np.arange(self.cubes)
        self._target = int(self.np_random.integers(self.cubes))
        self._found = self._moves = 0
        return self._observe(event=True), self._info()

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Move once."""
        event = bool(self.np_random.random() < self.teleports)
        if event:
            self._teleport()
        self._moves += 1
        move = ((0, 1), (0, -1), (-1, 0), (1, 0))[action]
        self._agent = np.clip(self._agent + move, 0, self.size - 1)
        reward = 0.0
        if (self._agent == self._at[self._target]).all():
            self._found, reward = self._found + 1, 1.0
            self._target = int((self._target + self.np_random.integers(1, self.cubes)) % self.cubes)
        over = self._found == self.targets
        late = self._moves >= 10 * self.size * self.targets
        return self._observe(event=event), reward, over, late and not over, self._info()

    def _teleport(self) -> None:
        moved = int((self._target + self.np_random.integers(1, self.cubes)) % self.cubes)
        taken = {tuple(p) for p in (*self._at.tolist(), self._agent.tolist())}
        free = [(x, y) for x in range(self.size) for y in range(self.size) if (x, y) not in taken]
        self._at[moved] = free[int(self.np_random.integers(len(free)))]
        if self.level == "extreme":
            self._order = self.np_random.permutation(self.cubes)

    def _observe(self, *, event: bool) -> Array:
        seen = np.zeros(2 + 4 * self.cubes)
        seen[:2] = self._agent / (self.size - 1)
        seen[2 + self._target] = 1.0
        if event:
            cubes = seen[2 + self.cubes :].reshape(self.cubes, 3)
            cubes[:, :2], cubes[:, 2] = self._at[self._order] / (self.size - 1), 1.0
        return seen

    def _info(self) -> dict[str, Any]:
        return {"found": self._found, "is_success": self._found == self.targets}
