"""Mechanisms: one file each. ``python -m sims.mechanisms`` lists them; README.md says how to write one."""
