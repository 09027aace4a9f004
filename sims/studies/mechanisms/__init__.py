"""Trials of the mechanisms of development and learning, one file each: what `python -m sims.study mechanisms` runs."""
