"""Trials of published circuits, one file each: what `python -m sims.study circuits` runs."""
