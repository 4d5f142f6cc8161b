"""Django's ORM on an object's own database; `django_program.py` is what runs, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "django_program.py")
NAMES = (
    "values_come_back_as_they_were",
    "many_rows",
    "atomic_blocks_are_kept_or_undone",
    "constraints",
    "tables_are_changed_with_their_rows",
    "tables_of_the_runtime_are_not_seen",
    "outside_several_objects_use_one_connection",
    "outside_django_s_asgi_handler",
    "outside_views_that_raise",
    "outside_a_wrong_reference_resets_the_object",
    "outside_foreign_keys_are_checked_again_in_the_next_turn",
)


@pytest.fixture(scope="module")
def ran() -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, PROGRAM, *NAMES], capture_output=True, text=True, timeout=55, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_inside_an_object(ran, name) -> None:
    assert f"passed {name}\n" in ran.stdout, ran.stderr


def test_outside_of_objects_it_says_where_it_works() -> None:
    pytest.importorskip("django")
    from perdure.sdk.dbapi import OperationalError
    from perdure.sdk.django.base import running_storage

    with pytest.raises(OperationalError, match="inside a DurableObject"):
        running_storage()
