"""OpenMoji pictures with their English names."""
