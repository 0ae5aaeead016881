"""Video and audio: decoding, encoding and spectral features."""
