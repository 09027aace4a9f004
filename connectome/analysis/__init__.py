"""What a connectome looks like as a graph: metrics, null models, comparison. Nothing else in the library needs it."""
