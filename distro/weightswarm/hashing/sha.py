"""SHA-256 and SHA-1, two or three at a time where the processor has instructions for them, else one by one.

And the mapping of a file's span, in one call."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from weightswarm.hashing.portable import Sha1, Sha256, leaves, map_span, tree_root, update_two
else:
    try:
        # Not built without a C compiler, and refused by a processor that has no such instructions.
        from weightswarm.hashing import _sha as native
    except ImportError:
        from weightswarm.hashing import portable as native
    Sha1, Sha256, leaves = native.Sha1, native.Sha256, native.leaves
    map_span, tree_root, update_two = native.map_span, native.tree_root, native.update_two

__all__ = ["Sha1", "Sha256", "leaves", "map_span", "tree_root", "update_two"]
