"""Floors: for each group the newest generation of any object that is gone. A file that is made anew begins above it.

What always holds: an object's later file has the larger generation, also when its earlier one is gone and no log speaks of
it any more; so bookmarks grow, and history tells one from the other.
"""

from __future__ import annotations

from .catalogue import Catalogue
from .history import History


def floors_of(catalogue: Catalogue, history_folder: str) -> dict[int, int]:
    """As the catalogue knows them; where it was lost, above everything that history knows. Before the archivist is started."""
    floors = dict(catalogue.floors)
    if catalogue.missing and catalogue.has_history():
        history = History(history_folder)
        for group in catalogue.missing:
            generation = history.newest_generation(group)
            if generation:
                catalogue.raise_floor(group, generation)
                floors[group] = generation
        history.close()
    return {group: generation for group, generation in floors.items() if generation}
