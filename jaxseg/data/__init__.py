"""Data sources, augmentation and loading, on the host."""
