// Fulfilment in TypeScript: the same as src/agents/fulfilment.rs, with a client generated from proto/.

import { create } from "@bufbuild/protobuf";
import { anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";

import { Agent, Rejected, runUntilSignal } from "../../typescript/agent.js";
import {
  PackageReroutedSchema,
  type ShipmentDispatched,
  ShipmentDispatchedSchema,
  StockReservedSchema,
  TruckArrivedSchema,
} from "../../typescript/generated/logistics/v1/logistics_pb.js";
import { type Event, EventSchema } from "../../typescript/generated/waypost/v1/event_pb.js";
import { StartPoint } from "../../typescript/generated/waypost/v1/subscription_pb.js";
import { Ledger } from "./ledger.js";

const ledger = new Ledger("fulfilment");
const HEARD = [StockReservedSchema, TruckArrivedSchema, PackageReroutedSchema];

const agent = new Agent(
  process.env.WAYPOST_AGENTS ?? "http://127.0.0.1:8481",
  "fulfilment",
  {
    filter: { types: HEARD.map((message) => message.typeName) },
    startPosition: { position: { case: "point", value: StartPoint.EARLIEST } },
  },
  async (delivery, event) => {
    ledger.received(delivery, event);
    const { did, dispatched } = work(event);
    return ledger.once(event, did, dispatched.map(output));
  },
);

function work(event: Event): { did: string; dispatched: ShipmentDispatched[] } {
  if (!event.data) throw new Rejected("an event without data");
  const reserved = anyUnpack(event.data, StockReservedSchema);
  if (reserved) {
    const { orderId, customerId, warehouseId } = reserved;
    const shipmentId = `SHIP-OF-${orderId}`;
    const shipment = create(ShipmentDispatchedSchema, { shipmentId, customerId, warehouseId, orderId, carrier: "Global Freight" });
    return { did: `packed ${orderId}`, dispatched: [shipment] };
  }
  const truck = anyUnpack(event.data, TruckArrivedSchema);
  if (truck) {
    const { warehouseId, carrier } = truck;
    const dispatched = truck.shipmentIds.map((shipmentId) =>
      create(ShipmentDispatchedSchema, { shipmentId, customerId: `customer-of-${shipmentId}`, warehouseId, carrier }),
    );
    return { did: `sent on ${truck.shipmentIds.join(", ")} from ${truck.truckId}`, dispatched };
  }
  const rerouted = anyUnpack(event.data, PackageReroutedSchema);
  if (rerouted) return { did: `printed another label for ${rerouted.packageId}`, dispatched: [] };
  throw new Rejected(`nobody here handles ${event.data.typeUrl}`);
}

function output(dispatched: ShipmentDispatched): Event {
  const schema = ShipmentDispatchedSchema;
  const subject = `shipments/${dispatched.shipmentId}`;
  return create(EventSchema, { source: "agents/fulfilment", type: schema.typeName, subject, data: anyPack(schema, dispatched) });
}

await runUntilSignal(agent);
