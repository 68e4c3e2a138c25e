"""How the demo and `python -m sandbox up` end: after a signal, SIGKILL, or the exit of a program.

In every case no process of theirs is left.
"""

import asyncio
import fcntl
import os
import re
import signal
import sys
import textwrap
from pathlib import Path

import pytest

from sandbox import binaries
from sandbox.processes import Identity, descendants
from sandbox.waiting import until
from tests.support.sandbox_command import ROOT, SandboxCommand, command_line, running_command

UP = ("sandbox", "up")
DEMO = ("sandbox.demo",)
READY = "Press Ctrl-C to stop everything"
STOPPED = "kuberay-operator, kube-controller-manager, kube-apiserver, etcd"
"""The programs of a sandbox in the order in which they are stopped."""
ONE_DEMO_AT_A_TIME = pytest.mark.xdist_group("demo")
"""Each starts three Ray heads."""
SIGNALS = [
    pytest.param(signal.SIGINT, 130, id="Ctrl-C"),
    pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
    pytest.param(signal.SIGHUP, 129, id="the terminal is closed"),
]


def last_line(command: SandboxCommand) -> str:
    return command.text.splitlines()[-1]


def alive(programs: list[Identity]) -> list[Identity]:
    return [program for program in programs if program.is_alive()]


# d1, d2: signals


@pytest.mark.parametrize("words", [UP, DEMO, ("sandbox", "build")], ids=" ".join)
@pytest.mark.parametrize(("number", "code"), SIGNALS)
async def test_d1_a_signal_during_the_imports_prints_one_line(
    words: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    async with running_command(*words) as command:
        await command.wait_for_handlers()
        command.process.send_signal(number)
        assert await command.wait() == code
    assert command.text == f"{number.name} received, stopped: nothing was running\n"


async def test_d1_d2_a_signal_stops_a_sandbox_with_its_heads_and_lists_them() -> None:
    async with running_command(*UP) as up:
        await up.wait_for_output(READY)
        await up.run_a_light_head()
        programs, folder = up.programs, up.folder
        assert len(programs) > 5
        up.process.send_signal(signal.SIGTERM)
        assert await up.wait() == 143
        assert alive(programs) == []
        assert not folder.exists()
    text = up.text.partition(f"{READY}.\n")[2]
    assert re.fullmatch(rf"SIGTERM received, stopped: Ray head default/left-\w+, {STOPPED}\n", text)


@pytest.mark.parametrize("count", [1, 4], ids=["etcd starts", "kuberay-operator starts"])
async def test_d1_d2_a_signal_while_a_sandbox_starts_ends_it(count: int) -> None:
    async with running_command(*UP) as up:
        await until(lambda: len(up.recorded) >= count, timeout=60, every=0.001)
        up.process.send_signal(signal.SIGTERM)
        programs, folder = up.programs, up.folder
        assert await up.wait() == 143
        assert alive(programs) == []
        assert not folder.exists()
    assert last_line(up).startswith("SIGTERM received, stopped: ")
    assert last_line(up).endswith("etcd")
    assert "Traceback" not in up.text


async def test_d1_more_signals_during_the_shutdown_change_nothing() -> None:
    async with running_command(*UP) as up:
        await up.wait_for_output(READY)
        await up.run_a_light_head()
        programs, folder = up.programs, up.folder
        up.process.send_signal(signal.SIGINT)
        await until(lambda: len(alive(programs)) < len(programs), timeout=30, every=0.002)
        while up.process.returncode is None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                up.process.send_signal(number)
            await asyncio.sleep(0.02)
        assert await up.wait() == 130
        assert alive(programs) == []
        assert not folder.exists()
    assert up.text.partition(f"{READY}.\n")[2].count("\n") == 1


async def test_d1_a_signal_does_not_interrupt_the_shutdown_of_a_finished_command() -> None:
    """A command whose cleanup takes a moment."""
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
    text, _ = await process.communicate()
    assert (process.returncode, text.decode()) == (
        130,
        "ended\nSIGINT received, stopped: nothing was running\n",
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
    text, _ = await process.communicate()
    assert process.returncode == 143
    assert text.decode() == f"SIGTERM received, stopped: {STOPPED}\n"


async def test_d2_a_terminal_that_is_closed_ends_it() -> None:
    """A closed window: the kernel sends SIGHUP, and every write fails."""
    script = """
        import os, pty, sys
        pid, screen = pty.fork()
        if pid == 0:
            os.execv(sys.executable, sys.argv[1:])
        text = b""
        while b"Press Ctrl-C" not in text:
            text += os.read(screen, 4096)
        print(pid, flush=True)
        sys.stdin.readline()
        os.close(screen)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    """
    words = (sys.executable, "-c", textwrap.dedent(script), sys.executable, "-m", *UP)
    terminal = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdin=-1, stdout=-1)
    assert terminal.stdin is not None
    assert terminal.stdout is not None
    async with asyncio.timeout(90):
        pid = int(await terminal.stdout.readline())
        programs = descendants(pid)
        assert len(programs) == 4
        terminal.stdin.write(b"close it\n")
        assert int(await terminal.stdout.readline()) == 129
        await terminal.wait()
    assert alive(programs) == []


@pytest.mark.parametrize("verb", ["list", "build"])
async def test_d1_a_signal_while_the_programs_are_built_ends_the_build(
    verb: str, tmp_path: Path
) -> None:
    """A `go` that never ends and has started another program."""
    go = tmp_path / "go"
    go.write_text(f'#!/bin/sh\n[ "$1" = {verb} ] || exit 0\nsleep 600 &\nwait\n')
    go.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path),
        "KUBEBUILDER_ASSETS": "",
    }
    async with running_command(*UP, environment=environment) as up:
        await until(lambda: len(up.programs) == 2, timeout=60)
        programs = up.programs
        up.process.send_signal(signal.SIGINT)
        assert await up.wait() == 130
        await until(lambda: alive(programs) == [], timeout=10)
    assert last_line(up) == f"SIGINT received, stopped: go {verb} of etcd"
    assert {path.suffix for path in (tmp_path / "raysweep-sandbox").iterdir()} == {".lock"}


