"""What programs import as `pyodide`."""

from __future__ import annotations

__version__ = "0.28.3"
__all__ = ["__version__"]
