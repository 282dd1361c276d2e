"""The exceptions of the package.

The extension module looks these classes up by name when it is loaded; which of them an error of the
library becomes is decided there, in one table.
"""

from __future__ import annotations

import errno as _errno
from typing import Any


class ArrowQuantError(Exception):
    """Base class of everything that the library raises on purpose.

    Attributes
    ----------
    code : str
        Which error of the library it was, more exactly than the class: "NonFinite",
        "OutputExists", "InvalidModel", …; "" where the library did not raise it.
    results : list or None
        Where one of several models failed: the results and exceptions of all of them.
    """

    code: str = ""
    results: list[Any] | None = None


class ConfigurationError(ArrowQuantError, ValueError):
    """An option has a value that is not allowed, or a file of options cannot be read.

    Attributes
    ----------
    errno : int or None
        The operating system's error number, where it refused to read the file.
    filename : str or None
        That file.
    """

    errno: int | None = None
    filename: str | None = None


class TableError(ArrowQuantError, ValueError):
    """An Arrow table has other columns than expected, or a row that cannot be used."""


class ShapeMismatchError(ArrowQuantError, ValueError):
    """A shape does not fit the data that it describes."""


class QuantizationError(ArrowQuantError, RuntimeError):
    """A model could not be quantized, read or written.

    Attributes
    ----------
    errno : int or None
        The operating system's error number, where it refused something.
    filename : str or None
        The file that it was about.
    """

    errno: int | None = None
    filename: str | None = None


class MetadataError(QuantizationError):
    """What a quantized model says of itself is missing, or contradicts its files."""


class ValidationError(ArrowQuantError, RuntimeError):
    """Two models cannot be compared."""


class ModelNotFoundError(ArrowQuantError, FileNotFoundError):
    """The path holds no model that can be read.

    Attributes
    ----------
    errno : int
        ``errno.ENOENT``.
    filename : str or None
        The path.
    """

    # Of this class, since OSError's own would take the place of the message, and be lost by pickle.
    errno: int = _errno.ENOENT
    filename: str | None = None
