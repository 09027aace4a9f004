"""How programs end, what they refuse to start, what they say of the machine."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectome import ConnectomeError
from sims.program import Interrupts, ended, locked, machine


def interrupted(number: signal.Signals) -> int:
    signal.raise_signal(number)
    pytest.fail("it went on")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_exit_codes(number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    assert ended("p", lambda: 0, str) == 0
    assert ended("p", lambda: interrupted(number), lambda: "All is kept.") == code
    assert capsys.readouterr().err == "\np: interrupted. All is kept.\n"
    assert signal.getsignal(number) is before

    def refuse() -> int:
        raise ConnectomeError("a", "must be b", "c")

    assert ended("p", refuse, str) == 2
    assert capsys.readouterr().err == "p: a must be b; found c.\n"


def test_memory_that_runs_out_ends_a_program_with_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def take(error: Exception) -> int:
        raise error

    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        assert ended("p", lambda e=error: take(e), lambda: "All is kept.") == 2  # type: ignore[misc]
        assert capsys.readouterr().err == "p: memory must be enough for this; found too little. All is kept.\n"
    with pytest.raises(RuntimeError, match="another"):
        ended("p", lambda: take(RuntimeError("another")), str)


def test_of_a_damaged_file_all_is_said_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 objects that cannot be closed complain to Python's hooks; nobody else's complaint is lost."""
    heard: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: heard.append(str(said.object)))

    def work() -> int:
        for place in ("<cyfunction h5py._objects.ObjectID.__dealloc__>", "another"):
            sys.unraisablehook(SimpleNamespace(object=place))
        return 2

    assert ended("p", work, str) == 2
    assert heard == ["another"]
    sys.unraisablehook(SimpleNamespace(object="h5py._objects, afterwards"))
    assert len(heard) == 2


def test_a_first_interrupt_waits_and_a_second_does_not() -> None:
    with Interrupts() as interrupts:
        assert not interrupts
        signal.raise_signal(signal.SIGTERM)
        assert interrupts
        with pytest.raises(KeyboardInterrupt):
            interrupts.raise_it()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # Python's own handler again
        signal.raise_signal(signal.SIGINT)


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGINT)
            assert not interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_lock_is_let_go_of_however_its_process_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sims.program import locked\n"
        "with locked('--out', Path(sys.argv[1])):\n    print('mine', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == "mine\n"
    with pytest.raises(ConnectomeError, match="--out must be a folder that no other run writes to"):
        locked("--out", tmp_path).__enter__()
    holder.kill()
    holder.wait()
    holder.stdin.close()
    holder.stdout.close()
    with locked("--out", tmp_path), pytest.raises(ConnectomeError):
        locked("--out", tmp_path).__enter__()
    assert not list(tmp_path.iterdir())  # no lock file that could be stale


def test_the_machine_has_a_processor() -> None:
    assert machine() == machine()
    assert machine().count(",") == 2
