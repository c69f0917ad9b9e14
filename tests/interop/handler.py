"""The agent of examples/python with a handler for tests: what becomes of an event goes by its id, and everything is told on
standard output, one thing a line."""

import asyncio
import collections
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "examples" / "python"))

from agent import Agent, Rejected  # noqa: E402
from google.protobuf.duration_pb2 import Duration  # noqa: E402
from logistics.v1.logistics_pb2 import ShippingDelayed  # noqa: E402
from waypost.v1 import settle_pb2, subscription_pb2  # noqa: E402

SPEC = subscription_pb2.SubscriptionSpec(
    filter=subscription_pb2.Filter(sources=["tests/interop"]),
    ack_deadline=Duration(seconds=1),
    retry_policy=subscription_pb2.RetryPolicy(min_backoff=Duration(seconds=1), max_backoff=Duration(seconds=1)),
)

may_go_on = collections.defaultdict(asyncio.Event)


def say(*words):
    print(*words, flush=True)


class TellingAgent(Agent):
    """Tells what happens."""

    def take(self, response):
        super().take(response)
        if response.HasField("opened"):
            say("opened", len(response.opened.adopted))

    def revoked(self, token):
        super().revoked(token)
        say("revoked")

    def settled(self, delivery, action, result):
        super().settled(delivery, action, result)
        status = settle_pb2.SettlementStatus.Name(result.status).removeprefix("SETTLEMENT_STATUS_")
        say("settled", delivery.event.id, delivery.attempt, action, status)


async def handle(delivery):
    name = delivery.event.id
    say("began", name, delivery.attempt)
    delayed = ShippingDelayed()
    assert delivery.event.data.Unpack(delayed) and delayed.shipment_id == name
    kind = name.split("-")[0]
    if kind == "reject":
        raise Rejected("as the test has it")
    if kind == "slow":
        await may_go_on[name].wait()
    if delivery.attempt <= {"fail": 1, "stubborn": 3}.get(kind, 0):
        raise RuntimeError("as the test has it")


async def hear():
    """Each line of standard input lets an event go on."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        may_go_on[line.decode().strip()].set()


async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    hearing = asyncio.create_task(hear())
    address = os.environ["WAYPOST_AGENTS"].removeprefix("http://")
    await TellingAgent(address, "interop", SPEC, handle).run(stop)
    hearing.cancel()


asyncio.run(main())
