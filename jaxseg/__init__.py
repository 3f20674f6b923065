"""Semantic segmentation in JAX and Flax."""
