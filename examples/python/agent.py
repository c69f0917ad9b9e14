"""An agent in Python: shows shipping delays, until Ctrl-C or SIGTERM. See README.md beside this file.

`Agent` is what any agent in Python needs: it keeps one session of one subscription, whatever happens to its connection.
"""

import asyncio
import contextlib
import logging
import os
import random
import signal
import uuid

import grpc
import grpc.aio

import contract  # noqa: F401  (makes the generated code importable)
from google.protobuf.duration_pb2 import Duration
from logistics.v1.logistics_pb2 import ShippingDelayed
from waypost.v1 import agent_pb2_grpc, settle_pb2, subscribe_pb2, subscription_pb2

log = logging.getLogger("agent")

CHANNEL = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC's own waits grow to two minutes; leases wait two seconds for an agent to come back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

HEARTBEAT = 5
"""Seconds. The broker gives a sign of life this often; silent for three times that, the stream is opened anew."""

TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    # What a connection that was cut in the middle looks like from here.
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}
"""Try again. ABORTED is not among them: a newer stream has taken over this session."""

UNAVAILABLE = settle_pb2.SETTLEMENT_STATUS_UNAVAILABLE
OUTPUT_REFUSED = settle_pb2.SETTLEMENT_STATUS_OUTPUT_REFUSED


class Rejected(Exception):
    """Raised by a handler when no further attempt can help: the event becomes a dead letter."""


