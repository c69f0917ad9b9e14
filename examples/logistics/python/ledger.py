"""The ledger of an agent in Python: the same lines as src/ledger/entry.rs, each fsynced, under the same lock."""

import contextlib
import fcntl
import json
import os
import pathlib
import time


class Ledger:
    """What an agent did. Several processes of the agent may share it."""

    def __init__(self, who):
        self.who = who
        folder = pathlib.Path(os.environ.get("LOGISTICS_LEDGERS", "."))
        self.file = open(folder / f"{who}.jsonl", "a+b", buffering=0)
        self.read_to = 0
        self.done = set()
        """The ids of the events that were done."""
        self.write({"fact": "started"})

    def received(self, delivery):
        """Notes that a delivery came."""
        self.write({"fact": "received", "event": seen(delivery.event), "attempt": delivery.attempt})

    def once(self, delivery, did, outputs):
        """Does the work, unless some process of this agent has done it before, and gives back what is to be published with the ack."""
        publishes = [output.type for output in outputs]
        effect = {"fact": "effect", "event": seen(delivery.event), "did": did, "publishes": publishes}
        self.write(effect, unless_done=delivery.event.id)
        return outputs

    def write(self, fact, unless_done=None):
        fcntl.flock(self.file, fcntl.LOCK_EX)
        try:
            self.catch_up()
            if unless_done not in self.done:
                line = {"who": self.who, "process": os.getpid(), "at": time.time_ns() // 1000} | fact
                self.file.write(json.dumps(line).encode() + b"\n")
                os.fsync(self.file.fileno())
        finally:
            fcntl.flock(self.file, fcntl.LOCK_UN)

    def catch_up(self):
        """Reads what other processes wrote meanwhile."""
        self.file.seek(self.read_to)
        new = self.file.read()
        if new and not new.endswith(b"\n"):
            # Half a line is what a killed process had not done yet.
            self.file.write(b"\n")
        self.read_to += len(new)
        for line in new.splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry["fact"] == "effect":
                    self.done.add(entry["event"]["id"])


def seen(event):
    return {"id": event.id, "type": event.type, "subject": event.subject, "cause": event.lineage.causation_id}
