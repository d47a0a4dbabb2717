"""ComfyGen: what a generation is, and one client per outside system."""

__version__ = "0.1.0"
