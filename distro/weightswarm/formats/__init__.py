"""What a file is when a loader opens it: whether it may run code, and whether it keeps to its own format.

Checks over names, bytes and open files; nothing is unpickled, loaded or imported.
"""

from weightswarm.formats.inspection import CodeFile, Inspection, code_notice, glance, inspect_file, named_code
from weightswarm.formats.names import Code, code_by_name

__all__ = ["Code", "CodeFile", "Inspection", "code_by_name", "code_notice", "glance", "inspect_file", "named_code"]
