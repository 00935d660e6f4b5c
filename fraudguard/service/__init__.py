"""The composition root: builds everything, owns start and stop."""

from fraudguard.service.composition import Service, running
from fraudguard.service.process import serve

__all__ = ["Service", "running", "serve"]
