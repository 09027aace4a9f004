"""Published circuits: one file each, with its preset, its rule or task where it has one, and what it is measured by."""
