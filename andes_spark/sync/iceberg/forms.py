"""Forms of the documents of the face: damage that can still be decoded is named before anything is done with them."""

from __future__ import annotations

import re
from typing import Any

from andes_spark.errors import LogDamagedError
from andes_spark.sync.iceberg.files import FACE_FOLDER


def require_form(value: Any, form: Any, path: str) -> None:
    """Check the members of a decoded document.

    Args:
        value: the document.
        form: a dict of the members that it must have, a list with the form of all elements, a pattern of a text, or a
            type.
        path: path of the file.

    Raises:
        LogDamagedError: a member is missing or of another form; ``path``.
    """
    misfit = _misfit(value, form, "")
    if misfit is not None:
        raise damaged(path, misfit)


def damaged(path: str, reason: str) -> LogDamagedError:
    """Return the error for a damaged file of the face."""
    return LogDamagedError(
        f"{path}, a part of the Iceberg face, is damaged: {reason}; delete the folder {FACE_FOLDER} and synchronize "
        "again",
        path=path,
    )


def _misfit(value: Any, form: Any, where: str) -> str | None:
    """Say what does not fit; None if all does."""
    subject = where.removeprefix(".") or "the document"
    match form:
        case dict():
            if not isinstance(value, dict):
                return f"{subject} is no object"
            lacking = next((name for name in form if name not in value), None)
            if lacking is not None:
                return f"{subject} has no member {lacking!r}"
            answers = [_misfit(value[name], inner, f"{where}.{name}") for name, inner in form.items()]
        case list():
            if not isinstance(value, list):
                return f"{subject} is no list"
            answers = [_misfit(element, form[0], f"{where}[{number}]") for number, element in enumerate(value)]
        case re.Pattern():
            answers = [None if isinstance(value, str) and form.fullmatch(value) else f"{subject} is {value!r}"]
        case _:
            is_fit = isinstance(value, form) and (form is not int or not isinstance(value, bool))
            answers = [None if is_fit else f"{subject} is no {form.__name__}"]
    return next((answer for answer in answers if answer is not None), None)