class Agent:
    """One session of one subscription. `handle(delivery)` does the work: what it returns, events or nothing, is published with
    the ack; raising nacks, or rejects."""

    def __init__(self, address, subscription, spec, handle, concurrency=8):
        self.handle = handle
        self.channel = grpc.aio.insecure_channel(address, options=CHANNEL)
        self.stub = agent_pb2_grpc.AgentServiceStub(self.channel)
        self.request = subscribe_pb2.SubscribeRequest(
            subscription=subscription,
            session_id=str(uuid.uuid4()),
            spec=spec,
            session_limits=subscribe_pb2.SessionLimits(max_outstanding=concurrency),
            heartbeat_interval=Duration(seconds=HEARTBEAT),
            client="python-agent/1.0",
        )
        self.held = set()
        """Tokens of what was received and is not settled."""
        self.handling = {}
        """Which task handles which token."""
        self.tasks = set()
        self.ack_deadline = 30.0
        self.opened = asyncio.Event()
        self.leaving = False

    async def run(self, stop):
        """Works until `stop` is set, then finishes what was begun, gives back the rest and leaves."""
        receiving = asyncio.create_task(self.receive_for_ever())
        extending = asyncio.create_task(self.extend_for_ever())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait([receiving, stopping], return_when=asyncio.FIRST_COMPLETED)
        self.leaving = True
        await asyncio.gather(*self.tasks, return_exceptions=True)
        # First the stream: what is given back while it is open comes straight back.
        for task in (receiving, extending, stopping):
            task.cancel()
        ended = (await asyncio.gather(receiving, return_exceptions=True))[0]
        if self.held:
            unused = [settle_pb2.Settlement(token=token, release=settle_pb2.Release()) for token in self.held]
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.settle(unused), self.ack_deadline)
        await self.channel.close()
        if isinstance(ended, grpc.aio.AioRpcError):
            raise ended

    async def receive_for_ever(self):
        """Opens the stream again and again: at once, then with backoff from 100 ms to 10 s and jitter."""
        clock, wait = asyncio.get_running_loop().time, 0.0
        while True:
            opened = clock()
            try:
                await self.receive()
            except grpc.aio.AioRpcError as error:
                if error.code() not in TRANSIENT:
                    raise
                log.info("the stream broke: %s", error.details())
            except asyncio.TimeoutError:
                log.info("the broker has been silent for too long")
            if clock() - opened > 10:
                wait = 0.0
            await asyncio.sleep(wait * random.uniform(0.5, 1))
            wait = min(max(2 * wait, 0.1), 10)

    async def receive(self):
        """One stream, until it ends."""
        del self.request.held_tokens[:]
        self.request.held_tokens.extend(self.held)
        stream = self.stub.Subscribe(self.request)
        try:
            while (response := await asyncio.wait_for(stream.read(), 3 * HEARTBEAT)) is not grpc.aio.EOF:
                self.take(response)
        finally:
            stream.cancel()

    def take(self, response):
        kind = response.WhichOneof("response")
        if kind == "opened":
            self.ack_deadline = response.opened.spec.ack_deadline.ToTimedelta().total_seconds()
            for lost in response.opened.dropped:
                self.revoked(lost.token)
            self.opened.set()
            log.info("open; %d held before are held on", len(response.opened.adopted))
        elif kind == "deliveries":
            for delivery in response.deliveries.deliveries:
                self.held.add(delivery.token)
                # What comes while leaving is held, and given back at the end.
                if not self.leaving:
                    task = asyncio.create_task(self.work(delivery))
                    self.handling[delivery.token] = task
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
        elif kind == "revoked":
            self.revoked(response.revoked.token)
        elif kind == "gap":
            log.warning("events %d to %d are missing", response.gap.from_offset, response.gap.to_offset - 1)

    def revoked(self, token):
        """The lease is gone, and somebody else may be doing the work: the handler stops. What it has done by now is acked
        all the same."""
        self.held.discard(token)
        if handler := self.handling.pop(token, None):
            handler.cancel()

    async def work(self, delivery):
        """Handles one delivery and settles it. Returns when the broker has recorded that."""
        settlement = settle_pb2.Settlement(token=delivery.token)
        try:
            outputs = await self.handle(delivery)
            settlement.ack.outputs.extend(outputs or [])
            settlement.ack.SetInParent()
        except Rejected as reason:
            settlement.reject.reason = str(reason)
        except Exception as error:
            log.exception("event %s failed", delivery.event.id)
            settlement.nack.reason = repr(error)
        finally:
            self.handling.pop(delivery.token, None)
        try:
            (result,) = await self.settle([settlement])
            if result.status == OUTPUT_REFUSED:
                # The event is still ours.
                if result.refusal.HasField("retry_delay"):
                    settlement.nack.reason = result.refusal.message
                    settlement.nack.delay.CopyFrom(result.refusal.retry_delay)
                else:
                    # The same outputs would be refused again, after the same work.
                    settlement.reject.reason = result.refusal.message
                (result,) = await self.settle([settlement])
            self.settled(delivery, settlement.WhichOneof("action"), result)
        except grpc.aio.AioRpcError as error:
            log.error("event %s could not be settled: %s", delivery.event.id, error.details())
        finally:
            self.held.discard(delivery.token)

    def settled(self, delivery, action, result):
        """For subclasses: the broker has answered."""
        status = settle_pb2.SettlementStatus.Name(result.status).removeprefix("SETTLEMENT_STATUS_")
        log.info("%s of event %s: %s %s", action, delivery.event.id, status, result.message)

    async def settle(self, settlements):
        """Settles, again and again until every one has its answer: settling twice is harmless."""
        results, wait = {}, 0.1
        while True:
            open_ones = [s for s in settlements if s.token not in results]
            try:
                response = await self.stub.Settle(settle_pb2.SettleRequest(settlements=open_ones), timeout=10)
                answers = zip(open_ones, response.results)
                results |= {s.token: result for s, result in answers if result.status != UNAVAILABLE}
            except grpc.aio.AioRpcError as error:
                if error.code() not in TRANSIENT:
                    raise
            if len(results) == len(settlements):
                return [results[s.token] for s in settlements]
            await asyncio.sleep(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, 10)

    async def extend_for_ever(self):
        """Prolongs everything that is held, in one call, at a third of the ack deadline."""
        await self.opened.wait()
        while True:
            await asyncio.sleep(self.ack_deadline / 3)
            settlements = [settle_pb2.Settlement(token=token, extend=settle_pb2.Extend()) for token in self.held]
            for some in (settlements[i : i + 1000] for i in range(0, len(settlements), 1000)):
                try:
                    await self.stub.Settle(settle_pb2.SettleRequest(settlements=some), timeout=self.ack_deadline / 3)
                except grpc.aio.AioRpcError as error:
                    log.info("leases were not prolonged: %s", error.details())


async def show(delivery):
    """The handler of this example."""
    delayed = ShippingDelayed()
    if not delivery.event.data.Unpack(delayed):
        raise Rejected(f"this is no ShippingDelayed but {delivery.event.data.type_url}")
    print(f"{delayed.shipment_id} will be late (attempt {delivery.attempt}): {delayed.reason}", flush=True)


async def main():
    logging.basicConfig(level=os.environ.get("LOG", "INFO"), format="%(levelname)s %(message)s")
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    only_delays = subscription_pb2.Filter(types=[ShippingDelayed.DESCRIPTOR.full_name])
    spec = subscription_pb2.SubscriptionSpec(filter=only_delays)
    address = os.environ.get("WAYPOST_AGENTS", "http://127.0.0.1:8481").removeprefix("http://")
    await Agent(address, "python-agent", spec, show).run(stop)


if __name__ == "__main__":
    asyncio.run(main())
