"""The files that are published and fetched: random bytes, shaped like a model's folder."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
MIB = 1024**2
GIB = 1024**3
SHARDS = 4
_SMALL_FILES = 20
_STEP = 8 * MIB


@dataclass(frozen=True, slots=True)
class DataSet:
    """A folder of files, the largest first; `size` is their sum in bytes."""

    folder: Path
    files: tuple[Path, ...]
    size: int

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every file in hex, by its path in the folder."""
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_sha256, self.files))
        return {file.relative_to(self.folder).as_posix(): each for file, each in zip(self.files, digests, strict=True)}

    def forget(self) -> None:
        """Drop the files from the page cache: whoever reads them next reads the disk. Needs no root."""
        for file in self.files:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def model(folder: Path, size: int) -> DataSet:
    """Write 4 shards of `size` bytes together and 20 small files of 1 to 64 KiB."""
    shards = [f"model-{number:05}-of-{SHARDS:05}.safetensors" for number in range(1, SHARDS + 1)]
    small = [f"parts/part-{number:02}.json" for number in range(_SMALL_FILES)]
    last = _SMALL_FILES - 1
    sizes = dict.fromkeys(shards, size // SHARDS)
    sizes |= {name: KIB + 63 * KIB * number // last for number, name in enumerate(small)}
    return _write(folder, sizes)


def equal_files(folder: Path, count: int, file_size: int) -> DataSet:
    """Write `count` files of `file_size` bytes each, in folders of 100."""
    return _write(folder, {f"{number // 100:03}/{number:06}.bin": file_size for number in range(count)})


def rewrite(file: Path) -> None:
    """Replace a file's bytes by as many others."""
    _fill(file, file.stat().st_size)
    os.sync()


def _write(folder: Path, sizes: dict[str, int]) -> DataSet:
    files = []
    for name, size in sizes.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        _fill(file, size)
        files.append(file)
    # What is still on its way to the disk would be written during somebody's measurement.
    os.sync()
    return DataSet(folder, tuple(files), sum(sizes.values()))


def _fill(file: Path, size: int) -> None:
    with file.open("wb") as out:
        header = safetensors_header(size) if file.suffix == ".safetensors" else b""
        out.write(header)
        for start in range(len(header), size, _STEP):
            out.write(os.urandom(min(_STEP, size - start)))


def safetensors_header(size: int) -> bytes:
    """Return the header of a valid file of `size` bytes (300 or more) that holds one tensor."""
    length = 256
    header = b'{"weights":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % ((size - 8 - length,) * 2)
    return length.to_bytes(8, "little") + header.ljust(length)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
