"""Adversarial autoencoders, and what they are compared with, in JAX."""

__version__ = '0.1.0'
