"""What a neuron model is, which models there are, and how parameters are drawn.

A model is one file: a frozen dataclass of parameters that extends :class:`NeuronModel`, with its equations and its
source in the docstring. Its ``step``, in torch, is the reference, and what the torch engine runs; a kernel beside it,
tested against it, is what the event-driven engine runs. To add a model, write one and name it in an entry point::

    [project.entry-points."connectome.neurons"]
    my_model = "my_package:MyModel"
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from connectome import plugins
from connectome.arrays import ReadOnly, lock
from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Adaptive", "Arrivals", "Distribution", "NeuronModel", "Quantity", "checked_neuron", "draw", "elementwise",
    "from_table", "model_named", "never", "register", "spiking", "to_table",
]  # fmt: skip

#: A number, or (N,) float64: one for each neuron.
Quantity: TypeAlias = Any
_DEFAULT: Final = "iaf_psc_exp"
_FOREVER: Final = "Otherwise it fires forever."


class Adaptive(NamedTuple):
    """An adaptive model, described as ``iaf_psc_exp`` plus a rising threshold: the ``iaf_psc_exp`` with the same
    membrane; the factor by which the sum of past spikes decays in a step; and the mV by which a spike raises the
    threshold."""

    base: NeuronModel
    rho: Quantity
    beta_mv: Quantity


class Arrivals(NamedTuple):
    """What reaches the neurons in one step: the sums of positive and of negative weights, and the injected current,
    pA. They have the shape of the state."""

    excitatory: Tensor
    inhibitory: Tensor
    current_pa: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class NeuronModel(ReadOnly):
    """Base class of neuron models: frozen dataclasses, made with ``@dataclass(frozen=True, eq=False, repr=False)``.

    Every field is a number or (N,) numbers, one for each neuron; its metadata may have ``above`` (an exclusive lower
    bound) or ``low`` (an inclusive one). A parameter that learns stays within these bounds, and above or below another
    parameter that ``over`` or ``under`` names; with ``learnt`` False it cannot learn. Raises :class:`ConnectomeError`
    naming the field.

    A model has

    model : its name, under which it is registered: NEST's where NEST has it
    state : names of the state variables, the potential ``"v"`` first; ``"refractory"``, where there is one, is in steps
    synapses : which two of these the arrivals of positive and of negative weight are added to
    fires : False for a model without spikes
    effector : whether it can be the model of an effector, which never fires
    kernel : ``module:function`` of the kernel for the event-driven engine; "" if it runs on the torch engine alone
    weight_unit : unit of the weights of edges into it, and of the state that arrivals are added to
    units : units of its other state variables, by name
    jumps : whether an arrival acts in the next step only
    quick : names of the constants that may differ between the neurons of a region while the kernel can still use its
        faster path, in which it may also be asked for several steps at once; all others must be equal. None if it has
        no such path
    """

    model: ClassVar[str]
    state: ClassVar[tuple[str, ...]]
    synapses: ClassVar[tuple[str, str]] = ("i_ex", "i_in")
    fires: ClassVar[bool] = True
    effector: ClassVar[bool] = True
    kernel: ClassVar[str] = ""
    weight_unit: ClassVar[str] = "pA"
    units: ClassVar[Mapping[str, str]] = {}
    jumps: ClassVar[bool] = False
    quick: ClassVar[tuple[str, ...] | None] = None

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Quantity:
            """A parameter of the model."""

    def __post_init__(self) -> None:
        for f in fields(self):
            name = f"neuron.{f.name}"
            value = _quantity(name, getattr(self, f.name))
            object.__setattr__(self, f.name, value)
            if "above" in f.metadata:
                self._require(name, value, value > f.metadata["above"], f"must be > {f.metadata['above']}")
            if "low" in f.metadata:
                self._require(name, value, value >= f.metadata["low"], f"must be >= {f.metadata['low']}")
        self.check()

    def check(self) -> None:
        """Check the relations between parameters. Raises :class:`ConnectomeError`."""

    @property
    def reference_mv(self) -> Quantity:
        """The potential that the state ``v`` is measured from, mV: 0, or e_l for models that keep v small so that it
        stays exact."""
        return 0.0

    @property
    def one_accumulator(self) -> bool:
        """Whether arrivals of both signs may be summed in one variable, the first of ``synapses``."""
        return False

    def unit(self, name: str) -> str:
        """The unit of a state variable; "" if it is not declared."""
        known = {"v": "mV", "refractory": "steps", **dict.fromkeys(self.synapses, self.weight_unit)}
        return self.units.get(name, known.get(name, ""))

    def rest(self) -> Mapping[str, Quantity]:
        """Initial values of the state variables that do not begin at 0."""
        return {}

    def constants(self, dt_ms: float) -> dict[str, Quantity]:
        """The constants of ``step`` for steps of ``dt_ms``: numbers, or (N,). Parameters that learn are tensors (N,),
        and so are constants computed from them: :mod:`connectome.neurons.functions` has functions for all three."""
        raise NotImplementedError

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals,
        threshold: Callable[[Tensor], Tensor],
    ) -> tuple[dict[str, Tensor], Tensor]:  # fmt: skip
        """One step: the state after it, and the spikes.

        ``constants`` broadcast against the state, all of whose entries have one shape. The step calls ``threshold``
        once, with the distance of v above the firing threshold, and takes the result as the spikes: 1 where a neuron
        fires, 0 where it does not, or values close to these. So the engine decides about gradients, clamps and
        effectors; where it keeps a neuron from firing, v stays above threshold. Arrivals are added last.
        """
        raise NotImplementedError

    @classmethod
    def unchecked(cls, **parameters: Any) -> Self:
        """A model made of parameters that are known to be valid, or of tensors: nothing is checked."""
        made = object.__new__(cls)
        for name, value in parameters.items():
            object.__setattr__(made, name, value)
        return made

    def linear(self) -> NeuronModel | None:
        """The parameters of the ``iaf_psc_exp`` with the same membrane and synapses, for a model that is
        ``iaf_psc_exp`` or a version of it that never fires: engines have a faster path for these. None for all others.
        It is made :meth:`unchecked`, so that parameters may be tensors."""
        return None

    def adaptive(self, dt_ms: float) -> Adaptive | None:
        """For a model that is ``iaf_psc_exp`` with a threshold that rises with each spike: what event-driven training
        needs, also made unchecked. Its state has ``a``, the adaptation of the threshold, and ``refractory``. None for
        all others."""
        return None

    def among_tensors(self, learnt: Mapping[str, Tensor]) -> Self:
        """The model with tensors (N,) in place of parameters, for ``constants`` and ``rest`` alone: nothing is checked.
        Other parameters with a value for each neuron become tensors as well."""
        import torch

        like = next(iter(learnt.values()))
        fixed = {k: torch.tensor(v, dtype=like.dtype, device=like.device) for k, v in self.arrays().items()}
        return self.unchecked(**{**self.parameters(), **fixed, **learnt})

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """The parameters that have a value for each neuron."""
        return {k: v for k, v in self.parameters().items() if isinstance(v, np.ndarray)}

    def parameters(self) -> dict[str, Quantity]:
        """All parameters by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def take(self, neurons: Any) -> Self:
        """The model restricted to some neurons of the region, given as an index or a mask, as for arrays."""
        return replace(self, **{k: v[neurons] for k, v in self.arrays().items()})

    def _require(
        self, name: str, value: Quantity, good: Any, rule: str, bound: Quantity = "", hint: str = ""
    ) -> None:  # fmt: skip
        """``rule`` ends with the ``bound``, taken at the neuron that breaks it."""
        if not np.all(good):
            found = value
            if np.ndim(good):
                k = int(np.argmin(good))
                found = f"{np.broadcast_to(value, good.shape)[k]} of neuron {k}"
                bound = np.broadcast_to(bound, good.shape)[k]
            raise ConnectomeError(name, f"{rule}{bound}", found, hint)

    def _below(self, name: str, bound: str) -> None:
        """A reset must be below the threshold."""
        value, limit = getattr(self, name), getattr(self, bound)
        self._require(f"neuron.{name}", value, np.less(value, limit), f"must be below {bound} = ", limit, _FOREVER)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, NeuronModel) and type(other) is type(self)
            and all(np.array_equal(v, getattr(other, k)) for k, v in self.parameters().items())
        )  # fmt: skip

    def __hash__(self) -> int:
        values = self.parameters().values()
        return hash((type(self), *(v.tobytes() if isinstance(v, np.ndarray) else v for v in values)))

    def __repr__(self) -> str:
        shown = (
            f"{k}={f'({v.size},)' if isinstance(v, np.ndarray) else repr(v)}" for k, v in self.parameters().items()
        )
        return f"{type(self).__qualname__}({', '.join(shown)})"


