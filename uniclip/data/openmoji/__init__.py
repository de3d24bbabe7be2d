"""OpenMoji images with their English names."""