async def test_d1_a_signal_ends_the_wait_for_the_build_of_another_process(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "KUBEBUILDER_ASSETS": ""}
    async with running_command(*UP, environment=environment) as first:
        await until(lambda: any((tmp_path / "raysweep-sandbox").glob("*.lock")), timeout=30)
        first.process.send_signal(signal.SIGTERM)
        assert await first.wait() == 143
    (lock,) = (tmp_path / "raysweep-sandbox").glob("*.lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with running_command(*UP, environment=environment) as up:
            await up.wait_for_handlers()
            await until(
                lambda: any(
                    fd.readlink() == lock for fd in Path(f"/proc/{up.process.pid}/fd").iterdir()
                ),
                timeout=30,
            )
            up.process.send_signal(signal.SIGINT)
            assert await up.wait() == 130
    assert last_line(up) == "SIGINT received, stopped: nothing was running"


async def test_d2_sigkill_leaves_no_process() -> None:
    async with running_command(*UP) as up:
        await up.wait_for_output(READY)
        await up.run_a_light_head()
        programs = up.programs
        assert len(programs) > 5
        up.process.kill()
        assert await up.wait() == -signal.SIGKILL
        await until(lambda: alive(programs) == [], timeout=10)


@ONE_DEMO_AT_A_TIME
async def test_d1_a_signal_after_the_end_of_the_demo_leaves_no_process() -> None:
    async with running_command(*DEMO) as demo:
        await demo.wait_for_output("submitted long")
        await demo.wait_for_output("Success: ", timeout=250)
        programs, folder = demo.programs, demo.folder
        demo.process.send_signal(signal.SIGTERM)
        assert await demo.wait() == 143
        assert alive(programs) == []
        assert not folder.exists()
    assert "Traceback" not in demo.text


# d3: a part ends


@pytest.mark.parametrize("name", ["kuberay-operator", "etcd"])
async def test_d3_a_part_of_a_sandbox_that_exits_is_reported_and_ends_the_sandbox(
    name: str,
) -> None:
    async with running_command(*UP) as up:
        await up.wait_for_output(READY)
        programs, folder = up.programs, up.folder
        up.program(f"/{name} ").signal(signal.SIGKILL)
        assert await up.wait() == 1
        assert alive(programs) == []
        assert not folder.exists()
    text = up.text.partition(f"{READY}.\n")[2]
    assert text.startswith(f"error: {name} exited with code -9 (SIGKILL). Its last log lines:\n")
    assert "Traceback" not in text
    assert (
        last_line(up)
        == f"stopped: {', '.join(each for each in STOPPED.split(', ') if each != name)}"
    )


async def test_d3_a_part_that_exits_during_the_start_is_reported() -> None:
    async with running_command(*UP) as up:
        await until(lambda: up.has_program("/kube-apiserver "), timeout=60, every=0.001)
        up.program("/kube-apiserver ").signal(signal.SIGKILL)
        assert await up.wait() == 1
    assert "error: kube-apiserver exited with code -9 (SIGKILL)" in up.text
    assert "Traceback" not in up.text


async def test_d3_a_head_that_exits_is_reported_and_the_sandbox_continues() -> None:
    async with running_command(*UP) as up:
        await up.wait_for_output(READY)
        await up.run_a_light_head()
        kubectl = (
            str(binaries.KUBERNETES.folder / "kubectl"),
            f"--kubeconfig={up.folder / 'admin.kubeconfig'}",
        )
        wait = ("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        process = await asyncio.create_subprocess_exec(*kubectl, *wait, stdout=-1)
        await process.communicate()
        up.program("dashboard.py").signal(signal.SIGKILL)
        await up.wait_for_output("error: Ray head default/left-")
        await up.wait_for_output("exited with code 1. Its last log lines:")
        assert up.process.returncode is None
        assert len(alive(up.recorded)) == 4


def the_ray_heads(demo: SandboxCommand) -> list[Identity]:
    """Every `ray start`. A head that is still starting is started again, so one is not enough."""
    lines = {each: command_line(each) for each in demo.programs}
    return [
        each for each, line in lines.items() if "start --head" in line and "relay.py" not in line
    ]


@ONE_DEMO_AT_A_TIME
async def test_d3_a_ray_head_that_exits_during_the_demo_is_reported_and_ends_it() -> None:
    """The demo cannot end in the 10 seconds between the end of train and its deletion."""
    async with running_command(*DEMO) as demo:
        await demo.wait_for_output("running   train")
        programs, folder = demo.programs, demo.folder
        text = demo.text
        for program in the_ray_heads(demo):
            program.signal(signal.SIGKILL)
        assert await demo.wait() == 1
        assert alive(programs) == []
        assert not folder.exists()
    rest = demo.text.removeprefix(text)
    error = re.search(
        r"^error: Ray head team-a/\S+ exited with code \d+. Its last log lines:\n(.*)"
        r"^stopped: .*etcd$",
        rest,
        re.MULTILINE | re.DOTALL,
    )
    assert error is not None, rest
    reports = len(re.findall(r"^error: ", rest, re.MULTILINE))
    assert 0 < len(error[1].splitlines()) < 16 * reports  # a first line and 15 lines of the log
    assert "Traceback" not in rest
