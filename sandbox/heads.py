"""Real Ray heads, each in its own network and PID namespace. Kubernetes must not enter here."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from sandbox.namespaces import RAY, unshare
from sandbox.network import Network
from sandbox.processes import Processes, Program
from sandbox.waiting import until

TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
HERE = Path(__file__).parent
STARTS_AT_ONCE = 2
"""A start takes 10 CPU seconds. On two cores more starts at once only delay each other."""
START_TIMEOUT = 60.0
SOCKET_PATH_LIMIT = 107
LONGEST_BELOW = len("/session_2026-11-22_20-59-23_560151_1/sockets/plasma_store")

FULL = (
    "start --head --block --num-cpus=1 --include-dashboard=true --dashboard-host=127.0.0.1 "
    "--disable-usage-stats --object-store-memory=83886080 --no-monitor"
)
NO_LOG_MONITOR = "--include-log-monitor=false"
"""Saves a process. Ray 2.9 has no such flag, so heads of SANDBOX_RAY run without it."""


class Head:
    """A running head. `can_run` is true for a full head and false for a light one."""

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
        """The PIDs of Ray's processes and drivers outside the namespace."""
        return [process.pid for process in self._program.descendants()[1:]]

    def is_alive(self) -> bool:
        return self._program.is_alive()

    async def ended(self) -> None:
        """Waits for its end."""
        await self._program.ended()

    def check(self) -> None:
        """Raises ProgramDiedError if it exited unexpectedly."""
        self._program.check()

    @property
    def exit_code(self) -> int | None:
        """The exit code of its process 1, None while it runs."""
        return self._program.exit_code

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
        """ ""Waits for one of these statuses of a job (default: a terminal status)."""
        status = "no answer"
        try:
            async with asyncio.timeout(timeout):
                while True:
                    code, answer = await self.get(f"/api/jobs/{submission_id}")
                    status = json.loads(answer)["status"] if code == 200 else answer.decode()
                    if status in (statuses or TERMINAL):
                        return status
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise TimeoutError(
                f"{submission_id}: {status} after {timeout} s instead of {statuses or TERMINAL}"
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
        """Writes the record of one job in a light head."""
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
        """Writes many records with the fields of JobInfo and submission_id (times in ms)."""
        if self.can_run:
            raise ValueError(f"head {self.name} is a full head: it writes its own records")
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
        """Makes the head hang: it accepts connections and does not answer."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        # The first child of unshare is the relay. It continues: the kernel, too, accepts
        # connections for a program that hangs.
        for process in self._program.descendants()[1:]:
            process.signal(number)

    def kill(self) -> None:
        """Kills its first process, so that the head exits as after a crash."""
        self._program.descendants()[1].signal(signal.SIGKILL)

    async def stop(self) -> None:
        """Kills the head with all its processes: SIGKILL of process 1 ends its namespace."""
        inside = self._program.descendants()
        self._program.kill()
        await until(
            lambda: not (self.is_alive() or any(each.is_alive() for each in inside)), timeout=120
        )
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    async def until_ready(self) -> None:
        """Waits until the head can run a job. It answers GET requests some seconds earlier."""
        async with asyncio.timeout(START_TIMEOUT):
            while not await self._is_ready():
                self._program.check()
                await asyncio.sleep(0.2)

    async def _is_ready(self) -> bool:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            status, _ = await self.get("/api/jobs/")
            if status == 200 and self.can_run:
                # The agent of the node, which runs jobs, rejects this job for its size. So the
                # agent runs, and no record is left. Without an agent the answer differs.
                _, answer = await self.post(
                    "/api/jobs/", {"entrypoint": "true", "metadata": {"size": "x" * 2**20}}
                )
                return b"Request Entity Too Large" in answer
            return status == 200
        return False


class Heads:
    """The heads of one sandbox and the Services for which they answer."""

    def __init__(self, folder: Path, processes: Processes, network: Network) -> None:
        self._folder = folder
        self._processes = processes
        self._network = network
        self._heads: dict[str, Head] = {}
        # The head of a rebuilt RayCluster takes the name while the old head is ending.
        self._running: list[Head] = []
        self._started = 0
        self._places = asyncio.Semaphore(STARTS_AT_ONCE)

    def __getitem__(self, name: str) -> Head:
        return self._heads[name]

    def __contains__(self, name: str) -> bool:
        return name in self._heads

    def has_running(self, name: str) -> bool:
        return name in self._heads and self._heads[name].is_alive()

    async def full(self, name: str, *, token: str | None = None) -> Head:
        """Starts a head with `ray start --head`, which can run jobs, in 5 to 10 s."""
        words = [*FULL.split(), "--temp-dir={folder}"]
        if not os.environ.get("SANDBOX_RAY"):
            words.append(NO_LOG_MONITOR)
        return await self._start(name, (RAY / "ray", *words), can_run=True, token=token)

    async def light(self, name: str) -> Head:
        """Starts Ray's dashboard without a node in 2 to 4 s. It serves what put_record writes."""
        command = (RAY / "python", HERE / "light.py", "{folder}", "{folder}/records")
        return await self._start(name, command, can_run=False, token=None)

    def adopt(self, head: Head) -> None:
        """Adds a head that was not started here. Pods with the annotation name:X may share it."""
        self._heads[head.name] = head
        self._running.append(head)

    async def _start(
        self, name: str, command: Sequence[str | Path], *, can_run: bool, token: str | None
    ) -> Head:
        async with self._places:
            self._started += 1
            folder = self._folder / f"h{self._started}"
            if len(str(folder)) + LONGEST_BELOW > SOCKET_PATH_LIMIT:
                raise ValueError(
                    f"the path {folder} is too long for Ray's sockets: set TMPDIR to a shorter path"
                )
            folder.mkdir()
            environment = {"RAY_AUTH_MODE": "disabled"}
            if token:
                environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
            # Jobs call `python`.
            path = f"{RAY}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            inside = [str(word).replace("{folder}", str(folder)) for word in command]
            relay = (sys.executable, HERE / "relay.py", "head", folder / "http")
            command = (*unshare(), *relay, *inside)
            environment["PATH"] = path
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
        """Sets the head that answers for a Service. None: connections are refused."""
        self._network.route(namespace, service, None if head is None else head.socket)

    def at(self, namespace: str, service: str) -> Head | None:
        """The head that answers for a Service."""
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


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
