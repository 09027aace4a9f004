"""A swimmer of n links in the plane, simulated by MuJoCo: the body of Coulom (2002), "Reinforcement learning using
neural networks, with applications to motor control", as the DeepMind Control Suite has it (Tassa and others 2018, arXiv
1801.00690). It needs the extra ``body``."""

from __future__ import annotations

from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from connectome.arrays import integer
from connectome.errors import ConnectomeError

__all__ = ["CONTROL_MS", "MOVES", "SPEED_M_PER_S", "Swimmer"]

Array = NDArray[np.float64]

#: Time from one move to the next, and of a step of the body.
CONTROL_MS: Final = 30.0
_STEP_S: Final = 0.002
#: Moves in one trial, and the largest return.
MOVES: Final = 1000
#: The forward speed that earns a reward of 1.
SPEED_M_PER_S: Final = 0.1
_LINK_M: Final = 0.1


class Swimmer(gymnasium.Env[Array, Array]):
    """Swim forwards, head first, in a viscous fluid, for 1,000 moves of 30 ms.

    Observation (n - 1,): the angle of each joint, from the head on, over its limit of 360 / n degrees, which gives way
    a little. Action (n - 1,): torques, of the largest, clipped to -1 .. 1. Reward: the head's forward speed over 0.1
    m/s, clipped to 0 .. 1. A trial begins with random joints and heading, is never terminated, and truncated after its
    last move.

    Parameters
    ----------
    links : n >= 2
    moves : after how many a trial is truncated

    Raises
    ------
    ConnectomeError : too few links, or MuJoCo is not installed
    """

    def __init__(self, links: int = 6, moves: int = MOVES) -> None:
        mujoco = _mujoco()
        self.links = integer("links", links, 2, 100)
        self._body = mujoco.MjModel.from_xml_string(_model(self.links))
        self._data = mujoco.MjData(self._body)
        self._moves, self._last = 0, integer("moves", moves, 1, 10**9)
        joints = (self.links - 1,)
        self.observation_space = spaces.Box(-2.0, 2.0, joints, np.float64)  # limits give way a little
        self.action_space = spaces.Box(-1.0, 1.0, joints, np.float64)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin a trial in a random posture."""
        super().reset(seed=seed)
        mujoco = _mujoco()
        mujoco.mj_resetData(self._body, self._data)
        self._data.qpos[2] = self.np_random.uniform(-np.pi, np.pi)
        self._data.qpos[3:] = self.np_random.uniform(-1, 1, self.links - 1) * 2 * np.pi / self.links
        mujoco.mj_forward(self._body, self._data)
        self._moves = 0
        return self._joints(), {}

    def step(self, action: Array) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Hold torques for 30 ms."""
        mujoco = _mujoco()
        self._data.ctrl[:] = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        mujoco.mj_step(self._body, self._data, round(CONTROL_MS / 1000 / _STEP_S))
        mujoco.mj_forward(self._body, self._data)  # sensors of where it is now
        self._moves += 1
        speed = -float(self._data.sensordata[1])
        reward = float(np.clip(speed / SPEED_M_PER_S, 0.0, 1.0))
        return self._joints(), reward, False, self._moves >= self._last, {"speed_m_per_s": speed}

    @property
    def shape_m(self) -> Array:
        """(n + 1, 2) where the ends of the links are, from the head on, metres."""
        place = np.array(self._data.xpos[1:, :2])
        along = self._data.xmat[1:].reshape(-1, 3, 3)[:, :2, 1] * _LINK_M / 2
        return np.concatenate([(place - along)[:1], place + along])

    def _joints(self) -> Array:
        return np.clip(np.array(self._data.qpos[3:]) / (2 * np.pi / self.links), -2.0, 2.0)


def _mujoco() -> Any:
    try:
        import mujoco
    except ImportError as error:
        raise ConnectomeError(
            "Swimmer", "needs MuJoCo", str(error), "pip install -c constraints.txt -e '.[body]'"
        ) from error
    return mujoco


def _model(links: int) -> str:
    """MJCF: boxes have the mass, the ellipsoid and capsules the drag."""
    body = ""
    for k in reversed(range(1, links)):
        body = f"""<body name="link{k}" pos="0 {_LINK_M} 0"><geom class="mass"/><geom class="drag"/>
            <joint name="joint{k}" class="link" range="{-360 / links} {360 / links}"/>{body}</body>"""
    motors = "".join(
        f'<motor joint="joint{k}" gear="5e-4" ctrllimited="true" ctrlrange="-1 1"/>' for k in range(1, links)
    )
    return f"""<mujoco>
        <option timestep="{_STEP_S}" density="3000"><flag contact="disable"/></option>
        <default>
            <default class="link"><joint type="hinge" pos="0 -.05 0" axis="0 0 1" limited="true" armature="1e-6"
                solreflimit=".05 1" solimplimit="0 .8 .1"/></default>
            <default class="root"><joint limited="false" pos="0 -.05 0" armature="0"/></default>
            <default class="mass"><geom type="box" size=".001 .05 .01" mass=".01"/></default>
            <default class="drag"><geom type="capsule" size=".01" fromto="0 -.05 0 0 .05 0" mass="0"/></default>
        </default>
        <worldbody><body name="head" pos="0 0 .05"><site name="head"/>
            <geom type="ellipsoid" size=".02 .04 .017" pos="0 -.022 0" mass="0"/>
            <geom class="mass"/><geom class="drag"/>
            <joint class="root" type="slide" axis="1 0 0"/><joint class="root" type="slide" axis="0 1 0"/>
            <joint class="root" type="hinge" axis="0 0 1"/>{body}
        </body></worldbody>
        <actuator>{motors}</actuator>
        <sensor><velocimeter site="head"/></sensor>
    </mujoco>"""
