"""Rule: kill -9 of one of three; quorum requests through the others go on without a single error, and
the dead node costs only what was in flight on it. A paused node (SIGSTOP) neither. DESIGN.md 7."""

import threading
import time

from cluster import Cluster, grpc, wait_for


class Worker(threading.Thread):
    def __init__(self, node, prefix):
        super().__init__()
        self.node, self.prefix = node, prefix
        self.stopping = False
        self.done = 0
        self.slowest = 0.0
        self.errors = []

    def run(self):
        count = 0
        while not self.stopping:
            key = b"%s-%d" % (self.prefix, count % 500)
            started = time.monotonic()
            try:
                self.node.put(key, b"%d" % count)
                values = [v.value for v in self.node.get(key).values]
                if values != [b"%d" % count]:
                    self.errors.append("%r: read %r after writing %d" % (key, values, count))
                self.done += 2
            except grpc.RpcError as error:
                self.errors.append("%s %s" % (error.code(), error.details()))
                time.sleep(0.02)
            self.slowest = max(self.slowest, time.monotonic() - started)
            count += 1


def under_load(phase, nodes, disturb, seconds):
    # Keys of its own for each phase and worker: a put without a context through a replica that has missed
    # writes rightly leaves siblings.
    workers = [Worker(node, b"%s-%d" % (phase, i)) for i, node in enumerate(nodes)]
    for worker in workers:
        worker.start()
    time.sleep(1.0)
    disturb()
    before = sum(worker.done for worker in workers)
    time.sleep(seconds)
    wait_for("100 requests", lambda: sum(worker.done for worker in workers) > before + 100 or
             any(worker.errors for worker in workers))
    after = sum(worker.done for worker in workers)
    for worker in workers:
        worker.stopping = True
    for worker in workers:
        worker.join()
    return workers, after - before


def main():
    with Cluster(3) as cluster:
        cluster.start()
        n1, n2, n3 = cluster.nodes

        workers, done = under_load(b"kill", [n1, n2, n1, n2], n3.kill, 6.0)
        errors = [error for worker in workers for error in worker.errors]
        assert not errors, "%d errors through living nodes, first: %s" % (len(errors), errors[0])
        print("n3 killed: %d requests through n1 and n2, 0 errors, slowest %.0f ms" % (
            done, 1000 * max(worker.slowest for worker in workers)))
        wait_for("n1 to see n3 down", lambda: n1.alive_nodes() == 2)

        n3.start().wait_serving()
        cluster.wait_alive()
        for i in range(0, 500, 7):  # n3 coordinates reads of what it has missed
            n3.get(b"kill-0-%d" % i)
        print("n3 restarted: reads through it are answered")

        workers, done = under_load(b"pause", [n1, n2, n1, n2], n3.pause, 8.0)
        errors = [error for worker in workers for error in worker.errors]
        assert not errors, "%d errors while n3 is paused, first: %s" % (len(errors), errors[0])
        print("n3 paused: %d requests, 0 errors, slowest %.0f ms" % (
            done, 1000 * max(worker.slowest for worker in workers)))
        n3.resume()
        cluster.wait_alive()

        workers, done = under_load(b"back", [n1, n3], n2.kill, 3.0)
        errors = [error for worker in workers for error in worker.errors]
        assert not errors, "%d errors after the resume, first: %s" % (len(errors), errors[0])

        # Two of three down: an honest refusal, not applied, and fast.
        n3.kill()
        wait_for("n1 to be alone", lambda: n1.alive_nodes() == 1)
        started = time.monotonic()
        try:
            n1.put(b"nobody", b"there")
            raise AssertionError("a quorum put was acknowledged by one node of three")
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            took = time.monotonic() - started
            assert took < 5, "the refusal took %.1f s" % took
            print("two of three down: %s (%.0f ms)" % (error.details(), 1000 * took))
        assert not n1.get(b"nobody", r=1).found, "a write that was refused as not applied is visible"


if __name__ == "__main__":
    main()
