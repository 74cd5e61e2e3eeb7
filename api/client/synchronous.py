"""The client of the planning server for threads."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import httpx2

from api.client import calls
from api.client.errors import NotReady, PlannerError, Unreachable
from api.client.follow import Following
from api.client.retries import RetryConfig, Tries, pauses
from api.client.send import http_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from api.client.events import Event
    from api.client.fleets import AgentInfo, AnyFleetState, FleetActions
    from api.client.requests import AnyMap, AnyRequest
    from api.client.results import Job, MapInfo, PlanResult, Validation, Verdict
    from api.planning_service import OnError

T = TypeVar("T")


class PlannerClient:
    """Calls to one server; safe to share between threads. Every call raises PlannerError."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        retry: RetryConfig | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Connects when it is first used.

        Args:
            base_url: such as "http://127.0.0.1:8000".
            api_key: goes with every call as a bearer token.
            retry: how often and how long a call is tried.
            headers: further headers of every call.
            transport: in place of the network's.
        """
        self.config = retry or RetryConfig()
        self._http = httpx2.Client(**http_options(base_url, api_key, headers), transport=transport)

    def plan(self, request: AnyRequest) -> PlanResult:
        """Plans a fleet; a plan that was not found is a result too."""
        return self._send(calls.plan(request))

    def validate(self, request: AnyRequest) -> Validation:
        """Says what is proven impossible before any planning."""
        return self._send(calls.validate(request))

    def check(self, request: AnyRequest, plan: Any) -> Verdict:
        """Judges a plan at every instant, whoever made it: a PlanResult, or the wire form of one."""
        return self._send(calls.check(request, plan))

    @overload
    def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["raise"]) -> list[PlanResult]: ...
    @overload
    def plan_many(
        self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["return"] = "return"
    ) -> list[PlanResult | PlannerError]: ...
    def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: OnError = "return") -> list[Any]:
        """Plans many requests, `concurrency` of them at a time.

        Returns:
            For each request, in order, its plan, or the error that it met; the others are planned all the same.

        Raises:
            PlannerError: the first that is met, where `errors` is "raise"; what is not yet sent then never is.
            ValueError: `concurrency` is less than 1.
        """

        def attempt(request: AnyRequest) -> PlanResult | PlannerError:
            try:
                return self.plan(request)
            except PlannerError as error:
                if errors == "raise":
                    raise
                return error

        with ThreadPoolExecutor(concurrency, thread_name_prefix="plan_many") as threads:
            futures = [threads.submit(attempt, request) for request in requests]
            try:
                return [future.result() for future in futures]
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def plan_by_id(self, plan_id: str) -> PlanResult:
        """A plan that the server remembers."""
        return self._send(calls.plan_by_id(plan_id))

    def submit(self, requests: AnyRequest | Sequence[AnyRequest]) -> Job:
        """Hands over one request or several, to be planned while the caller does something else."""
        return self._send(calls.submit(requests))

    def job(self, job: Job | str) -> Job:
        """How a job is doing now."""
        return self._send(calls.job(calls.job_id_of(job)))

    def jobs(self) -> list[Job]:
        """All jobs that the server remembers."""
        found, cursor = self._send(calls.jobs())
        while cursor is not None:
            more, cursor = self._send(calls.jobs(cursor))
            found += more
        return found

    def wait(self, job: Job | str, timeout: float | None = None) -> list[PlanResult]:
        """The plans of a job, in the order of its requests, once it has finished.

        Args:
            job: as it was submitted, or its id.
            timeout: s; None: as long as it takes.

        Raises:
            JobEnded: it failed or was cancelled.
            TimedOut: it took longer; it goes on.
        """
        for pause in pauses(timeout):
            state = self.job(job)
            if state.finished:
                calls.refuse_ended(state)
                break
            time.sleep(pause)
        return self._send(calls.result(calls.job_id_of(job)))

    def stream(self, job: Job | str, after: str = "") -> Iterator[Event]:
        """What happens to a job, as it happens, until it has finished; a dropped connection is taken up where it dropped.

        Args:
            job: as it was submitted, or its id.
            after: only what came after the event with this id.
        """
        following = Following(calls.job_id_of(job), self.config, after)
        while not following.over:
            wait = 0.0
            try:
                headers = following.opening()
                with self._http.stream("GET", following.path, headers=headers, timeout=following.timeout()) as answer:
                    if answer.status_code == 204:
                        return
                    if not answer.is_success:
                        wait = following.refused(answer.status_code, calls.refusal(answer, answer.read()))
                    else:
                        for part in answer.iter_bytes():
                            yield from following.events(part)
                            if following.over:
                                return
                        wait = following.ended()
            except httpx2.RequestError as fault:
                wait = following.dropped(fault)
            if following.doubtful and self.job(job).finished:
                return
            time.sleep(wait)

    def cancel(self, job: Job | str) -> None:
        """Ends a job."""
        self._send(calls.cancel(calls.job_id_of(job)))

    def maps(self) -> list[MapInfo]:
        """All maps, built in and registered."""
        return self._send(calls.maps())

    def read_map(self, map_id: str) -> dict[str, Any]:
        """A map in its inline form."""
        return self._send(calls.read_map(map_id))

    def put_map(self, map_id: str, map: AnyMap) -> MapInfo:
        """Registers a map, in place of an earlier one of this id."""
        return self._send(calls.put_map(map_id, map))

    def delete_map(self, map_id: str) -> None:
        """Forgets a registered map."""
        self._send(calls.delete_map(map_id))

    def capabilities(self) -> dict[str, Any]:
        """What the server can do: caps, sources, models, formats."""
        return self._send(calls.capabilities())

    def agents(self) -> list[AgentInfo]:
        """The released policies, which move fleets that are on their way."""
        return self._send(calls.agents())

    def act(self, agent: str, state: AnyFleetState) -> FleetActions:
        """What the robots of a fleet should do for a tick, chosen by a released policy and filtered; the server keeps nothing of it."""
        return self._send(calls.act(agent, state))

    def ready(self) -> bool:
        """Whether requests can be planned now; False also where there is no server."""
        try:
            return self._send(calls.ready(), RetryConfig(self.config.timeout, retries=0, connect=self.config.connect))
        except (NotReady, Unreachable):
            return False

    def wait_ready(self, timeout: float = 300.0) -> None:
        """Returns once requests can be planned; a first start compiles for a minute or two.

        Raises:
            TimedOut: it took longer than `timeout`, s.
        """
        for pause in pauses(timeout):
            if self.ready():
                return
            time.sleep(pause)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: calls.Call[T], config: RetryConfig | None = None) -> T:
        """Carries out a call, as often as it takes."""
        tries = Tries(config or self.config, call.deadline)
        while True:
            try:
                response, content = self._once(call, tries)
            except httpx2.RequestError as fault:
                wait = tries.after_fault(fault)
            else:
                try:
                    return calls.read_answer(response, content, call)
                except PlannerError as error:
                    wait = tries.after_refusal(response.status_code, error, call.keyed)
            time.sleep(wait)

    def _once(self, call: calls.Call[Any], tries: Tries) -> tuple[httpx2.Response, bytes]:
        with self._http.stream(call.method, call.path, content=call.body, headers=call.headers, timeout=tries.timeout()) as response:
            parts: list[bytes] = []
            for part in response.iter_bytes():
                parts.append(part)
                if tries.left() < 0.0:  # each part came in time, all of them do not
                    raise httpx2.ReadTimeout("the answer comes too slowly")
            return response, b"".join(parts)
