"""The tests, as a package: it makes ``tests.strategies`` importable and no other ``tests`` can hide it."""
