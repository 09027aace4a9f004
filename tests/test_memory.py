"""Memory that will not do is refused before it is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectome import ConnectomeError, memory
from connectome.memory import ran_out, refuse_memory


def test_free_memory_is_what_the_system_and_the_group_leave(tmp_path: Path) -> None:
    assert memory.free_bytes(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemAvailable: 4000 kB\nSwapFree: 1000 kB\n")
    assert memory.free_bytes(tmp_path) == 5000 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("3000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 500000\n")
    assert memory.free_bytes(tmp_path) == 5000 * 1024
    (group / "memory.max").write_text("4000000\n")
    assert memory.free_bytes(tmp_path) == 1500000


def test_memory_is_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 2e9)
    refuse_memory("a run", 1.9e9, "")
    with pytest.raises(ConnectomeError, match=r"must have about 2.1 GB free for a run; found 2.0 GB. Take less."):
        refuse_memory("a run", 2.1e9, "Take less.")
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    refuse_memory("a run", 1e30, "")


def test_memory_that_ran_out_whoever_says_so() -> None:
    said = [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("Unable to create dataset (memory allocation failed for chunk)"),
    ]
    assert all(map(ran_out, said))
    others = [RuntimeError("memory is odd"), OSError(5, "Input/output error"), ValueError("can't allocate memory")]
    assert not any(map(ran_out, others))
    torch = pytest.importorskip("torch")
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert ran_out(caught.value)
