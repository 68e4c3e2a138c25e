"""How the demo and `python -m sandbox up` end: by a signal at any moment, by kill -9, and when a part of theirs ends.

Whatever it was, nothing of theirs runs afterwards.
"""

import asyncio
import fcntl
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from sandbox import binaries
from sandbox.processes import Identity, descendants
from sandbox.waiting import until
from tests.support.started import ROOT, Started, command_line, started

UP = ("sandbox", "up")
DEMO = ("sandbox.demo",)
READY = "Ctrl-C ends everything"
CONTROL_PLANE = "kube-controller-manager, kube-apiserver, etcd"
SIGNALS = [
    pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
    pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    pytest.param(signal.SIGHUP, 129, id="the terminal is closed"),
]


def last_line(command: Started) -> str:
    return command.said.splitlines()[-1]


def alive(programs: list[Identity]) -> list[Identity]:
    return [program for program in programs if program.is_alive()]


# d1, d2: signals


@pytest.mark.parametrize("words", [UP, DEMO, ("sandbox", "build")], ids=" ".join)
@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_d1_a_signal_during_the_imports_ends_it_with_one_line(
    words: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    async with started(*words) as command:
        await command.hears_signals()
        command.process.send_signal(number)
        assert await command.ended() == code
    assert command.said == f"ended by {number.name}: nothing was running yet\n"


@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_d1_d2_a_signal_ends_a_sandbox_with_its_heads_and_says_what_was_ended(
    number: signal.Signals, code: int
) -> None:
    async with started(*UP) as up:
        await up.says(READY)
        await up.run_a_light_head()
        programs, folder = up.programs, up.folder
        assert len(programs) > 5
        up.process.send_signal(number)
        assert await up.ended() == code
        assert alive(programs) == []
        assert not folder.exists()
    said = up.said.partition(f"{READY}.\n")[2]
    assert re.fullmatch(
        rf"ended by {number.name}: Ray head default/left-\w+, {CONTROL_PLANE}\n", said
    )


@pytest.mark.parametrize(
    "count",
    [1, 2, 3],
    ids=["etcd starts", "kube-apiserver starts", "kube-controller-manager starts"],
)
async def test_d1_d2_a_signal_while_the_control_plane_starts_ends_it(count: int) -> None:
    async with started(*UP) as up:
        await until(lambda: len(up.recorded) >= count, timeout=60, every=0.001)
        up.process.send_signal(signal.SIGTERM)
        programs, folder = up.programs, up.folder
        assert await up.ended() == 143
        assert alive(programs) == []
        assert not folder.exists()
    assert last_line(up).startswith("ended by SIGTERM: ")
    assert last_line(up).endswith("etcd")
    assert "Traceback" not in up.said


async def test_d1_more_signals_while_it_ends_leave_nothing_behind_and_change_nothing() -> None:
    async with started(*UP) as up:
        await up.says(READY)
        await up.run_a_light_head()
        programs, folder = up.programs, up.folder
        up.process.send_signal(signal.SIGINT)
        await until(lambda: len(alive(programs)) < len(programs), timeout=30, every=0.002)
        while up.process.returncode is None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                up.process.send_signal(number)
            await asyncio.sleep(0.02)
        assert await up.ended() == 130
        assert alive(programs) == []
        assert not folder.exists()
    assert up.said.partition(f"{READY}.\n")[2].count("\n") == 1


async def test_d1_a_signal_while_it_ends_by_itself_does_not_interrupt_the_end() -> None:
    """A command whose last part takes a moment to end."""
    script = """
        import asyncio, sys
        from sandbox import lifetime
        from sandbox.signals import Signals

        async def end_slowly():
            print("ending", flush=True)
            await asyncio.sleep(1)
            print("ended", flush=True)

        async def command(life):
            life.stack.push_async_callback(end_slowly)
            return 0

        signals = Signals()
        signals.listen()
        sys.exit(lifetime.run(command, signals))
    """
    words = (sys.executable, "-c", textwrap.dedent(script))
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=-1, stderr=-2)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ending\n"
    process.send_signal(signal.SIGINT)
    said, _ = await process.communicate()
    assert (process.returncode, said.decode()) == (
        130,
        "ended\nended by SIGINT: nothing was running yet\n",
    )


