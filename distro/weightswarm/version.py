"""The version, for whoever names this program on a wire."""

__version__ = "0.1.0"
