// The ledger of an agent in TypeScript: the same lines as src/ledger/entry.rs, each fsynced.
//
// Constraint: one process. Several processes of one agent need a lock that all of them share, as src/ledger/book.rs has it.

import { fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";

import type { Delivery } from "../../typescript/generated/waypost/v1/subscribe_pb.js";
import type { Event } from "../../typescript/generated/waypost/v1/event_pb.js";

export class Ledger {
  readonly #file: number;
  /** The ids of the events that were done. */
  readonly #done = new Set<string>();

  constructor(
    private readonly who: string,
    folder = process.env.LOGISTICS_LEDGERS ?? ".",
  ) {
    const path = join(folder, `${who}.jsonl`);
    this.#file = openSync(path, "a");
    const lines = readFileSync(path, "utf8").split("\n");
    for (const line of lines.slice(0, -1)) {
      const entry = JSON.parse(line);
      if (entry.fact === "effect") this.#done.add(entry.event.id);
    }
    this.#write({ fact: "started" });
  }

  /** Notes that a delivery came. */
  received(delivery: Delivery, event: Event): void {
    this.#write({ fact: "received", event: seen(event), attempt: delivery.attempt });
  }

  /** Does the work, unless it was done before, and gives back what is to be published with the ack. */
  once(event: Event, did: string, outputs: Event[]): Event[] {
    if (!this.#done.has(event.id)) {
      this.#write({ fact: "effect", event: seen(event), did, publishes: outputs.map((output) => output.type) });
      this.#done.add(event.id);
    }
    return outputs;
  }

  #write(fact: object): void {
    writeSync(this.#file, `${JSON.stringify({ who: this.who, process: process.pid, at: Date.now() * 1000, ...fact })}\n`);
    fsyncSync(this.#file);
  }
}

function seen(event: Event): object {
  const { id, type, subject, lineage } = event;
  return { id, type, subject, cause: lineage?.causationId ?? "" };
}
