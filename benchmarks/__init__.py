"""Measurements of aae_jax, each a program: `python -m benchmarks.NAME`."""
