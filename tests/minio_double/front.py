"""The front: an HTTP server that decides every request by MinIO's rules before the storage hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from aiohttp import web
from multidict import CIMultiDict

from tests.minio_double import buckets, listen, listing, multipart, objects
from tests.minio_double.answers import NODE, Answer, Refusal, refuse
from tests.minio_double.calls import Call, Operation, operation_of, read_call
from tests.minio_double.clock import http_date
from tests.minio_double.notifications import Webhook, message
from tests.minio_double.pubsub import Pubsub
from tests.minio_double.records import Dialect, Happening, Source
from tests.minio_double.rules import check_request
from tests.minio_double.signature import check_clock, open_payload, prove
from tests.minio_double.state import Logged, State

OPERATIONS: Mapping[str, Callable[[State, Call], Answer]] = {
    "AbortMultipartUpload": multipart.abort,
    "CompleteMultipartUpload": multipart.complete,
    "CopyObject": objects.copy_object,
    "CreateBucket": buckets.create_bucket,
    "CreateMultipartUpload": multipart.create,
    "DeleteBucket": buckets.delete_bucket,
    "DeleteBucketPolicy": buckets.delete_policy,
    "DeleteObject": objects.delete_object,
    "DeleteObjectTagging": objects.delete_tagging,
    "DeleteObjects": objects.delete_objects,
    "GetBucketLocation": buckets.get_location,
    "GetBucketNotification": buckets.get_notification,
    "GetBucketPolicy": buckets.get_policy,
    "GetBucketVersioning": buckets.get_versioning,
    "GetObject": objects.get_object,
    "GetObjectTagging": objects.get_tagging,
    "HeadBucket": buckets.head_bucket,
    "HeadObject": objects.head_object,
    "ListBuckets": buckets.list_buckets,
    "ListMultipartUploads": multipart.list_uploads,
    "ListObjectVersions": listing.list_versions,
    "ListObjects": listing.list_objects,
    "ListObjectsV2": listing.list_objects_v2,
    "ListParts": multipart.list_parts,
    "PutBucketNotification": buckets.put_notification,
    "PutBucketPolicy": buckets.put_policy,
    "PutBucketVersioning": buckets.put_versioning,
    "PutObject": objects.put_object,
    "PutObjectTagging": objects.put_tagging,
    "UploadPart": multipart.upload_part,
    "UploadPartCopy": multipart.upload_part_copy,
}
HEALTH = "/minio/health/"
_SECURITY = (
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("Vary", "Origin"),
    ("Vary", "Accept-Encoding"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Xss-Protection", "1; mode=block"),
    ("X-Amz-Id-2", NODE),
)
_S3 = (("Accept-Ranges", "bytes"), ("Server", "MinIO"))
_POOL = (("X-Ratelimit-Limit", "6939"), ("X-Ratelimit-Remaining", "6939"))


class Front:
    """Handles the requests of one server."""

    def __init__(self, state: State, pubsub: Pubsub, webhooks: Mapping[str, Webhook]) -> None:
        self.state, self.pubsub, self.webhooks = state, pubsub, webhooks

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one S3 request."""
        call, operation = read_call(http), Operation(name="Unknown", action="")
        request_id = self.state.request_id()
        if call.path.startswith(HEALTH) and self.state.faults.dialect is not Dialect.AWS:
            return await self._send(http, Answer(pooled=False), request_id)
        try:
            operation = operation_of(call)
            if self.state.faults.dialect is Dialect.AWS and operation.name == "Listen":
                operation = Operation(name="ListObjects", action="s3:ListBucket")
            if error := self._fault(call, operation):
                return await self._fail(http, error, call, operation, request_id)
            call = await self._admit(http, call, operation)
            if operation.name == "Listen":
                return await self._listen(http, call, operation, request_id)
            answer = OPERATIONS[operation.name](self.state, call)
        except Refusal as refusal:
            answer = refuse(refusal, call, request_id)
        self.publish(call, answer, request_id)
        self._log(call, operation, answer)
        return await self._deliver(http, call, operation, answer, request_id)

    def _fault(self, call: Call, operation: Operation) -> str | None:
        return self.state.faults.answer(call.method, operation.name, call.key or call.bucket)

    async def _fail(
        self, http: web.BaseRequest, error: str, call: Call, operation: Operation, request_id: str
    ) -> web.StreamResponse:
        """Answer with an error that a knob has put in the way."""
        if error == "abort":
            self._log(call, operation, Answer(status=0, code=error))
            return _abort(http)
        if error == "shutdown":
            answer = Answer(status=503, headers={"Retry-After": "60"}, body=b"Server is shutting down", code=error)
        else:
            answer = refuse(Refusal(error), call, request_id)
        self._log(call, operation, answer)
        return await self._send(http, answer, request_id)

    async def _admit(self, http: web.BaseRequest, call: Call, operation: Operation) -> Call:
        """The call with its user and body, if it may happen at all; raises Refusal in MinIO's order."""
        state = self.state
        now = state.clock.now()
        check_clock(call, now)
        check_request(call)
        secrets = {access: user.secret for access, user in state.users.items()}
        proof = prove(call, secrets=secrets, now=now)
        call = replace(call, user=proof.user if proof else None)
        # each key of a multi-object delete is decided by itself
        if operation.name != "DeleteObjects" or call.user is None:
            resource = call.key or ("*" if operation.name == "DeleteObjects" else "")
            if not state.allows(call, operation.action, call.bucket, resource):
                raise Refusal("AccessDenied")
        body = await self._read(http, call)
        return replace(call, body=open_payload(proof, call, body))

    async def _read(self, http: web.BaseRequest, call: Call) -> bytes:
        if self.state.faults.refuse_chunked and "aws-chunked" in call.headers.get("Content-Encoding", ""):
            raise Refusal("InvalidRequest", "aws-chunked is not supported")
        if call.headers.get("Expect", "").lower() == "100-continue" and http.transport:
            http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        rate = self.state.faults.upload_rate
        if not rate:
            return await http.content.read()
        parts = []
        while part := await http.content.read(max(1, int(rate / 20))):
            parts.append(part)
            await asyncio.sleep(len(part) / rate)
        return b"".join(parts)

    async def _listen(
        self, http: web.BaseRequest, call: Call, operation: Operation, request_id: str
    ) -> web.StreamResponse:
        request = listen.read_request(self.state, call)
        self._log(call, operation, Answer())
        headers = CIMultiDict([*_SECURITY, *listen.EVENT_STREAM.items(), _S3[1], *self._own(request_id)])
        response = web.StreamResponse(headers=headers)
        response.enable_chunked_encoding()
        return await listen.serve(http, response, request, state=self.state, pubsub=self.pubsub)

    def publish(self, call: Call, answer: Answer, request_id: str) -> None:
        """Tell listeners and targets what happened: before the response is sent, as MinIO does for a PUT."""
        source = Source(
            user=call.user or "",
            remote=call.remote,
            agent=call.headers.get("User-Agent", ""),
            request_id=request_id,
            length=len(answer.body),
            origin=self.state.origin,
            time=self.state.clock.now(),
        )
        for happening in answer.happened:
            self.emit(happening, source)

    def emit(self, happening: Happening, source: Source) -> None:
        """Send one event on its way, through whatever the knobs do to it."""
        faults = self.state.faults
        if happening.name.startswith("s3:ObjectAccessed:"):  # the knobs count changes, not reads
            self.pubsub.publish(happening, source)
            return
        for event, cause in faults.emitted(happening, source):
            if not faults.deaf:
                self.pubsub.publish(event, cause)
            for rule in self.state.rules.get(event.bucket, ()):
                if rule.means(event) and rule.arn in self.webhooks:
                    self.webhooks[rule.arn].send(message(event, cause, faults.dialect))

    def _log(self, call: Call, operation: Operation, answer: Answer) -> None:
        line = Logged(
            time=self.state.clock.now(),
            method=call.method,
            operation=operation.name,
            bucket=call.bucket,
            key=call.key,
            status=answer.status,
            code=answer.code,
            user=call.user,
            query=dict(call.query),
        )
        self.state.requests.append(line)

    async def _deliver(
        self, http: web.BaseRequest, call: Call, operation: Operation, answer: Answer, request_id: str
    ) -> web.StreamResponse:
        """Send an answer, unless its acknowledgement is to be lost or cut short."""
        faults = self.state.faults
        place = (call.method, operation.name, call.key or call.bucket)
        if any(fault.strikes(*place) for fault in faults.lost_acks):
            return _abort(http)
        if any(fault.strikes(*place) for fault in faults.truncated):
            half = len(answer.body) // 2
            response = await self._send(
                http, replace(answer, body=answer.body[:half], length=len(answer.body)), request_id
            )
            if http.transport:
                http.transport.close()
            return response
        return await self._send(http, answer, request_id)

    def _own(self, request_id: str) -> list[tuple[str, str]]:
        return [("X-Amz-Request-Id", request_id), ("Date", http_date(self.state.clock.now()))]

    async def _send(self, http: web.BaseRequest, answer: Answer, request_id: str) -> web.StreamResponse:
        headers = CIMultiDict([*_S3, *(_POOL if answer.pooled else ()), *_SECURITY, *self._own(request_id)])
        headers.update(answer.headers)
        length = len(answer.body) if answer.length is None else answer.length
        if answer.status not in {204, 304}:
            headers["Content-Length"] = str(length)
        response = web.StreamResponse(status=answer.status, headers=headers)
        with suppress(ConnectionError):  # a client that was killed while it waited
            await response.prepare(http)
            if answer.body and http.method != "HEAD":
                await response.write(answer.body)
        return response


def _abort(http: web.BaseRequest) -> web.StreamResponse:
    """Reset the connection, and give aiohttp a response that it cannot send any more."""
    if http.transport:
        http.transport.abort()
    return web.Response()
