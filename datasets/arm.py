"""A two-joint arm that reaches in the plane, as a Gymnasium environment, and the controller that teaches it."""

from __future__ import annotations

from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

__all__ = [
    "LIMITS", "MAX_MOVE", "MOVES", "TOLERANCE", "ReachArm", "forward_kinematics", "inverse_kinematics",
    "random_posture", "teacher",
]  # fmt: skip

Array = NDArray[np.float64]

#: Joint limits in radians: shoulder, elbow. The elbow bends one way, so that a place has one posture.
LIMITS: Final = np.array([[-np.pi / 2, np.pi / 2], [0.2, np.pi - 0.4]])
#: The largest change of a joint in one move, radians.
MAX_MOVE: Final = 0.35
#: Moves in one trial.
MOVES: Final = 14
#: The hand has reached when it is this near to the goal; a link is 1 long.
TOLERANCE: Final = 0.15


def forward_kinematics(joint: Array) -> Array:
    """(..., 2) joint angles in radians to (..., 2) place of the hand, with links of length 1."""
    first, both = joint[..., 0], joint[..., 0] + joint[..., 1]
    return np.stack([np.cos(first) + np.cos(both), np.sin(first) + np.sin(both)], -1)


def inverse_kinematics(hand: Array) -> Array:
    """(..., 2) place of the hand to the (..., 2) joint angles that put it there, elbow bent to the left."""
    x, y = hand[..., 0], hand[..., 1]
    elbow = np.arccos(np.clip((x**2 + y**2) / 2 - 1, -1.0, 1.0))
    return np.stack([np.arctan2(y, x) - elbow / 2, elbow], -1)


def random_posture(rng: np.random.Generator, size: int) -> Array:
    """(size, 2) joint angles, uniform within the limits."""
    return rng.uniform(LIMITS[:, 0], LIMITS[:, 1], (size, 2))


def teacher(joint: Array, goal: Array) -> Array:
    """(..., 2) joint changes towards a goal: straight in joint space, scaled down as a whole to ``MAX_MOVE``."""
    move = inverse_kinematics(goal) - joint
    largest = np.abs(move).max(-1, keepdims=True)
    return np.asarray(move * np.minimum(1.0, MAX_MOVE / np.maximum(largest, 1e-12)))


class ReachArm(gymnasium.Env[Array, Array]):
    """Bring the hand to the goal and hold it there for the rest of ``MOVES`` moves.

    Observation (4,): shoulder and elbow angle (radians), goal x and y. Action (2,): joint changes (radians), clipped to
    ``MAX_MOVE``; angles stop at ``LIMITS``. Reward: minus the distance to the goal. A trial is never terminated and is
    truncated after ``MOVES`` moves; ``info["is_success"]``: the hand is within ``TOLERANCE`` now.

    Parameters
    ----------
    goal : (2,) where every trial's goal is; default: a random reachable place for each trial
    """

    def __init__(self, goal: Array | None = None) -> None:
        self.observation_space = spaces.Box(
            np.array([*LIMITS[:, 0], -2.0, -2.0]), np.array([*LIMITS[:, 1], 2.0, 2.0]), dtype=np.float64
        )
        self.action_space = spaces.Box(-MAX_MOVE, MAX_MOVE, (2,), np.float64)
        self._fixed_goal = goal
        self._joint, self._goal, self._moves = np.zeros(2), np.zeros(2), 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start a trial from a random posture."""
        super().reset(seed=seed)
        self._joint = random_posture(self.np_random, 1)[0]
        place = forward_kinematics(random_posture(self.np_random, 1)[0])
        self._goal = place if self._fixed_goal is None else np.asarray(self._fixed_goal, np.float64)
        self._moves = 0
        return self._observe()

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Move the joints once."""
        move = np.clip(np.asarray(action, np.float64), -MAX_MOVE, MAX_MOVE)
        self._joint = np.clip(self._joint + move, LIMITS[:, 0], LIMITS[:, 1])
        self._moves += 1
        observation, info = self._observe()
        return observation, -info["distance"], False, self._moves >= MOVES, info

    def _observe(self) -> tuple[Array, dict[str, Any]]:
        distance = float(np.linalg.norm(forward_kinematics(self._joint) - self._goal))
        return np.concatenate([self._joint, self._goal]), {"distance": distance, "is_success": distance <= TOLERANCE}
