"""What studies are made of: ``python -m sims.study`` runs them."""
