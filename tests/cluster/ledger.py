"""What clients were told, key by key: enough to say at the end whether a value was lost, came back from the dead,
or was never written.

One writer owns a key and writes it once at a time, so what its contexts cover is known: a context covers the values that
came with it. Every value is unique. Rules (DESIGN.md 5, 7; RELIABILITY section 2): an acknowledged value stays until a
later write covers it; what an acknowledged write covered is never seen again; a write that was refused as not
applied is never seen.
"""

import random
import threading
import time

from cluster import grpc, kv

ACKNOWLEDGED, UNKNOWN = 1, 2
AVOID_SECONDS = 1.0
FRESH, OVERWRITTEN, DELETED = 10, 6, 4  # of each batch
VALUE_BYTES = 100


class Key:
    __slots__ = ("name", "serial", "written", "covered", "maybe_covered", "deleted", "left_alone")

    def __init__(self, name):
        self.name = name
        self.serial = 0
        self.written = {}           # serial of the value -> ACKNOWLEDGED or UNKNOWN
        self.covered = set()        # by a write that was acknowledged
        self.maybe_covered = set()  # by one of unknown outcome
        self.deleted = False        # an acknowledged delete is among them
        # Its first put, which has no context, may still land and then replaces whatever is there by then.
        self.left_alone = False

    def value(self, serial):
        return (b"%s#%d " % (self.name, serial)).ljust(VALUE_BYTES, b".")

    def serials(self, values):
        """Of what was read; None for bytes that are no value of this key."""
        found = []
        for value in values:
            name, _, rest = value.partition(b"#")
            serial = rest.split(b" ")[0]
            good = name == self.name and serial.isdigit() and value == self.value(int(serial))
            found.append(int(serial) if good else None)
        return found

    def judge(self, values):
        """What is wrong with these values, which are all that is live: (lost, resurrected, phantom, doubled)."""
        found = self.serials(values)
        visible = set(found)
        must = {s for s, state in self.written.items() if state == ACKNOWLEDGED} - self.covered - self.maybe_covered
        return (len(must - visible), len(visible & self.covered), len(visible - set(self.written) - self.covered),
                len(found) - len(visible))


class Item:
    """One write that is under way."""

    def __init__(self, key, covers, context=b"", delete=False):
        self.key, self.covers, self.context, self.delete = key, covers, context, delete
        key.serial += 1
        self.serial = key.serial

    def settle(self, outcome):
        key = self.key
        if outcome is None:  # not applied
            return
        if not self.delete:
            key.written[self.serial] = outcome
        key.left_alone = key.left_alone or (outcome == UNKNOWN and not self.context)
        (key.covered if outcome == ACKNOWLEDGED else key.maybe_covered).update(self.covers)
        key.deleted = key.deleted or (self.delete and outcome == ACKNOWLEDGED)


class Writer(threading.Thread):
    def __init__(self, load, number):
        super().__init__(daemon=True)
        self.load, self.number = load, number
        self.rng = random.Random(load.seed * 1000 + number)
        self.keys = []
        self.avoid = {}
        self.acknowledged = self.deletes = self.refused = self.unknown = 0
        self.error = None

    def run(self):
        try:
            while not self.load.stopping.is_set():
                if self.load.ahead():
                    time.sleep(0.01)
                else:
                    self.batch(self.node())
        except Exception as error:
            self.error = error
            raise

    def node(self):
        """Any but those that failed a moment ago."""
        now = time.monotonic()
        nodes = [n for n in self.load.nodes if self.avoid.get(n.name, 0) < now] or self.load.nodes
        return self.rng.choice(nodes)

    def read(self, node, keys):
        """key -> answer, for those that could be read."""
        try:
            reply = node.kv.BatchGet(kv.BatchGetRequest(keys=[key.name for key in keys]), timeout=self.load.patience)
        except grpc.RpcError:
            self.avoid[node.name] = time.monotonic() + AVOID_SECONDS
            return {}
        return {key: item.result for key, item in zip(keys, reply.items) if item.status.code == 0}

    def batch(self, node):
        items = []
        known = [key for key in self.keys if not key.left_alone]
        old = self.rng.sample(known, min(len(known), OVERWRITTEN + DELETED))
        answers = self.read(node, old) if old else {}
        for place, (key, answer) in enumerate(answers.items()):
            covers = key.serials(v.value for v in answer.values)
            items.append(Item(key, covers, answer.context, delete=place < DELETED))
        for _ in range(FRESH):
            key = Key(b"w%d-%d" % (self.number, len(self.keys)))
            self.keys.append(key)
            items.append(Item(key, ()))
        self.write(node, items)

    def write(self, node, items):
        request = kv.BatchWriteRequest()
        for item in items:
            request.items.add(key=item.key.name, context=item.context, delete=item.delete,
                              value=b"" if item.delete else item.key.value(item.serial))
        try:
            reply = node.kv.BatchWrite(request, timeout=self.load.patience)
        except grpc.RpcError:
            self.avoid[node.name] = time.monotonic() + AVOID_SECONDS
            for item in items:
                item.settle(UNKNOWN)
            self.unknown += len(items)
            return
        for item, told in zip(items, reply.items):
            if told.status.code == 0:
                item.settle(ACKNOWLEDGED)
                self.acknowledged += 1
                self.deletes += item.delete
            elif told.status.outcome == "NOT_APPLIED":
                item.settle(None)
                self.refused += 1
            else:
                item.settle(UNKNOWN)
                self.unknown += 1


class Load:
    """Writers over all nodes; `rate` is how many acknowledged writes a second they aim at; `patience`: the seconds that
    they give a request, few where nodes are to be silent."""

    def __init__(self, nodes, seed, rate, writers=12, patience=3):
        self.nodes, self.seed, self.rate, self.patience = nodes, seed, rate, patience
        self.stopping = threading.Event()
        self.started = time.monotonic()
        self.writers = [Writer(self, i) for i in range(writers)]
        for writer in self.writers:
            writer.start()

    def ahead(self):
        return self.acknowledged() > (time.monotonic() - self.started) * self.rate

    def acknowledged(self):
        return sum(w.acknowledged for w in self.writers)

    def counts(self):
        return tuple(sum(getattr(w, name) for w in self.writers)
                     for name in ("acknowledged", "deletes", "refused", "unknown"))

    def stop(self):
        self.stopping.set()
        for writer in self.writers:
            writer.join()
            assert writer.error is None, writer.error

    def keys(self):
        return [key for writer in self.writers for key in writer.keys]


def read_all(node, keys, r):
    """name -> values, through this node."""
    found = {}
    for first in range(0, len(keys), 500):
        part = keys[first:first + 500]
        reply = node.kv.BatchGet(kv.BatchGetRequest(keys=[key.name for key in part], r=r), timeout=30)
        for item in reply.items:
            assert item.status.code == 0, "%s: %r: %s" % (node.name, item.key, item.status)
            found[item.key] = [v.value for v in item.result.values]
    return found


def judge_all(keys, found):
    """Sums of what is wrong, and the first few keys."""
    sums, examples = [0, 0, 0, 0], []
    for key in keys:
        wrong = key.judge(found[key.name])
        for i, count in enumerate(wrong):
            sums[i] += count
        if any(wrong) and len(examples) < 5:
            examples.append((key.name, wrong, key.serials(found[key.name]), key.written, key.covered))
    return sums, examples
