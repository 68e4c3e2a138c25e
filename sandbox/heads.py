"""Real Ray heads, each in a network and PID namespace of its own. Kubernetes must not enter here."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp

from sandbox.network import Network
from sandbox.processes import Processes, Program, SandboxError
from sandbox.waiting import until

TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
HERE = Path(__file__).parent
AT_ONCE = (
    2  # a head costs 10 CPU seconds to start; on two cores more at a time only make each other late
)
START_WITHIN = 60.0
SOCKET_PATH_LIMIT = 107
LONGEST_BELOW = len("/session_2026-11-22_20-59-23_560151_1/sockets/plasma_store")

FULL = (
    "start --head --block --num-cpus=1 --include-dashboard=true --dashboard-host=127.0.0.1 --disable-usage-stats "
    "--object-store-memory=83886080 --no-monitor --include-log-monitor=false"
)


class NoNamespacesError(SandboxError):
    """This machine refuses namespaces; the text names the remedy."""


class Head:
    """One running head. `can_run` tells a full one from the light, which only answers what was written into it."""

    def __init__(
        self, name: str, folder: Path, program: Program, *, token: str | None, can_run: bool
    ) -> None:
        self.name = name
        self.can_run = can_run
        self.folder = folder
        self.socket = folder / "http"
        self._program = program
        self._headers = {"User-Agent": "sandbox"} | (
            {"X-Ray-Authorization": f"Bearer {token}"} if token else {}
        )

    @property
    def pids(self) -> list[int]:
        """Ray's processes and their drivers, on this side of the namespace."""
        return [process.pid for process in self._program.descendants()[1:]]

    def is_alive(self) -> bool:
        return self._program.is_alive()

    async def ended(self) -> None:
        """Returns when it has ended, by itself or not."""
        await self._program.ended()

    def check(self) -> None:
        """Raises ProgramDiedError if it has ended by itself."""
        self._program.check()

    async def get(self, path: str) -> tuple[int, bytes]:
        return await self._request("GET", path, None)

    async def post(self, path: str, body: object) -> tuple[int, bytes]:
        return await self._request("POST", path, io.BytesIO(json.dumps(body).encode()))

    async def _request(self, method: str, path: str, body: io.BytesIO | None) -> tuple[int, bytes]:
        connector = aiohttp.UnixConnector(str(self.socket))
        timeout = aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=timeout
            ) as session,
            session.request(method, f"http://head{path}", data=body) as answer,
        ):
            return answer.status, await answer.read()

    async def submit(self, entrypoint: str, submission_id: str, **extra: object) -> None:
        body = {"entrypoint": entrypoint, "submission_id": submission_id, **extra}
        status, answer = await self.post("/api/jobs/", body)
        if status != 200:
            raise RuntimeError(
                f"head {self.name} refused {submission_id}: {status} {answer.decode()[-500:]}"
            )

    async def wait_for(self, submission_id: str, *statuses: str, timeout: float = 60) -> str:
        """The first of these statuses (without any: the first terminal one) that the job reaches."""
        seen = "nothing"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    code, answer = await self.get(f"/api/jobs/{submission_id}")
                    seen = json.loads(answer)["status"] if code == 200 else answer.decode()
                    if seen in (statuses or TERMINAL):
                        return seen
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise TimeoutError(
                f"{submission_id}: {seen} after {timeout} s, not {statuses or TERMINAL}"
            ) from None

    async def put_record(
        self,
        submission_id: str,
        *,
        status: str,
        start_time: datetime,
        end_time: datetime | None = None,
        message: str | None = None,
        entrypoint: str = "true",
        runtime_env: dict[str, Any] | None = None,
    ) -> None:
        """Light heads: what the dashboard is to tell of one job."""
        record = {
            "status": status,
            "entrypoint": entrypoint,
            "message": message,
            "runtime_env": runtime_env,
        }
        times = {
            "start_time": _milliseconds(start_time),
            "end_time": end_time and _milliseconds(end_time),
        }
        await self.put_records([{"submission_id": submission_id, **record, **times}])

    async def put_records(self, records: Sequence[dict[str, Any]]) -> None:
        """Many at once, as JobInfo's fields and submission_id; times in milliseconds."""
        if self.can_run:
            raise ValueError(f"head {self.name} is a full one: it keeps its own records")
        reader, writer = await asyncio.open_unix_connection(self.folder / "records")
        try:
            writer.write(json.dumps(list(records)).encode() + b"\n")
            if await reader.readline() != b"done\n":
                raise RuntimeError(
                    f"head {self.name} did not take the records:\n{self._program.tail()}"
                )
        finally:
            writer.close()
            await writer.wait_closed()

    def suspend(self) -> None:
        """The head hangs: connections are accepted and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        # The first below unshare is the relay. It goes on: the kernel, too, accepts for a program that hangs.
        for process in self._program.descendants()[1:]:
            process.signal(number)

    async def stop(self) -> None:
        """At once and with everything in it: unshare passes SIGKILL on to process 1, and that ends its namespace."""
        inside = self._program.descendants()
        self._program.kill()
        await until(
            lambda: not (self.is_alive() or any(each.is_alive() for each in inside)), timeout=120
        )
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def until_ready(self) -> None:
        """A full head answers GETs some seconds before it can run a job, and only then is it ready."""
        async with asyncio.timeout(START_WITHIN):
            while not await self._is_ready():
                self._program.check()
                await asyncio.sleep(0.2)

    async def _is_ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            status, _ = await self.get("/api/jobs/")
            if status == 200 and self.can_run:
                # Refused for its size by the node's agent, which alone could run it: the agent is there, and no
                # record is left. Without an agent the answer is another one, after 10 s.
                _, answer = await self.post(
                    "/api/jobs/", {"entrypoint": "true", "metadata": {"size": "x" * 2**20}}
                )
                return b"Request Entity Too Large" in answer
            return status == 200
        return False


class Heads:
    """All heads of one sandbox, and which of them answers for which Service."""

    def __init__(self, folder: Path, processes: Processes, network: Network) -> None:
        self._folder = folder
        self._processes = processes
        self._network = network
        self._heads: dict[str, Head] = {}
        self._running: list[
            Head
        ] = []  # a rebuilt RayCluster's head takes the name while the former one still ends
        self._started = 0
        self._places = asyncio.Semaphore(AT_ONCE)

    def __getitem__(self, name: str) -> Head:
        return self._heads[name]

    def __contains__(self, name: str) -> bool:
        return name in self._heads

    async def full(self, name: str, *, token: str | None = None) -> Head:
        """`ray start --head`: runs jobs. 5 to 10 s."""
        ray = Path(sys.executable).with_name("ray")
        return await self._start(
            name, (ray, *FULL.split(), "--temp-dir={folder}"), can_run=True, token=token
        )

    async def light(self, name: str) -> Head:
        """Ray's dashboard without a node: it answers what put_record wrote. 2 to 4 s."""
        command = (sys.executable, HERE / "light.py", "{folder}", "{folder}/records")
        return await self._start(name, command, can_run=False, token=None)

    async def _start(
        self, name: str, command: Sequence[str | Path], *, can_run: bool, token: str | None
    ) -> Head:
        async with self._places:
            self._started += 1
            folder = self._folder / f"h{self._started}"
            if len(str(folder)) + LONGEST_BELOW > SOCKET_PATH_LIMIT:
                raise ValueError(
                    f"{folder} is too long for Ray's sockets; set TMPDIR to a shorter folder"
                )
            folder.mkdir()
            mode = (
                {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
                if token
                else {"RAY_AUTH_MODE": "disabled"}
            )
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"  # for jobs that say `python`
            inside = [str(word).replace("{folder}", str(folder)) for word in command]
            relay = (sys.executable, HERE / "relay.py", folder / "http")
            command = (*_unshare(), *relay, *inside)
            environment = mode | {"PATH": path}
            program = self._processes.start(
                folder.name, *command, environment=environment, title=f"Ray head {name}"
            )
            head = Head(name, folder, program, token=token, can_run=can_run)
            try:
                await head.until_ready()
            except BaseException:
                await head.stop()
                raise
            self._heads[name] = head
            self._running.append(head)
            return head

    def route(self, namespace: str, service: str, head: Head | None) -> None:
        """Which head answers for that Service from now on. None: connection refused."""
        self._network.route(namespace, service, None if head is None else head.socket)

    def at(self, namespace: str, service: str) -> Head | None:
        """The head that answers for that Service now."""
        socket = self._network.routed(namespace, service)
        return next((head for head in self._running if head.socket == socket), None)

    async def stop(self, head: Head) -> None:
        if self._heads.get(head.name) is head:
            del self._heads[head.name]
        if head in self._running:
            self._running.remove(head)
        await head.stop()

    async def stop_all(self) -> None:
        for head in tuple(self._running):
            await self.stop(head)


@cache
def _unshare() -> tuple[str, ...]:
    command: tuple[str, ...] = (
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child=SIGKILL",
    )
    if os.getuid() != 0:
        command += ("--user", "--map-root-user")
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        told = (
            error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        )
        raise NoNamespacesError(
            f"each Ray head needs network and PID namespaces of its own, and this machine refuses them ({told}). "
            "Run as root with CAP_SYS_ADMIN, or allow unprivileged user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces > 0, "
            "kernel.apparmor_restrict_unprivileged_userns=0); unshare comes with util-linux."
        ) from error
    return command


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
