// What any agent in TypeScript needs: it keeps one session of one subscription, whatever happens to its connection.
// See README.md beside this file.

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";
import { type Client, Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { AgentService } from "./generated/waypost/v1/agent_pb.js";
import type { Event } from "./generated/waypost/v1/event_pb.js";
import { type Settlement, SettlementSchema, type SettleResult, SettlementStatus } from "./generated/waypost/v1/settle_pb.js";
import type { Delivery, Opened, SubscribeResponse } from "./generated/waypost/v1/subscribe_pb.js";
import type { SubscriptionSpecSchema } from "./generated/waypost/v1/subscription_pb.js";

/** The broker gives a sign of life this often; silent for three times that, the stream is opened anew. */
const HEARTBEAT_MS = 5_000;

/** Try again. Aborted is not among them: a newer stream has taken over this session. */
const TRANSIENT = new Set([
  Code.Unavailable,
  Code.ResourceExhausted,
  Code.DeadlineExceeded,
  Code.Canceled,
  // What a connection that was cut in the middle looks like from here.
  Code.Internal,
  Code.Unknown,
]);

/** Thrown by a handler when no further attempt can help: the event becomes a dead letter. */
export class Rejected extends Error {}

/**
 * Does the work: what it returns is published with the ack, what it throws is a nack, or a reject if it is a {@link Rejected}.
 * `revoked` is aborted when the lease is gone, and somebody else may be doing the work; an ack still counts if it is the first.
 */
export type Handler = (delivery: Delivery, event: Event, revoked: AbortSignal) => Promise<Event[]>;

export type Spec = MessageInitShape<typeof SubscriptionSpecSchema>;

/** A delivery that was received and is not settled. */
interface Held {
  readonly token: Uint8Array;
  readonly revoked: AbortController;
  /** Its work, once it has begun. */
  task?: Promise<void>;
}

/** One session of one subscription. Subclasses may listen to what happens. */
export class Agent {
  readonly #client: Client<typeof AgentService>;
  readonly #sessionId = randomUUID();
  readonly #held = new Map<string, Held>();
  /** Resolves when the stream is open for the first time: only then the ack deadline is known. */
  readonly #opened: Promise<void>;
  #tellOpened = () => {};
  #ackDeadlineMs = 30_000;
  #leaving = false;

  constructor(
    address: string,
    private readonly subscription: string,
    private readonly spec: Spec,
    private readonly handle: Handler,
    private readonly concurrency = 8,
  ) {
    const transport = createGrpcTransport({ baseUrl: address, pingIntervalMs: 10_000, pingTimeoutMs: 5_000 });
    this.#client = createClient(AgentService, transport);
    this.#opened = new Promise((resolve) => (this.#tellOpened = resolve));
  }

  /** Works until `stop` is aborted, then finishes what was begun, gives back the rest and leaves. */
  async run(stop: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const receiving = this.#receiveForEver(ended.signal);
    const extending = this.#extendForEver(ended.signal);
    try {
      await Promise.race([receiving, aborted(stop)]);
    } finally {
      this.#leaving = true;
      // Whoever has lost the lease is not waited for.
      await Promise.allSettled([...this.#held.values()].map(({ task }) => task));
      // First the stream: what is given back while it is open comes straight back.
      ended.abort();
      await Promise.allSettled([receiving, extending]);
      await this.#releaseHeld();
    }
  }

  /** Opens the stream again and again: at once, then with backoff from 100 ms to 1 s and jitter. Leases wait 2 s for an agent. */
  async #receiveForEver(ended: AbortSignal): Promise<void> {
    let wait = 0;
    while (!ended.aborted) {
      const opened = performance.now();
      try {
        await this.#receive(ended);
      } catch (error) {
        if (!isTransient(error)) throw error;
        if (!ended.aborted) console.error(`the stream broke: ${ConnectError.from(error).rawMessage}`);
      }
      if (performance.now() - opened > 10_000) wait = 0;
      await pause(wait, ended);
      wait = Math.min(Math.max(2 * wait, 100), 1_000);
    }
  }

  /** One stream, until it ends or is silent for too long. */
  async #receive(ended: AbortSignal): Promise<void> {
    const silent = new AbortController();
    const watch = setTimeout(() => silent.abort(), 3 * HEARTBEAT_MS);
    const request = {
      subscription: this.subscription,
      sessionId: this.#sessionId,
      heldTokens: [...this.#held.values()].map(({ token }) => token),
      spec: this.spec,
      sessionLimits: { maxOutstanding: this.concurrency },
      heartbeatInterval: durationFromMs(HEARTBEAT_MS),
      client: "typescript-agent/1.0",
    };
    try {
      const stream = this.#client.subscribe(request, { signal: AbortSignal.any([ended, silent.signal]) });
      for await (const { response } of stream) {
        watch.refresh();
        this.#take(response);
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #take(response: SubscribeResponse["response"]): void {
    switch (response.case) {
      case "opened":
        if (response.value.spec?.ackDeadline) this.#ackDeadlineMs = durationMs(response.value.spec.ackDeadline);
        for (const { token } of response.value.dropped) this.revoked(token);
        this.#tellOpened();
        this.opened(response.value);
        break;
      case "deliveries":
        for (const delivery of response.value.deliveries) {
          const held: Held = { token: delivery.token, revoked: new AbortController() };
          this.#held.set(key(delivery.token), held);
          // What comes while leaving is held, and given back at the end.
          if (!this.#leaving) held.task = this.#work(delivery, held.revoked.signal);
        }
        break;
      case "revoked":
        this.revoked(response.value.token);
        break;
      case "gap":
        console.error(`events ${response.value.fromOffset} to ${response.value.toOffset - 1n} are missing`);
        break;
    }
  }

  /** The stream is open. */
  protected opened(_opened: Opened): void {}

  /** A lease is gone. */
  protected revoked(token: Uint8Array): void {
    this.#held.get(key(token))?.revoked.abort();
    this.#held.delete(key(token));
  }

  /** The broker has answered. */
  protected settled(_delivery: Delivery, _action: Action, _result: SettleResult): void {}

  /** Handles one delivery and settles it. Resolves when the broker has recorded that. */
  async #work(delivery: Delivery, revoked: AbortSignal): Promise<void> {
    const { token } = delivery;
    try {
      let action = await this.#outcome(delivery, revoked);
      let [result] = await this.#settle([create(SettlementSchema, { token, action })]);
      if (result?.status === SettlementStatus.OUTPUT_REFUSED) {
        // The event is still ours. Without a time to try again, the same outputs would be refused again, after the same work.
        const { message: reason, retryDelay: delay } = result.refusal ?? { message: result.message, retryDelay: undefined };
        action = delay ? { case: "nack", value: { reason, delay } } : { case: "reject", value: { reason } };
        [result] = await this.#settle([create(SettlementSchema, { token, action })]);
      }
      if (result) this.settled(delivery, action, result);
    } catch (error) {
      console.error(`event ${delivery.event?.id} could not be settled: ${error}`);
    } finally {
      this.#held.delete(key(token));
    }
  }

  async #outcome(delivery: Delivery, revoked: AbortSignal): Promise<Action> {
    try {
      if (!delivery.event) throw new Rejected("a delivery without an event");
      return { case: "ack", value: { outputs: await this.handle(delivery, delivery.event, revoked) } };
    } catch (error) {
      if (error instanceof Rejected) return { case: "reject", value: { reason: error.message } };
      console.error(`event ${delivery.event?.id} failed:`, error);
      return { case: "nack", value: { reason: String(error) } };
    }
  }

  /** Settles, again and again until every one has its answer: settling twice is harmless. */
  async #settle(settlements: Settlement[], signal?: AbortSignal): Promise<SettleResult[]> {
    const results = new Map<Settlement, SettleResult>();
    for (let wait = 100; ; wait = Math.min(2 * wait, 10_000)) {
      const open = settlements.filter((settlement) => !results.has(settlement));
      try {
        const answer = await this.#client.settle({ settlements: open }, { timeoutMs: 10_000, signal });
        answer.results.forEach((result, n) => {
          const settlement = open[n];
          if (settlement && result.status !== SettlementStatus.UNAVAILABLE) results.set(settlement, result);
        });
      } catch (error) {
        if (!isTransient(error) || signal?.aborted) throw error;
      }
      if (results.size === settlements.length) return [...results.values()];
      await pause(wait, signal);
    }
  }

  /** Prolongs everything that is held, in one call, at a third of the ack deadline. */
  async #extendForEver(ended: AbortSignal): Promise<void> {
    await Promise.race([this.#opened, aborted(ended)]);
    while (!ended.aborted) {
      await pause(this.#ackDeadlineMs / 3, ended, 1);
      const settlements = [...this.#held.values()].map(({ token }) => ({ token, action: { case: "extend", value: {} } }) as const);
      if (settlements.length === 0) continue;
      await this.#client.settle({ settlements }, { timeoutMs: this.#ackDeadlineMs / 3, signal: ended }).catch((error) => {
        if (!ended.aborted) console.error(`leases were not prolonged: ${error}`);
      });
    }
  }

  async #releaseHeld(): Promise<void> {
    const unused = [...this.#held.values()].map(({ token }) => create(SettlementSchema, { token, action: { case: "release", value: {} } }));
    if (unused.length > 0) await this.#settle(unused, AbortSignal.timeout(this.#ackDeadlineMs)).catch(() => undefined);
  }
}

export type Action = NonNullable<MessageInitShape<typeof SettlementSchema>["action"]>;

/** Runs an agent until SIGINT or SIGTERM. */
export async function runUntilSignal(agent: Agent): Promise<void> {
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  await agent.run(stop.signal);
}

/** What the broker did not say came from the connection, whatever code it got here: a reset one is Aborted. */
function isTransient(error: unknown): boolean {
  const { code, cause } = ConnectError.from(error);
  return TRANSIENT.has(code) || cause !== undefined;
}

function aborted(signal: AbortSignal): Promise<void> {
  return signal.aborted ? Promise.resolve() : new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

function key(token: Uint8Array): string {
  return Buffer.from(token).toString("base64");
}

/** Waits, with jitter unless told otherwise; at once when the signal comes. */
async function pause(ms: number, signal?: AbortSignal, least = 0.5): Promise<void> {
  const jitter = least + (1 - least) * Math.random();
  await sleep(ms * jitter, undefined, { signal }).catch(() => undefined);
}