def _quantity(name: str, given: Any) -> Quantity:
    """A float; or a read-only (N,) float64."""
    if isinstance(given, bool) or not isinstance(given, (int, float, np.floating, np.integer, np.ndarray, list, tuple)):
        raise ConnectomeError(name, "must be a finite number, or (N,) of them", repr(given))
    if isinstance(given, (int, float, np.floating, np.integer)):
        try:
            value = float(given)
        except OverflowError:  # an integer that no float can be
            value = math.inf
        if not math.isfinite(value):
            raise ConnectomeError(name, "must be a finite number, or (N,) of them", f"{given!r:.80}")
        return value
    try:
        array = np.array(given, np.float64)
    except (TypeError, ValueError):
        raise ConnectomeError(name, "must be a finite number, or (N,) of them", f"{given!r:.80}") from None
    if array.ndim == 0:
        return _quantity(name, array.item())
    if array.ndim != 1:
        raise ConnectomeError(name, "must be a finite number, or (N,) of them", f"shape {array.shape}")
    if not np.isfinite(array).all():
        k = int(np.argmin(np.isfinite(array)))
        raise ConnectomeError(name, "must be a finite number, or (N,) of them", f"{array[k]} of neuron {k}")
    return lock(array)


# Steps


def spiking(distance: Tensor) -> Tensor:
    """A threshold: 1 where the distance is not below 0."""
    return (distance >= 0).to(distance.dtype)


