"""Coverage-guided fuzzing of the parsers with atheris: `make fuzz`, or `python tests/fuzz [TARGET...]`.

Each target runs FUZZ_SECONDS (120) in a process of its own, from the committed corpus; inputs that reach new code are
merged into it when FUZZ_KEEP is set. What fails is written to `.fuzz/` and named; the exit code is then 1.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
FOUND = HERE.parents[1] / ".fuzz"
_MAX_LENGTH = 4096
_SLOWEST = 10
_MEMORY_MIB = 2048


def main() -> int:
    """Fuzz the targets that are named, or all."""
    if importlib.util.find_spec("atheris") is None:
        print("NOT FUZZED: atheris is not installed; it has wheels for some Pythons only (3.11 among them)")
        return 1
    if os.environ.get("FUZZ_TARGET"):
        return _fuzz(os.environ["FUZZ_TARGET"])
    from targets import TARGETS

    chosen = sys.argv[1:] or list(TARGETS)
    return max(_run(name, int(os.environ.get("FUZZ_SECONDS", "120"))) for name in chosen)


def _fuzz(name: str) -> int:
    """Become the fuzzer of one target; libFuzzer's own options are in `sys.argv`."""
    import atheris

    with atheris.instrument_imports(include=["weightswarm"]):
        from targets import TARGETS
    target = TARGETS[name]

    def one(data: bytes) -> None:
        target(data)

    # For a merge libFuzzer starts itself again, by what it takes for its own path.
    atheris.Setup([f"{sys.executable} {HERE}", *sys.argv[1:]], one)
    atheris.Fuzz()
    return 0


def _run(name: str, seconds: int) -> int:
    fresh = FOUND / name
    fresh.mkdir(parents=True, exist_ok=True)
    committed = CORPUS / name
    committed.mkdir(parents=True, exist_ok=True)
    code, log = _libfuzzer(
        name,
        f"-max_total_time={seconds}",
        f"-timeout={_SLOWEST}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-dict={HERE / 'words.dict'}",
        f"-artifact_prefix={FOUND}/{name}-",
        str(fresh),
        str(committed),
    )
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", log)
    print(
        f"{name}: {int(executions[1]) if executions else 0:,} executions in {seconds} s, exit code {code}", flush=True
    )
    if code:
        print(log[-4000:])
    elif os.environ.get("FUZZ_KEEP"):
        _libfuzzer(name, "-merge=1", str(committed), str(fresh))
    return 1 if code else 0


def _libfuzzer(name: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(HERE), "-print_final_stats=1", f"-max_len={_MAX_LENGTH}", *arguments],
        env={**os.environ, "FUZZ_TARGET": name},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
