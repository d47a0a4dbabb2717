"""Control: what people may ask of the running service, and what they are told; `http.py` has only the routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from comfygen.errors import ComfyGenError, InvalidInput, NotFound
from comfygend.backends import Backend
from comfygend.bell import Bell
from comfygend.inbox import Inbox
from comfygend.ledger import Cancelled, Conflict, JobState, Ledger, RequestRow, Switch
from comfygend.threads import OnThread

Told: TypeAlias = dict[str, Any]
MOST_JOBS = 1000
BY = "a person"


@dataclass(frozen=True, kw_only=True)
class Control:
    """Decides, writes it into the ledger, and rings: the loops do the rest. `again` wakes the intake of an inbox."""

    ledger: OnThread[Ledger]
    bell: Bell
    inboxes: Mapping[str, Inbox]
    again: Mapping[str, Callable[[], None]]
    backends: Sequence[Backend]

    # -- looking --------------------------------------------------------------------------------------------------

    async def jobs(self, states: str, limit: str) -> Told:
        """The newest jobs; `states` by commas. Raises InvalidInput."""
        chosen = [state.strip() for state in states.split(",") if state.strip()]
        known = [str(state) for state in JobState]
        if unknown := sorted(set(chosen) - set(known)):
            raise InvalidInput(f"{', '.join(unknown)} is no state of a job.", hint=f"States: {', '.join(known)}.")
        number = int(limit) if limit.isdecimal() and len(limit) <= len(str(MOST_JOBS)) else 0
        if not 1 <= number <= MOST_JOBS:
            raise InvalidInput(f"limit must be a number from 1 to {MOST_JOBS}.")
        rows = await self.ledger(lambda ledger: ledger.stories.jobs(chosen, limit=number))
        return {"jobs": [self._with_progress(row) for row in rows], "switches": await self.switches()}

    async def job(self, job: str) -> Told:
        """One job with its transitions, attempts and outputs. Raises NotFound."""
        row = await self.ledger(lambda ledger: ledger.stories.job(job))
        if row is None:
            raise _unknown("job", job)
        return self._with_progress(row)

    async def request(self, request: str) -> Told:
        """One request, by its own id or by the `id:` in its file, with its jobs. Raises NotFound."""
        row, _ = await self.ledger(lambda ledger: ledger.orders.found(request))
        told = await self.ledger(lambda ledger: ledger.stories.request(row.id))
        if told is None or await self._is_job(request):
            raise _unknown("request", request)
        return told | {"jobs": [self._with_progress(job) for job in told["jobs"]]}

    def _with_progress(self, row: Told) -> Told:
        for backend in self.backends:
            if row["job"] in backend.running:
                return row | {"progress": backend.running[row["job"]]}
        return row

    async def _is_job(self, subject: str) -> bool:
        return await self.ledger(lambda ledger: ledger.stories.job(subject)) is not None

    # -- cancelling and trying again ------------------------------------------------------------------------------

    async def cancel_job(self, job: str) -> Told:
        """Cancel one job. Raises NotFound, and Conflict for one that is done."""
        if not await self._is_job(job):
            raise _unknown("job", job)
        return await self._cancel(job)

    async def cancel_request(self, request: str) -> Told:
        """Cancel what is left of a request. Raises NotFound, and Conflict for one that is done."""
        if await self._is_job(request):
            raise _unknown("request", request)
        return await self._cancel(request)

    async def _cancel(self, subject: str) -> Told:
        done: Cancelled = await self.ledger(lambda ledger: ledger.orders.cancel(subject, by=BY))
        self.bell.ring()
        return {"request": done.request, "cancelled": list(done.jobs), "ended": done.ended, "message": done.told()}

    async def retry(self, request: str) -> Told:
        """Run a failed or cancelled request again; what is published is kept. Raises NotFound, Conflict, StoreError."""
        row: RequestRow = await self.ledger(lambda ledger: ledger.orders.check_retry(request))
        inbox = self.inboxes.get(row.inbox)
        if inbox is None:
            raise Conflict(f"The inbox {row.inbox} is not configured any more.", hint="Drop the file anew.")
        await inbox.reclaim(row)
        await self.ledger(lambda ledger: ledger.orders.retry(row.id))
        self.again[row.inbox]()
        self.bell.ring()
        return {"request": row.id, "name": row.name, "message": f"Request {row.id} ({row.name}) is tried again."}

    # -- switches -------------------------------------------------------------------------------------------------

    async def switches(self) -> dict[str, str | None]:
        """Since when the service is paused and draining; None where it is not."""
        on = await self.ledger(lambda ledger: ledger.orders.switched())
        return {str(switch): on.get(switch) for switch in Switch}

    async def pause(self) -> Told:
        """Start no new prompts; what runs goes on, and is published."""
        return await self._switch(Switch.PAUSED, "Paused: no new prompts are started; what runs goes on.")

    async def drain(self) -> Told:
        """Take nothing new from the inboxes; finish what is accepted."""
        return await self._switch(Switch.DRAINING, "Draining: nothing new is taken; what is accepted is finished.")

    async def resume(self) -> Told:
        """End pause and drain."""
        for switch in Switch:
            await self.ledger(lambda ledger, switch=switch: ledger.orders.switch(switch, on=False))  # type: ignore[misc]
        self.bell.ring()
        return {"switches": await self.switches(), "message": "Everything goes on."}

    async def _switch(self, switch: Switch, message: str) -> Told:
        await self.ledger(lambda ledger: ledger.orders.switch(switch, on=True))
        self.bell.ring()
        return {"switches": await self.switches(), "message": message}


def _unknown(kind: str, subject: str) -> ComfyGenError:
    return NotFound(f"There is no {kind} {subject!r}.", hint="`comfygen jobs` lists what there is.")
