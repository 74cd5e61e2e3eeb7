"""The client of the planning server for coroutines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

import httpx2

from api.client import calls
from api.client.errors import NotReady, PlannerError, Unreachable
from api.client.follow import Following
from api.client.retries import RetryConfig, Tries, pauses
from api.client.send import http_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from api.client.events import Event
    from api.client.fleets import AgentInfo, AnyFleetState, FleetActions
    from api.client.requests import AnyMap, AnyRequest
    from api.client.results import Job, MapInfo, PlanResult, Validation, Verdict
    from api.planning_service import OnError

T = TypeVar("T")


class AsyncPlannerClient:
    """Calls to one server; safe to share between tasks of one event loop. Every call raises PlannerError."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        retry: RetryConfig | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
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
        self._http = httpx2.AsyncClient(**http_options(base_url, api_key, headers), transport=transport)

    async def plan(self, request: AnyRequest) -> PlanResult:
        """Plans a fleet; a plan that was not found is a result too."""
        return await self._send(calls.plan(request))

    async def validate(self, request: AnyRequest) -> Validation:
        """Says what is proven impossible before any planning."""
        return await self._send(calls.validate(request))

    async def check(self, request: AnyRequest, plan: Any) -> Verdict:
        """Judges a plan at every instant, whoever made it: a PlanResult, or the wire form of one."""
        return await self._send(calls.check(request, plan))

    @overload
    async def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["raise"]) -> list[PlanResult]: ...
    @overload
    async def plan_many(
        self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: Literal["return"] = "return"
    ) -> list[PlanResult | PlannerError]: ...
    async def plan_many(self, requests: Iterable[AnyRequest], concurrency: int = 8, *, errors: OnError = "return") -> list[Any]:
        """Plans many requests, `concurrency` of them at a time.

        Returns:
            For each request, in order, its plan, or the error that it met; the others are planned all the same.

        Raises:
            PlannerError: the first that is met, where `errors` is "raise"; what is not yet sent then never is.
            ValueError: `concurrency` is less than 1.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency is {concurrency}; it must be at least 1")
        asked = list(requests)
        found: list[Any] = [None] * len(asked)
        queue = iter(enumerate(asked))

        async def work() -> None:
            for k, request in queue:
                try:
                    found[k] = await self.plan(request)
                except PlannerError as error:
                    if errors == "raise":
                        raise
                    found[k] = error

        workers = [asyncio.ensure_future(work()) for _ in range(min(concurrency, len(asked)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return found

    async def plan_by_id(self, plan_id: str) -> PlanResult:
        """A plan that the server remembers."""
        return await self._send(calls.plan_by_id(plan_id))

    async def submit(self, requests: AnyRequest | Sequence[AnyRequest]) -> Job:
        """Hands over one request or several, to be planned while the caller does something else."""
        return await self._send(calls.submit(requests))

    async def job(self, job: Job | str) -> Job:
        """How a job is doing now."""
        return await self._send(calls.job(calls.job_id_of(job)))

    async def jobs(self) -> list[Job]:
        """All jobs that the server remembers."""
        found, cursor = await self._send(calls.jobs())
        while cursor is not None:
            more, cursor = await self._send(calls.jobs(cursor))
            found += more
        return found

    async def wait(self, job: Job | str, timeout: float | None = None) -> list[PlanResult]:
        """The plans of a job, in the order of its requests, once it has finished.

        Args:
            job: as it was submitted, or its id.
            timeout: s; None: as long as it takes.

        Raises:
            JobEnded: it failed or was cancelled.
            TimedOut: it took longer; it goes on.
        """
        for pause in pauses(timeout):
            state = await self.job(job)
            if state.finished:
                calls.refuse_ended(state)
                break
            await asyncio.sleep(pause)
        return await self._send(calls.result(calls.job_id_of(job)))

    async def stream(self, job: Job | str, after: str = "") -> AsyncIterator[Event]:
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
                async with self._http.stream("GET", following.path, headers=headers, timeout=following.timeout()) as answer:
                    if answer.status_code == 204:
                        return
                    if not answer.is_success:
                        wait = following.refused(answer.status_code, calls.refusal(answer, await answer.aread()))
                    else:
                        async for part in answer.aiter_bytes():
                            for event in following.events(part):
                                yield event
                            if following.over:
                                return
                        wait = following.ended()
            except httpx2.RequestError as fault:
                wait = following.dropped(fault)
            if following.doubtful and (await self.job(job)).finished:
                return
            await asyncio.sleep(wait)

    async def cancel(self, job: Job | str) -> None:
        """Ends a job."""
        await self._send(calls.cancel(calls.job_id_of(job)))

    async def maps(self) -> list[MapInfo]:
        """All maps, built in and registered."""
        return await self._send(calls.maps())

    async def read_map(self, map_id: str) -> dict[str, Any]:
        """A map in its inline form."""
        return await self._send(calls.read_map(map_id))

    async def put_map(self, map_id: str, map: AnyMap) -> MapInfo:
        """Registers a map, in place of an earlier one of this id."""
        return await self._send(calls.put_map(map_id, map))

    async def delete_map(self, map_id: str) -> None:
        """Forgets a registered map."""
        await self._send(calls.delete_map(map_id))

    async def capabilities(self) -> dict[str, Any]:
        """What the server can do: caps, sources, models, formats."""
        return await self._send(calls.capabilities())

    async def agents(self) -> list[AgentInfo]:
        """The released policies, which move fleets that are on their way."""
        return await self._send(calls.agents())

    async def act(self, agent: str, state: AnyFleetState) -> FleetActions:
        """What the robots of a fleet should do for a tick, chosen by a released policy and filtered; the server keeps nothing of it."""
        return await self._send(calls.act(agent, state))

    async def ready(self) -> bool:
        """Whether requests can be planned now; False also where there is no server."""
        try:
            return await self._send(calls.ready(), RetryConfig(self.config.timeout, retries=0, connect=self.config.connect))
        except (NotReady, Unreachable):
            return False

    async def wait_ready(self, timeout: float = 300.0) -> None:
        """Returns once requests can be planned; a first start compiles for a minute or two.

        Raises:
            TimedOut: it took longer than `timeout`, s.
        """
        for pause in pauses(timeout):
            if await self.ready():
                return
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: calls.Call[T], config: RetryConfig | None = None) -> T:
        """Carries out a call, as often as it takes."""
        tries = Tries(config or self.config, call.deadline)
        while True:
            try:
                async with asyncio.timeout(tries.left()):
                    response, content = await self._once(call, tries)
            except TimeoutError:
                wait = tries.after_fault(httpx2.ReadTimeout("the answer comes too slowly"))
            except httpx2.RequestError as fault:
                wait = tries.after_fault(fault)
            else:
                try:
                    return calls.read_answer(response, content, call)
                except PlannerError as error:
                    wait = tries.after_refusal(response.status_code, error, call.keyed)
            await asyncio.sleep(wait)

    async def _once(self, call: calls.Call[Any], tries: Tries) -> tuple[httpx2.Response, bytes]:
        async with self._http.stream(call.method, call.path, content=call.body, headers=call.headers, timeout=tries.timeout()) as response:
            return response, await response.aread()
