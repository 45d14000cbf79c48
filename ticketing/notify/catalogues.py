"""The catalogues of translations: gettext ``.po`` files, read as they are.

The English texts are the message ids. There is nothing to compile, and no second copy to forget.
"""

from __future__ import annotations

import gettext
from functools import cache
from importlib.resources import files
from io import BytesIO

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

SOURCE = "en"
RIGHT_TO_LEFT = frozenset({"ar"})


@cache
def catalogue(language: str) -> gettext.NullTranslations:
    """The translations into a language; English needs none."""
    if language == SOURCE:
        return gettext.NullTranslations()
    source = files("ticketing.notify").joinpath("catalogue", f"{language}.po")
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(source.read_bytes()), locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
