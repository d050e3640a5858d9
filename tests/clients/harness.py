"""What the Python client tests share: nodes from tests/cluster, error details read by hand, one runner.

The details are read from the trailer's bytes alone: no google.rpc package stands between the test and
what other languages would see.
"""

import os
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "cluster"))

from cluster import Cluster, grpc, kv, wait_for  # noqa: E402,F401

CODE = grpc.StatusCode


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    """The fields of one protobuf message: number -> list of integers or bytes."""
    found, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            assert tag & 7 == 2, "wire type %d" % (tag & 7)
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
            assert len(value) == size, "a field is cut short"
        found.setdefault(tag >> 3, []).append(value)
    return found


def text(found, number):
    return found.get(number, [b""])[0].decode()


class Details:
    """google.rpc.Status{code, message, details} of a failed call."""

    def __init__(self, error):
        trailer = {key: value for key, value in error.trailing_metadata()}
        self.raw = trailer.get("grpc-status-details-bin", b"")
        status = fields(self.raw)
        self.code = status.get(1, [0])[0]
        self.message = text(status, 2)
        self.reason = self.domain = self.field = self.violation = ""
        self.metadata = {}
        self.retry_ms = None
        for detail in map(fields, status.get(3, [])):
            kind, value = text(detail, 1), fields(detail.get(2, [b""])[0])
            if kind == "type.googleapis.com/google.rpc.ErrorInfo":
                self.reason, self.domain = text(value, 1), text(value, 2)
                self.metadata = {text(p, 1): text(p, 2) for p in map(fields, value.get(3, []))}
            elif kind == "type.googleapis.com/google.rpc.BadRequest":
                violation, = map(fields, value[1])
                self.field, self.violation = text(violation, 1), text(violation, 2)
            elif kind == "type.googleapis.com/google.rpc.RetryInfo":
                delay = fields(value[1][0])
                self.retry_ms = 1000 * delay.get(1, [0])[0] + delay.get(2, [0])[0] // 1000000
            else:
                raise AssertionError("a detail of type %s" % kind)


def failure(call):
    """The error of a call that must fail."""
    try:
        reply = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("answered, although it must fail: %s" % str(reply)[:300])


def expect(call, code, reason, field="", says=()):
    """Fails with exactly this status; the details repeat it and name the field."""
    error = failure(call)
    assert error.code() == code, "%s instead of %s: %s" % (error.code(), code, error.details())
    details = Details(error)
    assert details.code == code.value[0], "details say code %d, the status %s" % (details.code, code)
    assert details.message == error.details(), (details.message, error.details())
    assert details.domain == "coterie", "domain %r" % details.domain
    assert details.reason == reason, "reason %r instead of %r: %s" % (details.reason, reason, error.details())
    assert details.field == field, "field %r instead of %r: %s" % (details.field, field, error.details())
    if field:
        assert details.metadata.get("field") == field, details.metadata
        assert details.violation == error.details(), details.violation
    for word in (says,) if isinstance(says, str) else says:
        assert word in error.details(), "%r is not in %r" % (word, error.details())
    return details


def invalid(call, field, *says):
    return expect(call, CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", field, says)


def values(reply):
    assert reply.found == bool(reply.values), reply
    return sorted(value.value for value in reply.values)


def run(tests, *arguments):
    """Plays all functions, tells of each, ends the program with 1 when one failed."""
    failed = 0
    for test in tests:
        started = time.monotonic()
        try:
            test(*arguments)
            verdict = "ok"
        except Exception:  # the others are still worth playing
            failed += 1
            verdict = "FAILED"
            traceback.print_exc()
        print("%-6s %-45s %5.1f s" % (verdict, test.__name__, time.monotonic() - started), flush=True)
    print("%d tests, %d failed" % (len(tests), failed))
    return failed


def main(module, nodes=3):
    """The whole of most files: plays the tests of `module` (its globals) on one cluster, and ends the program."""
    with Cluster(nodes) as cluster:
        cluster.start()
        failed = run(tests_of(module), cluster)
    sys.exit(1 if failed else 0)


def tests_of(module):
    return [value for name, value in module.items() if name.startswith("test_")]