def never(distance: Tensor) -> Tensor:
    """A threshold that is never reached: an effector's."""
    return distance.detach() * 0


def elementwise(function: Callable[..., float], *values: Quantity) -> Quantity:
    """A function of numbers, applied neuron by neuron where one of the values is (N,): bit for bit the result for a
    single number."""
    if not any(isinstance(v, np.ndarray) for v in values):
        return function(*values)
    return np.array([function(*row) for row in zip(*(v.tolist() for v in np.broadcast_arrays(*values)), strict=True)])


# Which models there are

M = TypeVar("M", bound=type[NeuronModel])
_REGISTERED: dict[str, type[NeuronModel]] = {}
_KNOWN: set[type] = set()


def register(model: M) -> M:
    """Make a model known to this process by its name, e.g. in a notebook; a package uses an entry point. Running a
    notebook cell again replaces its model. Raises :class:`ConnectomeError` for a name that is taken."""
    name = model.model
    before = _REGISTERED.get(name, model)
    if plugins.has("neurons", name) or _origin(before) != _origin(model):
        raise ConnectomeError("neuron.model", "must have a name that no other model has", repr(name))
    if before is not model:
        _KNOWN.discard(before)
    _REGISTERED[name] = model
    return model


def _origin(model: type) -> tuple[str, str]:
    return model.__module__, model.__qualname__


def model_named(name: str, field: str) -> type[NeuronModel]:
    """The model with this name. Raises :class:`ConnectomeError` for ``field`` if there is none."""
    found: Any = _REGISTERED.get(name) or plugins.load("neurons", name, field)
    if not (isinstance(found, type) and issubclass(found, NeuronModel)) or found.model != name:
        raise ConnectomeError(field, f"must name a NeuronModel whose model is {name!r}", repr(found))
    return found


def checked_neuron(where: str, neuron: object, size: int, role: str) -> NeuronModel:
    """Check a region's model, which must be a registered one, and its parameters. Raises :class:`ConnectomeError`."""
    kind, name = type(neuron), getattr(neuron, "model", None)
    if kind not in _KNOWN:
        known = isinstance(neuron, NeuronModel) and isinstance(name, str)
        known = known and (name in _REGISTERED or plugins.has("neurons", str(name)))
        if not known or model_named(str(name), where) is not kind:
            raise ConnectomeError(
                where, f"must be NeuronParameters or another registered model: {', '.join(plugins.known('neurons'))}",
                f"{neuron!r:.200}", "A class of your own needs an entry point connectome.neurons, or register().",
            )  # fmt: skip
        _KNOWN.add(kind)
    assert isinstance(neuron, NeuronModel)
    for parameter, values in neuron.arrays().items():
        if values.shape != (size,):
            raise ConnectomeError(
                f"{where}.{parameter}", f"must be a number or have shape (N,) = ({size},)", f"shape {values.shape}"
            )
    if role == "effector" and not neuron.effector:
        raise ConnectomeError(where, "must be a model that can run without spikes, in an effector", neuron.model)
    return neuron


# Tables and distributions


def to_table(neuron: NeuronModel) -> dict[str, Any]:
    """The parameters as JSON values, and ``model`` unless it is ``iaf_psc_exp``."""
    name = {} if neuron.model == _DEFAULT else {"model": neuron.model}
    return name | {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in neuron.parameters().items()}


def from_table(table: Mapping[str, Any], where: str) -> NeuronModel:
    """The inverse of :func:`to_table`. Raises :class:`ConnectomeError` for an unknown model or parameter."""
    given = dict(table)
    model: Any = model_named(str(given.pop("model", _DEFAULT)), f"{where}.model")
    unknown = given.keys() - {f.name for f in fields(model)}
    if unknown:
        raise ConnectomeError(
            where, f"must hold parameters of {model.model} alone", ", ".join(sorted(map(str, unknown)))
        )
    made: NeuronModel = model(**given)
    return made


class Distribution(Protocol):
    """The distribution that parameters are drawn from: :class:`connectome.wiring.edges.Normal`, ``LogNormal``, or one
    of your own."""

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(n,) values."""


N = TypeVar("N", bound=NeuronModel)


def draw(neuron: N, size: int, rng: np.random.Generator, **parameters: Distribution) -> N:
    """The model with these parameters drawn for each of ``size`` neurons, in the order in which they are given::

        draw(NeuronParameters(), 100, rng, v_th_mv=Normal(-55, 1), tau_m_ms=LogNormal(10, 2))

    Raises :class:`ConnectomeError` for a name that is no parameter, and for a value that the model refuses.
    """
    for name in parameters:
        if name not in neuron.parameters():
            raise ConnectomeError("neuron", f"must have a parameter of {', '.join(neuron.parameters())}", repr(name))
    return replace(neuron, **{k: d.draw(size, rng) for k, d in parameters.items()})
