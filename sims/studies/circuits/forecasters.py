"""Who forecasts series that drift: readouts of spiking networks, networks that are trained, ridge regression."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sklearn.linear_model import Ridge

from connectome.circuits import liquid as circuit

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

__all__ = ["GRADED", "GRU", "Forecast", "errors", "lagged", "linear", "network", "trained"]

GRADED: Final = "graded (trained)"
GRU: Final = "GRU (trained)"
_SPAN: Final = 24  # samples in a sequence of the networks that are trained
_WARM: Final = 50  # samples that nothing is learnt from: the networks begin at rest

#: (series (T, links)) -> (T, links) what is forecast of the next sample, over this one.
Forecast = Callable[["NDArray[np.float64]"], "NDArray[np.float64]"]


def errors(forecast: Forecast, series: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T - 1,) mean absolute error for each sample but the first."""
    found: NDArray[np.float64] = np.abs(series[:-1] + forecast(series[:-1]) - series[1:]).mean(1)
    return found


def linear(features: Forecast, shrinkage: float, train: NDArray[np.float64]) -> Forecast:
    """Ridge regression of changes on features, standardised; those that hardly vary are left out."""
    x, y = features(train)[_WARM:-1], np.diff(train, axis=0)[_WARM:]
    mean, sd = x.mean(0), x.std(0)
    sd[sd < 0.01 * sd.max()] = np.inf
    model = Ridge(alpha=shrinkage).fit((x - mean) / sd, y)
    return lambda series: np.asarray(model.predict((features(series) - mean) / sd))


def lagged(lags: int, series: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, lags links) each sample and those before it; what was before the first is taken from the end."""
    return np.hstack([np.roll(series, k, axis=0) for k in range(lags)])


@cache
def network(links: int, synapses: circuit.Synapses, strength: float, local: float, seed: int) -> Forecast:
    """The (T, 2 N) states of a network that nothing has taught."""
    born = circuit.liquid(links, synapses=synapses, strength_ns=strength, local_ns=local, seed=seed)
    return partial(circuit.states, born)


def trained(condition: str, rate: float, seed: int, updates: int, train: NDArray[np.float64]) -> Forecast:
    """By 32 cells and backpropagation through time, with Adam, whose rate falls along half a cosine."""
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 31])
    links = train.shape[1]
    net: Any = circuit.LiquidCells(links, 32, links, rng)
    net = net if condition == GRADED else _gru(torch.nn, links)
    x = torch.tensor(train, dtype=torch.float32)
    optimiser = torch.optim.Adam(net.parameters(), rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    for _ in range(updates):
        part = torch.stack([x[k : k + _SPAN + 1] for k in rng.integers(0, len(x) - _SPAN, 32)])
        loss = (part[:, :-1] + net(part[:, :-1])[0] - part[:, 1:])[:, _SPAN // 3 :].abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        falling.step()
        if condition == GRADED:
            net.keep_bounds()

    def forecast(series: NDArray[np.float64]) -> NDArray[np.float64]:
        with torch.no_grad():
            return np.asarray(net(torch.tensor(series[None], dtype=torch.float32))[0][0], float)

    return forecast


def _gru(nn: Any, links: int) -> Any:
    class Gru(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.out = nn.GRU(links, 32, batch_first=True), nn.Linear(32, links)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            return self.out(self.cells(x)[0]), None

    return Gru()
