"""Rule: a node that says it serves can serve: a quorum get and a quorum put right after SERVING succeed,
at the first try and far from their deadline, whichever way the node went down. DESIGN.md 7, 9."""

import time

from cluster import Cluster, grpc, health_pb2, wait_for

RESTARTS = 12


def wait_serving_closely(node):
    """Returns as soon as the node says so: wait_serving looks only now and then."""
    def serving():
        assert node.process.poll() is None, node.log_tail()
        try:
            reply = node.health.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True)
            return reply.status == health_pb2.HealthCheckResponse.SERVING
        except grpc.RpcError:
            return False
    wait_for(node.name + " to serve", serving)


def main():
    with Cluster(3) as cluster:
        cluster.start()
        node, other, _ = cluster.nodes
        node.put(b"k", b"0")
        slowest = 0.0
        for i in range(RESTARTS):
            if i % 3 == 2:
                node.kill()
            else:
                assert node.terminate() == 0
            node.start()
            wait_serving_closely(node)
            started = time.monotonic()
            reply = node.get(b"k")
            assert [v.value for v in reply.values] == [b"%d" % i], "restart %d: read %r" % (i, reply)
            node.put(b"k", b"%d" % (i + 1), context=reply.context)
            took = time.monotonic() - started
            assert took < 5.0, "restart %d: the get and the put took %.1f s" % (i, took)
            slowest = max(slowest, took)
            reply = other.get(b"k")
            assert [v.value for v in reply.values] == [b"%d" % (i + 1)], reply
        print("%d restarts: a get and a put right after SERVING, slowest %.0f ms" % (
            RESTARTS, 1000 * slowest))


if __name__ == "__main__":
    main()
