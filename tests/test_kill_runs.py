"""What `tests.kill_runs` kills: everything that a development can name, in a configuration that is one."""

from __future__ import annotations

import pytest

from connectome import plugins
from connectome.development.configuration import read_configuration
from tests.kill_runs import WAYS


@pytest.mark.parametrize("way", WAYS)
def test_ways_are_configurations(way: str) -> None:
    read_configuration(None, WAYS[way])


@pytest.mark.parametrize("group", ["rules", "learning", "comparators", "importance", "views", "diagnostics", "select"])
def test_everything_that_can_be_named_is_in_a_way(group: str) -> None:
    said = " ".join(change for changes in WAYS.values() for change in changes)
    usual = ("growth", "strengthening", "pruning", "homeostasis", "adam", "dale", "development", "feedback")
    chains = ("ewc", "frozen")  # learning rules of the comparators of these names
    assert not [name for name in plugins.known(group) if name not in said and name not in (*usual, *chains)]
