"""The exceptions this package raises on purpose.

Each is a subclass of the built-in exception a caller would expect, and takes one message that
says where (file and line, or field and value) and the remedy. The command line prints the
message as one line and exits with status 1.
"""

from __future__ import annotations


class PluginError(Exception):
    """Base of every exception that this package raises on purpose."""


class InputError(PluginError, ValueError):
    """A value handed in by the caller is not usable."""


class UsageError(InputError):
    """A command was called with options that do not go together; its exit status is 2."""


class NotFiniteError(InputError):
    """A vector holds NaN or infinity."""


class InputTypeError(InputError, TypeError):
    """An argument handed in by the caller has the wrong type, or is not known."""


class DataFileError(PluginError, ValueError):
    """A data file has a broken line, a missing or duplicate id, or an unreadable encoding."""


class MissingFileError(PluginError, FileNotFoundError):
    """A file or folder named by the caller does not exist."""


class ModelFolderError(PluginError, OSError):
    """A model folder lacks a file, or holds one that cannot be used."""


class IndexFolderError(PluginError, OSError):
    """An index folder lacks a file, or holds one that is damaged."""


class IndexMismatchError(PluginError, ValueError):
    """An index and the model or vectors used with it do not belong together."""


class FolderCheckError(PluginError, RuntimeError):
    """A folder to publish does not open in a way that its card promises, or gives other vectors there."""


class TrainingError(PluginError, RuntimeError):
    """Training cannot start or go on with the data and settings given."""


class HubError(PluginError, OSError):
    """The model hub cannot be reached, or refuses what is asked of it."""


class WorkerError(PluginError, RuntimeError):
    """A process that was to do part of the work has died."""
