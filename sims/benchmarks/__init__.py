"""What benchmarks are made of: ``python -m sims.benchmark`` runs them."""
