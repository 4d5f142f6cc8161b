"""What an author reads of an exception: the program's lines, and none of ours around them."""

from __future__ import annotations

import asyncio

import pytest
from perdure.engine.errors import DataCloneError, PerdureError, ProgramBug
from perdure.engine.tracebacks import shown
from perdure.engine.values import pack
from perdure.sdk.worker_handlers import call_handler


class Worker:
    async def fetch(self, request: object) -> object:
        if request == "ours":
            return pack({"x": object()})
        try:
            return 1 / 0
        except ZeroDivisionError as error:
            if request == "plain":
                raise
            raise KeyError("missing") from error


def raised(request: str) -> BaseException:
    with pytest.raises(Exception) as found:
        asyncio.run(call_handler(Worker(), "fetch", request))
    found.value.__traceback__ = found.value.__traceback__.tb_next  # the test's own frame
    return found.value


def test_frames_of_ours_are_left_out() -> None:
    plain, ours = shown(raised("plain")), shown(raised("ours"))
    assert plain.startswith("Traceback (most recent call last):\n")
    assert plain.count("File ") == ours.count("File ") == 1
    assert plain.endswith("ZeroDivisionError: division by zero\n")
    assert "return 1 / 0" in plain
    assert 'return pack({"x": object()})' in ours
    assert "Could not serialize" in ours


def test_causes_are_shown_the_same_way() -> None:
    text = shown(raised("chained"))
    assert text.count("File ") == 2
    assert "direct cause" in text
    assert "worker_handlers" not in text


def test_what_is_ours_alone_is_shown_whole() -> None:
    with pytest.raises(DataCloneError) as typed:
        pack({"x": object()})
    typed.value.__traceback__ = typed.value.__traceback__.tb_next
    assert "values.py" in shown(typed.value)


@pytest.mark.parametrize("error", [ProgramBug("fetch() must return"), PerdureError("from afar", remote=True)])
def test_what_we_say_of_a_program_comes_without_our_lines(error: PerdureError) -> None:
    try:
        call_handler(None, "fetch", None).throw(error)
    except PerdureError as raised:
        raised.__traceback__ = raised.__traceback__.tb_next
        assert "File" not in shown(raised)
        assert error.message in shown(raised)


def test_an_error_that_cannot_be_shown_is_named() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "Odd" in shown(Odd())
