"""The site: rooms, tutorials with their outputs, the API, mechanisms. ``python -m sims.docs`` builds it."""
