"""QR codes of magnets: pictures and terminals are read back by zbar, and what is too long or too wide is told."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from counterparts import require
from hostile import NAME, NOWHERE
from running import COMMAND, CommandLine, CommandLineHere
from terminals import Terminal

Figure = Callable[[str, float], None]

# Half blocks: which of the two modules in a cell are of the foreground's colour.
CELLS = {" ": (0, 0), "\u2580": (1, 0), "\u2584": (0, 1), "\u2588": (1, 1)}
DARK_ON_LIGHT, RESET = "\x1b[30;107m", "\x1b[0m"
PIXELS = 4


@pytest.fixture
def here(tmp_path: Path) -> CommandLine:
    """The command, run in this process."""
    return CommandLineHere(tmp_path)


def decoded(image: Path) -> str:
    """Return what zbar reads in a picture."""
    program = require("zbarimg", "zbar-tools")
    done = subprocess.run(
        [program, "--quiet", "--raw", "--nodbus", image], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


def photographed(lines: list[str], folder: Path, *, foreground_is_dark: bool) -> Path:
    """Draw a terminal's half blocks as a picture."""
    assert len({len(line) for line in lines}) == 1
    rows = [[CELLS[cell][half] for cell in line] for line in lines for half in (0, 1)]
    shade = (b"\xff", b"\x00") if foreground_is_dark else (b"\x00", b"\xff")
    pixels = b"".join(b"".join(shade[module] * PIXELS for module in row) * PIXELS for row in rows)
    picture = folder / "screen.pgm"
    picture.write_bytes(b"P5 %d %d 255\n" % (len(lines[0]) * PIXELS, len(rows) * PIXELS) + pixels)
    return picture


def coloured_lines(text: str) -> list[str]:
    """Return the QR code's lines on a terminal's screen, without their colours."""
    lines = [line.strip("\r") for line in text.split("\n") if DARK_ON_LIGHT in line]
    assert all(line.startswith(DARK_ON_LIGHT) and line.endswith(RESET) for line in lines)
    return [line.removeprefix(DARK_ON_LIGHT).removesuffix(RESET) for line in lines]


MAGNETS = {
    "short": NOWHERE,
    "trackers": NOWHERE + "".join(f"&tr=udp%3A%2F%2Ft{n}.example.org%3A1337%2Fannounce" for n in range(6)),
    "unicode": f"{NOWHERE}%20Gr%C3%B6%C3%9Fe",
    "longest": NOWHERE + "&tr=https%3A%2F%2F" + "x" * (2953 - len(NOWHERE) - len("&tr=https%3A%2F%2F")),
}


@pytest.mark.parametrize("magnet", MAGNETS.values(), ids=MAGNETS.keys())
def test_the_picture_and_the_plain_text_are_read_back_as_the_magnet(
    here: CommandLine, magnet: str, figure: Figure
) -> None:
    here.ok("export", "qr", magnet, "-o", "magnet.png")
    assert decoded(here.folder / "magnet.png") == magnet
    lines = here.ok("export", "qr", magnet, "-q").stdout.splitlines()
    assert decoded(photographed(lines, here.folder, foreground_is_dark=False)) == magnet
    figure("QR codes read back by zbar", 2)


def test_a_vector_picture_is_written_too(here: CommandLine) -> None:
    here.ok("export", "qr", NOWHERE, "-o", "magnet.svg")
    assert (here.folder / "magnet.svg").read_text().startswith("<?xml")


def test_a_terminal_of_80_columns_shows_a_code_that_reads_back(tmp_path: Path, model: Path, figure: Figure) -> None:
    command = [*COMMAND, "publish", str(model), "--name", NAME, "--qr"]
    terminal = Terminal(command, tmp_path, os.environ, columns=80)
    try:
        assert terminal.wait() == 0
    finally:
        terminal.close()
    magnet = next(word for word in terminal.text.split() if word.startswith("magnet:"))
    lines = coloured_lines(terminal.text)
    assert len(lines[0]) <= 80
    assert decoded(photographed(lines, tmp_path, foreground_is_dark=True)) == magnet
    figure("QR codes read back by zbar", 1)


def test_stdout_stays_the_magnet_alone(here: CommandLine, model: Path) -> None:
    published = here.ok("publish", model, "--name", NAME, "--qr", "-q")
    assert published.stdout.count("\n") == 1
    for arguments in (["show", "--offline", "--qr"], ["export", "magnet", "--qr"]):
        outcome = here.ok(arguments[0], *arguments[1:], published.result)
        assert "\u2588" not in outcome.stdout
        blocks = [line for line in outcome.stderr.splitlines() if "\u2588" in line]
        assert decoded(photographed(blocks, here.folder, foreground_is_dark=False)) == published.result


def test_a_seed_shows_the_magnet_with_its_address(cli: CommandLine, model: Path, tmp_path: Path) -> None:
    outcome = cli.ok("seed", model, "--name", NAME, "--qr", "--seed-time", "0.2", "-q")
    blocks = [line for line in outcome.stderr.splitlines() if "\u2588" in line]
    assert "x.pe=127.0.0.1" in outcome.result
    assert decoded(photographed(blocks, tmp_path, foreground_is_dark=False)) == outcome.result


def test_a_magnet_too_long_for_any_code_is_told_with_its_length(here: CommandLine, model: Path) -> None:
    long = MAGNETS["longest"] + "x"
    outcome = here("export", "qr", long)
    assert outcome.code == 2
    assert "2,954 bytes long" in outcome.stderr
    assert "2,953 at most" in outcome.stderr
    shown = here.ok("export", "magnet", long, "--qr")
    assert shown.result == long
    assert "No QR code: " in shown.stderr


def test_a_terminal_too_narrow_for_the_code_is_told_so(tmp_path: Path) -> None:
    for arguments, code in ((["export", "qr", NOWHERE], 2), (["export", "magnet", NOWHERE, "--qr"], 0)):
        terminal = Terminal([*COMMAND, *arguments], tmp_path, os.environ, columns=40)
        try:
            assert terminal.wait() == code
        finally:
            terminal.close()
        assert "\u2588" not in terminal.text
        assert "this terminal has 40" in " ".join(terminal.text.split())
        assert "-o magnet.png" in " ".join(terminal.text.split())
