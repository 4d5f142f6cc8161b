"""`from perdure.migrations import Migrations, migrate`: the public name of `sdk/migrations.py`."""

from .sdk.migrations import Migration, Migrations, migrate

__all__ = ["Migration", "Migrations", "migrate"]