async def test_d2_a_hangup_stays_ignored_under_nohup() -> None:
    words = ("/bin/sh", "-c", 'trap "" HUP; exec "$0" -m sandbox up', sys.executable)
    process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=-1, stderr=-2)
    assert process.stdout is not None
    async for line in process.stdout:
        if READY.encode() in line:
            break
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    said, _ = await process.communicate()
    assert process.returncode == 143
    assert said.decode() == f"ended by SIGTERM: {CONTROL_PLANE}\n"


async def test_d2_a_terminal_that_is_closed_ends_it() -> None:
    """A window that is closed: the kernel sends SIGHUP, and nothing can be written any more."""
    script = "import os, pty, sys\npid, screen = pty.fork()\nif pid == 0: os.execv(sys.executable, sys.argv[1:])\n"
    script += "text = b''\nwhile b'Ctrl-C ends' not in text: text += os.read(screen, 4096)\nprint(pid, flush=True)\n"
    script += "sys.stdin.readline()\nos.close(screen)\nprint(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n"
    words = (sys.executable, "-c", script, sys.executable, "-m", *UP)
    terminal = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdin=-1, stdout=-1)
    assert terminal.stdin is not None
    assert terminal.stdout is not None
    async with asyncio.timeout(90):
        pid = int(await terminal.stdout.readline())
        programs = descendants(pid)
        assert len(programs) == 3
        terminal.stdin.write(b"close it\n")
        assert int(await terminal.stdout.readline()) == 129
        await terminal.wait()
    assert alive(programs) == []


@pytest.mark.parametrize("verb", ["list", "build"])
async def test_d1_a_signal_while_the_programs_are_built_ends_the_build(
    verb: str, tmp_path: Path
) -> None:
    """A go that never comes to an end, and has started another program."""
    go = tmp_path / "go"
    go.write_text(f'#!/bin/sh\n[ "$1" = {verb} ] || exit 0\nsleep 600 &\nwait\n')
    go.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path),
        "KUBEBUILDER_ASSETS": "",
    }
    async with started(*UP, environment=environment) as up:
        await until(lambda: len(up.programs) == 2, timeout=60)
        programs = up.programs
        up.process.send_signal(signal.SIGINT)
        assert await up.ended() == 130
        await until(lambda: alive(programs) == [], timeout=10)
    assert last_line(up) == f"ended by SIGINT: go {verb} of etcd"
    assert [path.suffix for path in (tmp_path / "raysweep-sandbox").iterdir()] == [".lock"]


async def test_d1_a_signal_while_another_builds_ends_the_wait(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "KUBEBUILDER_ASSETS": ""}
    async with started(*UP, environment=environment) as first:
        await until(lambda: any((tmp_path / "raysweep-sandbox").glob("*.lock")), timeout=30)
        first.process.send_signal(signal.SIGTERM)
        assert await first.ended() == 143
    (lock,) = (tmp_path / "raysweep-sandbox").glob("*.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with started(*UP, environment=environment) as up:
            await up.hears_signals()
            await until(
                lambda: any(
                    fd.readlink() == lock for fd in Path(f"/proc/{up.process.pid}/fd").iterdir()
                ),
                timeout=30,
            )
            up.process.send_signal(signal.SIGINT)
            assert await up.ended() == 130
    assert up.said == "ended by SIGINT: nothing was running yet\n"


async def test_d2_kill_9_leaves_nothing_running() -> None:
    async with started(*UP) as up:
        await up.says(READY)
        await up.run_a_light_head()
        programs = up.programs
        assert len(programs) > 5
        up.process.kill()
        assert await up.ended() == -signal.SIGKILL
        await until(lambda: alive(programs) == [], timeout=10)


@pytest.mark.timeout(300)
async def test_d1_ctrl_c_twice_while_the_jobs_of_the_demo_run_ends_it_with_one_line() -> None:
    async with started(*DEMO) as demo:
        await demo.says("running   train")
        programs, folder = demo.programs, demo.folder
        said = demo.said
        demo.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.3)
        demo.process.send_signal(signal.SIGINT)
        assert await demo.ended() == 130
        assert alive(programs) == []
        assert not folder.exists()
    told = [
        line
        for line in demo.said.removeprefix(said).splitlines()
        if not re.match(r" *\d+\.\d s  ", line)
    ]
    assert len(told) == 1
    assert told[0].startswith("ended by SIGINT: Ray head team-a/")
    assert told[0].endswith(f"operator, {CONTROL_PLANE}")


