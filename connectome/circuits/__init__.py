"""Published circuits, one file each, with a preset, the circuit's own rule or task if it has one, and its measures."""
