"""The programs: ``python -m sims.<program>``."""
