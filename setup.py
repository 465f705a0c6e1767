"""What setup.cfg cannot say: the C extension. Without a compiler it is left out, and hashlib does its work."""

import platform

from setuptools import Extension, setup

extensions = []
if platform.machine() in ("x86_64", "AMD64"):
    source = "distro/weightswarm/hashing/_sha.c"
    extensions.append(Extension("weightswarm.hashing._sha", [source], py_limited_api=True, optional=True))

setup(ext_modules=extensions, options={"bdist_wheel": {"py_limited_api": "cp311"}} if extensions else {})
