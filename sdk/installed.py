"""Where packages lie that were installed for the programs of a process."""

from __future__ import annotations

import os
import site

SITE_VARIABLE = "PERDURE_SITE_PACKAGES"
"""Environment: a folder of packages for the programs, asked after those of this environment."""


def use_packages() -> None:
    """Let programs of this process import what was installed for them."""
    folder = os.environ.get(SITE_VARIABLE)
    if folder:
        site.addsitedir(folder)
