"""Settings shared by every test."""

import gc
import os
import re
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


def pytest_collection_finish() -> None:
    """What is there by now stays: garbage collection, as programs do it when they refuse a file, leaves it alone."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail if a test is skipped for a reason that ``EXPECTED_SKIPS`` does not name: regular expressions, one a line."""
    expected = os.environ.get("EXPECTED_SKIPS")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if expected is None or not reporter or hasattr(session.config, "workerinput"):
        return
    patterns = [line for line in expected.splitlines() if line]
    skips = {(report.nodeid, report.longrepr[2]) for report in reporter.stats.get("skipped", ())}
    unknown = [skip for skip in sorted(skips) if not any(re.search(pattern, skip[1]) for pattern in patterns)]
    for test, reason in unknown:
        reporter.write_line(f"\nUnexpected: {test}: {reason}", red=True)
    if unknown and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True, scope="session")
def _interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where whoever started the tests ignores it, as nohup does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