@pytest.mark.timeout(300)
async def test_d1_the_demo_ends_by_itself_and_a_signal_then_leaves_nothing_behind() -> None:
    async with started(*DEMO) as demo:
        await demo.says("submitted long")
        await demo.says("As it should be", timeout=200)
        programs, folder = demo.programs, demo.folder
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.ended() == 143
        assert alive(programs) == []
        assert not folder.exists()
    assert "Traceback" not in demo.said


# d3: a part ends


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver", "kube-controller-manager"])
async def test_d3_a_part_of_the_control_plane_that_ends_is_named_with_its_log_and_ends_the_sandbox(
    name: str,
) -> None:
    async with started(*UP) as up:
        await up.says(READY)
        programs, folder = up.programs, up.folder
        up.program(f"/{name} ").signal(signal.SIGKILL)
        assert await up.ended() == 1
        assert alive(programs) == []
        assert not folder.exists()
    said = up.said.partition(f"{READY}.\n")[2]
    assert said.startswith(f"error: {name} ended with code -9 (SIGKILL); the end of its log:\n")
    assert "Traceback" not in said
    assert (
        last_line(up)
        == f"ended: {', '.join(each for each in CONTROL_PLANE.split(', ') if each != name)}"
    )


@pytest.mark.parametrize("name", ["etcd", "kube-apiserver"])
async def test_d3_a_part_that_ends_while_the_others_start_is_named(name: str) -> None:
    async with started(*UP) as up:
        await until(lambda: up.has_program(f"/{name} "), timeout=60, every=0.001)
        up.program(f"/{name} ").signal(signal.SIGKILL)
        assert await up.ended() == 1
    assert f"error: {name} ended with code -9 (SIGKILL)" in up.said
    assert "Traceback" not in up.said


async def test_d3_a_head_that_ends_is_named_with_its_log_and_a_sandbox_goes_on_as_a_cluster_would() -> (
    None
):
    async with started(*UP) as up:
        await up.says(READY)
        await up.run_a_light_head()
        kubectl = (
            str(binaries.find_or_build(print) / "kubectl"),
            f"--kubeconfig={up.folder / 'admin.kubeconfig'}",
        )
        wait = ("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        process = await asyncio.create_subprocess_exec(*kubectl, *wait, stdout=-1)
        await process.communicate()
        up.program("dashboard.py").signal(signal.SIGKILL)
        await up.says("error: Ray head default/left-")
        await up.says("ended with code 1; the end of its log:")
        assert up.process.returncode is None
        assert len(alive(up.recorded)) == 3


def the_operator(demo: Started) -> Identity:
    return demo.program("raysweep run")


def the_head_of_long(demo: Started) -> Identity:
    """Ray's GCS server in the head whose job sleeps for an hour."""
    heads = [descendants(program.pid) for program in demo.recorded]
    (head,) = [
        below for below in heads if any("sleep(3600)" in command_line(each) for each in below)
    ]
    return next(each for each in head if "gcs_server" in command_line(each))


def the_api_server(demo: Started) -> Identity:
    return demo.program("/kube-apiserver ")


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("part", "named"),
    [
        pytest.param(the_operator, r"operator ended with code -9 \(SIGKILL\)", id="the operator"),
        pytest.param(
            the_head_of_long, r"Ray head team-a/long-\S+ ended with code \d+", id="a Ray head"
        ),
        pytest.param(
            the_api_server, r"kube-apiserver ended with code -9 \(SIGKILL\)", id="the API server"
        ),
    ],
)
async def test_d3_a_part_that_ends_in_the_middle_of_the_demo_is_named_with_its_log_and_ends_it(
    part: Callable[[Started], Identity], named: str
) -> None:
    async with started(*DEMO) as demo:
        await demo.says("running   long")
        await until(lambda: demo.has_program("sleep(3600)"), timeout=60)
        programs, folder = demo.programs, demo.folder
        said = demo.said
        part(demo).signal(signal.SIGKILL)
        assert await demo.ended() == 1
        assert alive(programs) == []
        assert not folder.exists()
    rest = demo.said.removeprefix(said)
    error = re.search(
        rf"^error: {named}; the end of its log:\n(.*)^ended: .*etcd$",
        rest,
        re.MULTILINE | re.DOTALL,
    )
    assert error is not None, rest
    assert 0 < len(error[1].splitlines()) <= 15
    assert "Traceback" not in rest
