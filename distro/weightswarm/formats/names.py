"""Which files may run code when a loader opens them, told by their names alone."""

from __future__ import annotations

from enum import Enum


class Code(Enum):
    """Why a file may run code."""

    PICKLE = "pickle"
    PROGRAM = "program code"
    LAYERS = "layers with code"


_SUFFIXES = {
    Code.PICKLE: "bin pt pth ckpt pkl pickle joblib dill th pdparams pdopt distcp nemo mar",
    # What `trust_remote_code` runs, and what may come beside it.
    Code.PROGRAM: "py pyc pyd pyx ipynb so dll dylib exe sh bat ps1",
    # Keras keeps Python functions in Lambda layers.
    Code.LAYERS: "keras h5 hdf5",
}
_KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


def code_by_name(path: str) -> Code | None:
    """Return why a file of this name may run code when it is loaded; None when nothing in the name says so."""
    return _KINDS.get(suffix_of(path))


def suffix_of(path: str) -> str:
    """Return what follows the last dot of a file's name, in lower case; nothing where there is none."""
    _, dot, suffix = path.rpartition("/")[2].rpartition(".")
    return suffix.lower() if dot else ""
