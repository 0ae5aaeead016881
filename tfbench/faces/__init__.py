"""Faces: detection, tracks and crops."""
