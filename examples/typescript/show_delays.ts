// An agent in TypeScript: shows shipping delays, until Ctrl-C or SIGTERM. See README.md beside this file.

import { anyUnpack } from "@bufbuild/protobuf/wkt";

import { Agent, Rejected, runUntilSignal } from "./agent.js";
import { ShippingDelayedSchema } from "./generated/logistics/v1/logistics_pb.js";

const address = process.env.WAYPOST_AGENTS ?? "http://127.0.0.1:8481";
const spec = { filter: { types: [ShippingDelayedSchema.typeName] } };

await runUntilSignal(
  new Agent(address, "typescript-agent", spec, async (delivery, event) => {
    const delayed = event.data && anyUnpack(event.data, ShippingDelayedSchema);
    if (!delayed) throw new Rejected(`this is no ShippingDelayed but ${event.data?.typeUrl}`);
    console.log(`${delayed.shipmentId} will be late (attempt ${delivery.attempt}): ${delayed.reason}`);
    return [];
  }),
);
