from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from edgetf.errors import EdgetfError
from edgetf.events import Answer, Event, Message, Phase
from edgetf.owned import scratch
from edgetf.process import Answered, EndedError, HungError, ask, conversing, run_child
from tests.processes import await_end, living


def _python(code: str, **options: object) -> tuple[list[Message], int, str]:
    """The messages of a child, its exit code, and its standard error."""
    sent: list[Message] = []
    command = [sys.executable, "-c", code]
    ended = run_child(command, sent.append, on_answer=sent.append, idle_s=20, **options)  # type: ignore[arg-type]
    return sent, ended.code, ended.stderr


# prints an answer with the fields that are given as Python
ANSWER = "from edgetf.process import EventPipe; EventPipe().answer('found', {})"


def test_lines_that_are_not_messages_are_ignored() -> None:
    code = (
        "import sys\n"
        """print('{"event": "phase", "phase": "one"}'); print("noise"); print("[1]"); print("{}")\n"""
        """print('{"event": "answer", "kind": "found", "fields": {"b": 2}}'); sys.stderr.write("oh")"""
    )
    assert _python(code) == ([Phase("one"), Answer("found", {"b": 2})], 0, "oh")


def test_the_request_and_the_environment_reach_the_child() -> None:
    code = "import os, sys; " + ANSWER.format("given=sys.stdin.read(), env=os.environ['EDGETF_TEST']")
    sent, _, _ = _python(code, request="hello", env={"EDGETF_TEST": "yes"})
    assert sent == [Answer("found", {"given": "hello", "env": "yes"})]


def test_a_signal_is_named() -> None:
    ended = run_child(
        [sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"], lambda e: None, idle_s=20, request="x" * 100_000
    )
    assert ended.how == "died of SIGSEGV"


def test_a_child_without_output_is_ended() -> None:
    with pytest.raises(HungError, match="no output for 0 s"):
        run_child([sys.executable, "-c", "import time; time.sleep(60)"], lambda e: None, idle_s=0.3)


def test_grandchildren_do_not_outlive_an_interruption(tmp_path: Path) -> None:
    marker = f"edgetf-test-{tmp_path.name}-{time.perf_counter_ns()}"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', {marker!r}])\n"
        """print('{"event": "note", "note": ""}', flush=True)\n"""
        "time.sleep(60)\n"
    )

    def interrupt(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child([sys.executable, "-c", code, marker], interrupt, idle_s=20)
    time.sleep(0.2)
    listing = subprocess.run(["ps", "ax", "-o", "args"], capture_output=True, text=True, check=True).stdout
    assert marker not in listing


PARENT = """
import os, sys
from edgetf.process import run_child
script = "sleep 60 & echo '{}' && sleep 60".format('{"event": "note", "note": ""}')
run_child(["sh", "-c", script], lambda event: print(os.environ["TMPDIR"], flush=True), idle_s=60)
"""


def test_a_child_and_its_children_end_when_this_process_is_killed(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=env) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        group = next(p.pid for p in psutil.Process(parent.pid).children() if p.cmdline()[-1].startswith("sleep 60 &"))
        assert len(living(group)) >= 2  # the shell and its background process
        parent.kill()
        parent.wait()
        await_end(group)
    assert len(list(tmp_path.iterdir())) == 1
    subprocess.run(
        [sys.executable, "-c", "from edgetf.owned import scratch\nwith scratch(): pass"], env=env, check=True
    )
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_not_utf_8_is_read() -> None:
    script = r"read -r line; printf 'v\377%s\r\n' $line; printf '\300' >&2; exit 3"
    assert ask(["sh", "-c", script], given="1\n", seconds=20) == Answered(3, "v\ufffd1\n", "\ufffd")


def test_a_program_that_does_not_read_its_input_is_no_error() -> None:
    assert ask(["true"], given="x" * 1_000_000, seconds=20).code == 0


def test_a_program_without_an_answer_is_ended_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(HungError, match="no answer for 0 s"):
        ask(["sh", "-c", f"echo $$ > {tmp_path}/group; sleep 61.5 & sleep 61.5"], seconds=0.4)
    assert time.monotonic() - began < 10
    await_end(int((tmp_path / "group").read_text()))


def test_a_program_that_is_asked_ends_when_this_process_is_killed(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/group; sleep 60"
    code = f"from edgetf.process import ask\nask(['sh', '-c', {script!r}], seconds=60)"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        deadline = time.monotonic() + 30
        while not (tmp_path / "group").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        group = int((tmp_path / "group").read_text())
        assert len(living(group)) >= 2
        parent.kill()
        parent.wait()
        await_end(group)


@pytest.mark.parametrize("run", [lambda: _python("print('{}')"), lambda: ask(["true"], seconds=20)])
def test_the_guard_ends_with_the_child(run: Callable[[], object]) -> None:
    before = {p.pid for p in psutil.Process().children()}
    run()
    assert {p.pid for p in psutil.Process().children()} <= before


def test_the_temporary_files_of_a_child_are_removed_with_it() -> None:
    [answer], _, _ = _python("import tempfile; " + ANSWER.format("left=tempfile.mkdtemp()"))
    assert isinstance(answer, Answer)
    assert not Path(answer.fields["left"]).exists()


def test_a_system_error_in_a_child_is_one_line_in_the_parent() -> None:
    code = (
        "from edgetf.process import EventPipe, reporting\n"
        "with reporting(EventPipe()): open('/dev/full', 'w').write('x' * 100_000)"
    )
    with pytest.raises(EdgetfError) as caught:
        _python(code)
    assert caught.value.message.endswith("No space left on device")


def _write_without_a_name() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as numpy does


def _run_a_child_that_prints_nothing() -> None:
    run_child([sys.executable, "-c", "raise SystemExit(1)"], lambda event: None, idle_s=60)


@pytest.mark.parametrize("act", [_write_without_a_name, _run_a_child_that_prints_nothing])
def test_a_full_folder_for_temporary_files_is_named(act: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgetf.system._takes_files", lambda folder: False)
    with pytest.raises(OSError, match=tempfile.gettempdir()) as caught, scratch():
        act()
    assert caught.value.errno == errno.ENOSPC


# answers each line with its length, or fails as it is asked to
CONVERSATION = """
import os, sys
from edgetf.errors import EdgetfError
from edgetf.process import EventPipe, reporting
events = EventPipe()
for line in sys.stdin:
    print("noise")
    with reporting(events):
        if line == "wrong\\n":
            raise EdgetfError("it is wrong", "correct it")
        if line == "die\\n":
            print("no memory", file=sys.stderr, flush=True)
            os.kill(os.getpid(), 9)
        events.answer("length", of=len(line) - 1)
"""


def test_a_child_answers_one_request_after_another_until_it_dies() -> None:
    with conversing([sys.executable, "-c", CONVERSATION], idle_s=20) as ask_child:
        assert ask_child("four") == Answer("length", {"of": 4})
        with pytest.raises(EdgetfError, match="it is wrong"):
            ask_child("wrong")
        assert ask_child("x" * 100_000) == Answer("length", {"of": 100_000})
        for request in ("die", "again"):
            with pytest.raises(EndedError, match="died of SIGKILL: no memory"):
                ask_child(request)


def test_a_process_that_leaves_has_written_everything_and_runs_what_was_registered_for_the_end() -> None:
    code = (
        "import atexit; from edgetf.process import leave; atexit.register(print, 'end'); print('begin'); leave(); 1 / 0"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["begin", "end"]
