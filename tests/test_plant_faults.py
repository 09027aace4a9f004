"""Faults planted in the calls of small programs, and what a power loss may leave; all of them: ``plant_faults.py``."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.power_loss import Disk, read_log

_DRAWS = 200


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("gcc") is None, reason="Linux and gcc")
def test_a_graph_that_is_saved_and_read_is_met_by_faults_of_each_kind(tmp_path: Path) -> None:
    """Some calls of each kind; a call fails, memory is refused, power is lost, the clock goes back."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.plant_faults", "--cases", "save,load", "--most", "12", "--cuts", "12",
         "--draws", "3"],
        cwd=Path(__file__).parents[1], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(re.findall(r"\d+ calls for files, 36 faults: .* 0 did harm", found.stdout)) == 2
    assert "power lost at 12 points, 36 disks" in found.stdout
    assert len(re.findall(r"pieces of memory .* [1-9]\d* refused: .* 0 did harm", found.stdout)) == 2
    assert found.stdout.count("the clock a second back whenever it is read: the same bytes") == 2


def disks(log: bytes, tmp_path: Path) -> list[dict[str, bytes]]:
    """What may be found after these calls: of each name its content."""
    disk, lot = Disk(Path("/d")), random.Random(0)
    for call in read_log(log):
        disk.do(call)
    found = []
    tmp_path.mkdir(exist_ok=True)
    for number in range(_DRAWS):
        place = tmp_path / str(number)
        disk.write(place, lot)
        found.append({str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()})
    return found


def call(name: str, file: int = -1, place: int = 0, data: bytes = b"") -> bytes:
    return f"{name} 1 {file} {place} {len(data)}\n".encode() + data


NEW = call("open", 3, os.O_CREAT, b"/d/.new") + call("write", 3, 0, b"a" * 600) + call("write", 3, 600, b"b" * 600)
RENAMED = call("rename", data=b"/d/.new\n/d/new")


def test_what_was_not_synced_may_be_there_in_part_or_not_at_all(tmp_path: Path) -> None:
    whole = b"a" * 600 + b"b" * 600
    found = disks(NEW + RENAMED, tmp_path)
    assert {} in found
    assert {"new": whole} in found
    assert {"new": b""} in found  # the name before the content
    assert {"new": bytes(600) + b"b" * 600} in found  # a write without the one before it
    assert {"new": b"a" * 512} in found  # half a write


def test_what_was_synced_is_there(tmp_path: Path) -> None:
    synced = NEW + call("fsync", 3) + RENAMED
    assert all(set(disk.values()) <= {b"a" * 600 + b"b" * 600} for disk in disks(synced, tmp_path / "file"))
    folder = call("open", 4, 0, b"/d") + call("fsync", 4)
    assert disks(synced + folder, tmp_path / "folder") == [{"new": b"a" * 600 + b"b" * 600}] * _DRAWS


def test_a_folder_whose_name_was_not_synced_is_lost_with_all_in_it(tmp_path: Path) -> None:
    made = call("mkdir", data=b"/d/run") + NEW.replace(b"7\n/d/.new", b"10\n/d/run/new") + call("fsync", 3)
    made += call("open", 4, 0, b"/d/run") + call("fsync", 4)
    assert {} in disks(made, tmp_path / "lost")
    made += call("open", 5, 0, b"/d") + call("fsync", 5)
    assert all(disk == {"run/new": b"a" * 600 + b"b" * 600} for disk in disks(made, tmp_path / "kept"))


def test_unlinked_and_emptied(tmp_path: Path) -> None:
    made = NEW + call("fsync", 3) + call("open", 4, 0, b"/d") + call("fsync", 4)
    found = disks(made + call("unlink", data=b"/d/.new"), tmp_path / "unlinked")
    assert {} in found
    assert {".new": b"a" * 600 + b"b" * 600} in found
    found = disks(made + call("truncate", 3, 10), tmp_path / "cut")
    assert {".new": b"a" * 10} in found
    assert {".new": b"a" * 600 + b"b" * 600} in found
