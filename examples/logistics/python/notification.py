"""Notification in Python: the same as src/agents/notification.rs, with a client generated from proto/."""

import asyncio
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "python"))

from agent import Agent, Rejected  # noqa: E402  (it also makes the generated code importable)
from ledger import Ledger  # noqa: E402
from logistics.v1.logistics_pb2 import CustomerNotified, PackageRerouted, ShipmentDispatched  # noqa: E402
from waypost.v1 import event_pb2, subscription_pb2  # noqa: E402

SPEC = subscription_pb2.SubscriptionSpec(
    filter=subscription_pb2.Filter(types=[message.DESCRIPTOR.full_name for message in (PackageRerouted, ShipmentDispatched)]),
    start_position=subscription_pb2.StartPosition(point=subscription_pb2.START_POINT_EARLIEST),
)

ledger = Ledger("notification")


async def handle(delivery):
    """The mail is sent once, however often the event comes. What is returned is published with the ack."""
    ledger.received(delivery)
    customer, message = letter(delivery.event.data)
    notified = CustomerNotified(customer_id=customer, channel="email", message=message)
    output = event_pb2.Event(source="agents/notification", type=notified.DESCRIPTOR.full_name, subject=delivery.event.subject)
    output.data.Pack(notified)
    return ledger.once(delivery, f"mailed {customer}: {message}", [output])


def letter(data):
    """Whom to write to, and what."""
    rerouted, dispatched = PackageRerouted(), ShipmentDispatched()
    if data.Unpack(rerouted):
        route = ", ".join(rerouted.new_route)
        return f"customer-of-{rerouted.package_id}", f"{rerouted.package_id} takes another way to you, over {route}"
    if data.Unpack(dispatched):
        return dispatched.customer_id, f"{dispatched.shipment_id} is on its way to you"
    raise Rejected(f"nobody here handles {data.type_url}")


async def main():
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    address = os.environ.get("WAYPOST_AGENTS", "http://127.0.0.1:8481").removeprefix("http://")
    await Agent(address, "notification", SPEC, handle).run(stop)


asyncio.run(main())
