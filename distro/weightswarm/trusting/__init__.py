"""Whose word counts for which name: pinned keys, the rules that a signed release must pass, and the small store."""

from weightswarm.trusting.model_sig import ModelSigDemand
from weightswarm.trusting.pins import Pins, parse_target
from weightswarm.trusting.rules import UNSIGNED, Leave, Signed, Standing, State, admit, read_signatures, standing_of
from weightswarm.trusting.seen import SeenVersion, SeenVersions
from weightswarm.trusting.store import TrustStore, default_store

__all__ = [
    "UNSIGNED",
    "Leave",
    "ModelSigDemand",
    "Pins",
    "SeenVersion",
    "SeenVersions",
    "Signed",
    "Standing",
    "State",
    "TrustStore",
    "admit",
    "default_store",
    "parse_target",
    "read_signatures",
    "standing_of",
]
