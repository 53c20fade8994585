"""Words as bash takes them apart for its completion: a "=" or ":" is a word of its own, and so is what follows it.

`corral run x.toml --set agent.name=p` has to be completed as it was meant, while bash replaces the "p" alone.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, MutableMapping, Sequence

WORDS = "COMP_WORDS"
AT = "COMP_CWORD"
_BREAKS = "=:"


def asked(environ: MutableMapping[str, str]) -> bool:
    """Whether bash asks `corral` for completions."""
    return environ.get("_CORRAL_COMPLETE") == "complete_bash" and WORDS in environ


@contextlib.contextmanager
def whole_words(environ: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """While it lasts, `environ` has words as they were typed; completions that are printed are cut to what bash
    replaces."""
    words, at = environ[WORDS].split("\n"), int(environ[AT])
    words += [""] * (at + 1 - len(words))
    whole, place = rejoin(words, at)
    environ[WORDS], environ[AT] = "\n".join(whole), str(place)
    ahead = len(whole[place]) - len("" if words[at].strip(_BREAKS) == "" else words[at])
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            print(line[ahead:])


def rejoin(words: Sequence[str], at: int) -> tuple[list[str], int]:
    """The words as they were typed, and which of them the one at `at` belongs to."""
    whole: list[str] = []
    place = 0
    glue = False
    for number, word in enumerate(words):
        is_break = bool(word) and not word.strip(_BREAKS)
        if whole and (glue or is_break):
            whole[-1] += word
        else:
            whole.append(word)
        glue = is_break
        if number == at:
            place = len(whole) - 1
    return whole, place
