"""The compiled modules under AddressSanitizer and UndefinedBehaviorSanitizer.

What touches memory that is not its own, or does what C leaves undefined, ends the process that
does it. Memory that nothing points to any more is listed when the process ends; the interpreter
and other packages leave some, the compiled modules of this one must not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fuzz import campaign, toolchain
from fuzz.sanitized import ROOT, Sanitized
from fuzz.toolchain import NoToolchainError

PYTEST = Path(sysconfig.get_path("scripts")) / "pytest"
OURS = "/_core/"
"""In the name of every file of a compiled module, the translated source and the library."""
FRAMES = "16"
"""Of the stack of each block: enough to lead from a call of the interpreter into a module."""
FAULTS = ("ERROR: AddressSanitizer", "runtime error: ")
"""The beginnings of fault reports of AddressSanitizer and UndefinedBehaviorSanitizer."""
FUZZ_SECONDS = 60
REPEATING = (
    "test_all_three_counters_wrap",
    "test_small_messages_out_of_order_arrive_once_through_three_laps",
    "test_no_message_is_altered_when_the_numbers_come_round_within_the_expiry",
    "test_empty_messages_are_bounded_too_and_reading_makes_room_for_as_many",
    "test_whatever_a_clock_is_set_to_nothing_is_accepted_twice",
    "test_no_nonce_repeats_through_four_laps_of_the_counter",
    "test_nothing_is_kept_of_small_messages_that_were_acked",
    "test_ten_minutes_of_play_take_no_more_than_two",
    "test_numbers_far_apart_and_out_of_order",
    "test_up_to_three_pieces",
    "test_a_receiver_whose_game_reads_nothing_is_no_path",
    "test_a_packet_of_an_earlier_lap_is_not_taken_for_one_that_was_lost",
    "test_at_full_speed_no_recorded_packet_passes_in_three_laps",
    "test_all_that_was_ever_sent_through_three_laps",
)
"""Tests that do one thing a hundred thousand times, which others do some dozen times: left out, for
under sanitizers they take minutes."""
AT_ONCE = 2
"""Runs of a share of the tests each: none of these tests depends on how fast it is."""


@pytest.fixture(scope="module")
def sanitized() -> Sanitized:
    try:
        return Sanitized()
    except NoToolchainError as error:
        pytest.skip(str(error))


def leaks_of_ours(report: str) -> list[str]:
    """The leaks of a report in whose stack there is a compiled module."""
    leaks = report.split("\n\n")
    return [leak for leak in leaks if "leak of" in leak and OURS in leak]


def findings(report: str) -> list[str]:
    """Return the findings in our code: the whole report for a fault, else our leaks."""
    return [report] if any(fault in report for fault in FAULTS) else leaks_of_ours(report)


@pytest.mark.extra
@pytest.mark.timeout(900)
def test_the_tests_of_the_compiled_modules_touch_nothing_wrong_and_leak_nothing(
    sanitized: Sanitized, tmp_path: Path
) -> None:
    environment = sanitized.environment(detect_leaks="1", malloc_context_size=FRAMES)
    # The options of LeakSanitizer are those of the others too: a fault, in a process that a test
    # starts, is in a report as well, and its exit status is 0.
    environment["LSAN_OPTIONS"] = f"exitcode=0:log_path={tmp_path}/report"
    command = [str(sanitized.python), "-X", "dev", str(PYTEST)]
    command += ["-p", "no:cacheprovider", "-o", "timeout=600"]
    command += ["-k", f"not ({' or '.join(REPEATING)})"]
    files = sorted(
        [
            *(ROOT / "tests" / "core").glob("test_*.py"),
            ROOT / "tests" / "properties" / "test_finalizers.py",
        ],
        key=lambda file: file.stat().st_size,
    )

    def run(share: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *files[share::AT_ONCE]],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in pool.map(run, range(AT_ONCE)):
            print(done.stdout[-4000:], done.stderr[-8000:])
            assert done.returncode == 0
            assert "sanitize build" in done.stdout
    reports = [path.read_text() for path in tmp_path.glob("report*")]
    assert [finding for report in reports for finding in findings(report)] == []


@pytest.mark.extra
@pytest.mark.timeout(600)
def test_a_minute_of_hostile_inputs_finds_nothing(sanitized: Sanitized) -> None:
    command = [sys.executable, "-m", "fuzz", "--seconds", str(FUZZ_SECONDS)]
    done = subprocess.run(
        command, cwd=campaign.TESTS, env=os.environ, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0


def test_what_is_left_out_under_sanitizers_is_there() -> None:
    texts = [file.read_text() for file in (ROOT / "tests" / "core").glob("test_*.py")]
    assert [name for name in REPEATING if not any(f"def {name}(" in text for text in texts)] == []


def test_a_leak_counts_when_a_compiled_module_is_in_its_stack():
    theirs = "Direct leak of 8 byte(s)\n    #0 malloc\n    #1 PyObject_New /x/pycore_call.h:9"
    ours = "Direct leak of 8 byte(s)\n    #0 malloc\n    #1 f /x/cython/_core/endpoint.c:9"
    report = f"==1==ERROR: LeakSanitizer\n\n{theirs}\n\n{ours}\n\nSUMMARY: 16 byte(s) leaked"
    assert findings(report) == [ours]


@pytest.mark.parametrize(
    "fault",
    [
        "/x/cython/_core/endpoint.c:9:5: runtime error: 1.8e+19 is outside the range of 'long'",
        "==1==ERROR: AddressSanitizer: heap-use-after-free on address 0x1\n\n    #0 f endpoint.c:9",
        "==1==ERROR: AddressSanitizer: SEGV on unknown address\n\n    #0 PyObject_Call call.c:9",
    ],
)
def test_a_fault_counts_whoever_is_in_its_stack(fault):
    assert findings(fault) == [fault]


def test_a_leak_of_the_interpreter_does_not_count():
    leak = "Direct leak of 8 byte(s)\n    #0 malloc\n    #1 PyObject_New /x/pycore_call.h:9"
    assert findings(f"==1==ERROR: LeakSanitizer: detected memory leaks\n\n{leak}\n\n") == []


class TestToolchain:
    @pytest.fixture(autouse=True)
    def a_machine_with_everything(self, monkeypatch):
        self.broken: set[str] = set()
        self.programs = {"clang-16": "/usr/bin/clang-16", "gcc": "/usr/bin/gcc"}
        monkeypatch.setattr(toolchain.shutil, "which", lambda name: self.programs.get(name))
        monkeypatch.setattr(toolchain, "can_build", lambda clang: clang not in self.broken)
        monkeypatch.setattr(toolchain, "atheris_runtime", lambda: Path("/x/asan_with_fuzzer.so"))
        monkeypatch.setattr(toolchain, "_output", lambda *command: f"/lib/{command[-1][17:]}")

    def test_with_clang_and_atheris_inputs_are_guided(self):
        found = toolchain.find_toolchain()
        assert (found.compiler, found.unguided_because) == ("/usr/bin/clang-16", None)
        assert found.runtime == (Path("/x/asan_with_fuzzer.so"),)
        assert "-fsanitize=fuzzer-no-link" in found.flags

    @pytest.mark.parametrize("missing", ["clang", "atheris"])
    def test_without_one_of_them_gcc_does_and_it_is_said_why(self, monkeypatch, missing):
        if missing == "clang":
            del self.programs["clang-16"]
        else:
            monkeypatch.setattr(toolchain, "atheris_runtime", lambda: None)
        found = toolchain.find_toolchain()
        assert found.compiler == "gcc"
        assert found.runtime == (Path("/lib/libasan.so"), Path("/lib/libubsan.so"))
        assert missing in (found.unguided_because or "")

    def test_a_clang_without_its_libraries_is_passed_over(self):
        self.programs["clang"] = "/usr/bin/clang"
        assert toolchain.find_toolchain().compiler == "/usr/bin/clang"
        self.broken.add("/usr/bin/clang")
        assert toolchain.find_toolchain().compiler == "/usr/bin/clang-16"

    def test_with_neither_it_is_said_what_to_install(self):
        self.programs.clear()
        with pytest.raises(NoToolchainError, match=r"install clang.*install gcc"):
            toolchain.find_toolchain()

    def test_a_gcc_without_its_libraries_is_none(self, monkeypatch):
        del self.programs["clang-16"]
        monkeypatch.setattr(toolchain, "_output", lambda *command: command[-1][17:])
        with pytest.raises(NoToolchainError, match="libasan"):
            toolchain.find_toolchain()


class TestFigures:
    def test_of_a_guided_run(self):
        log = "#9\tNEW    cov: 1 ft: 2 corp: 3/4b\n#5733\tDONE   cov: 1548 ft: 9 corp: 2/3Kb\n"
        assert campaign.figures(log, 30.0) == (5733, 30.0, 1548)

    def test_of_an_unguided_run(self):
        assert campaign.figures("unguided: 159495 runs in 9.0 s\n", 30.0) == (159_495, 9.0, 0)

    def test_of_a_run_that_broke_off(self):
        assert campaign.figures("Traceback (most recent call last):\n", 30.0) == (0, 0.0, 0)
