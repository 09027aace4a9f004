"""Settings shared by every test."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import Phase, settings

os.environ.setdefault("MPLBACKEND", "Agg")  # before anything imports matplotlib

# No deadline: the first call of a kernel compiles it.
settings.register_profile("quick", max_examples=50, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
# Always the same examples, the first that fails as it is: for mutate.py.
settings.register_profile(
    "steady", max_examples=50, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where whoever started the tests ignores it, as nohup does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
