// The agent of examples/typescript with a handler for tests: what becomes of an event goes by its id, and everything is told on
// standard output, one thing a line. The same as handler.py.

import { createInterface } from "node:readline";

import { anyUnpack, durationFromMs } from "@bufbuild/protobuf/wkt";

import { type Action, Agent, Rejected, runUntilSignal } from "../../examples/typescript/agent.js";
import { ShippingDelayedSchema } from "../../examples/typescript/generated/logistics/v1/logistics_pb.js";
import { type SettleResult, SettlementStatus } from "../../examples/typescript/generated/waypost/v1/settle_pb.js";
import type { Delivery, Opened } from "../../examples/typescript/generated/waypost/v1/subscribe_pb.js";

const spec = {
  filter: { sources: ["tests/interop"] },
  ackDeadline: durationFromMs(1_000),
  retryPolicy: { minBackoff: durationFromMs(1_000), maxBackoff: durationFromMs(1_000) },
};

/** Tells what happens. */
class TellingAgent extends Agent {
  protected override opened({ adopted }: Opened): void {
    say("opened", adopted.length);
  }

  protected override revoked(token: Uint8Array): void {
    super.revoked(token);
    say("revoked");
  }

  protected override settled(delivery: Delivery, action: Action, { status }: SettleResult): void {
    say("settled", delivery.event?.id, delivery.attempt, action.case, SettlementStatus[status]);
  }
}

/** Each line of standard input lets an event go on. */
const mayGoOn = new Set<string>();
const waiting = new Map<string, () => void>();
const input = createInterface({ input: process.stdin }).on("line", (id) => {
  mayGoOn.add(id);
  waiting.get(id)?.();
});

const agent = new TellingAgent(process.env.WAYPOST_AGENTS ?? "", "interop", spec, async (delivery, event, revoked) => {
  const { id } = event;
  say("began", id, delivery.attempt);
  const delayed = event.data && anyUnpack(event.data, ShippingDelayedSchema);
  if (delayed?.shipmentId !== id) throw new Rejected(`${delayed?.shipmentId} is not ${id}`);
  const kind = id.split("-")[0] ?? "";
  if (kind === "reject") throw new Rejected("as the test has it");
  if (kind === "slow" && !mayGoOn.has(id)) await new Promise<void>((resolve) => waiting.set(id, resolve));
  revoked.throwIfAborted();
  if (delivery.attempt <= ({ fail: 1, stubborn: 3 }[kind] ?? 0)) throw new Error("as the test has it");
  return [];
});

function say(...words: unknown[]): void {
  process.stdout.write(`${words.join(" ")}\n`);
}

await runUntilSignal(agent);
input.close();
process.stdin.destroy();
