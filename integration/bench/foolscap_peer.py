"""Python Foolscap as one side of a contestant.

Requests come as JSON objects, one a line, on standard input; each is answered
by one on standard output. protocol.go says what they mean. The program ends
with its standard input.

The one argument is a directory in which certificates are kept from one
process to the next: making an RSA key takes longer than anything measured.
"""

import gc
import json
import os
import resource
import sys
import time
import warnings

# Both warn when they are imported, about things that nobody here can change.
warnings.simplefilter("ignore")

from foolscap.api import Referenceable, Tub
from twisted.internet import defer, reactor, stdio, task
from twisted.protocols.basic import LineReceiver

WARM_UP_CONNECTIONS = 10


class Target(Referenceable):
    def remote_sink(self, data):
        return len(data)

    def remote_echo(self, data):
        return data


class Certificates:
    """Numbered certificates, as Foolscap makes them."""

    def __init__(self, directory):
        self.directory = directory
        self.loaded = {}

    def get(self, name):
        if name not in self.loaded:
            path = os.path.join(self.directory, "%s.pem" % name)
            if os.path.exists(path):
                with open(path, "rb") as f:
                    self.loaded[name] = f.read()
            else:
                self.loaded[name] = Tub().getCertData()
                with open(path, "wb") as f:
                    f.write(self.loaded[name])
        return self.loaded[name]


def new_tub(cert):
    tub = Tub(certData=cert)
    tub.startService()
    return tub


def quantile(ordered, q):
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


@defer.inlineCallbacks
def sink_once(rref, data):
    length = yield rref.callRemote("sink", data)
    if length != len(data):
        raise ValueError("the answer was %r, the length was %d" % (length, len(data)))


@defer.inlineCallbacks
def dial_and_call(tub, target, data):
    rref = yield tub.getReference(target)
    yield sink_once(rref, data)
    return rref


@defer.inlineCallbacks
def throughput(req, work):
    """Completions a second between the end of the warm-up and of the time."""
    state = {"completed": 0, "stop": False}

    @defer.inlineCallbacks
    def worker(number):
        while not state["stop"]:
            yield work(number)
            state["completed"] += 1

    def failed(why):
        state["stop"] = True
        return why

    workers = [worker(n).addErrback(failed) for n in range(req["parallel"])]
    yield task.deferLater(reactor, req["warm_up"], lambda: None)
    start, before = time.perf_counter(), state["completed"]
    yield task.deferLater(reactor, req["seconds"], lambda: None)
    while state["completed"] - before < req["parallel"] and not state["stop"]:
        yield task.deferLater(reactor, req["seconds"] / 4, lambda: None)
    elapsed, after = time.perf_counter() - start, state["completed"]
    state["stop"] = True
    yield defer.gatherResults(workers, consumeErrors=True)
    return (after - before) / elapsed


class Peer(LineReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, certificates):
        self.certificates = certificates
        self.rref = None
        self.held = []

    def lineReceived(self, line):
        req = json.loads(line)
        d = defer.maybeDeferred(getattr(self, "op_" + req["op"], self.unknown), req)
        d.addErrback(lambda why: {"error": why.getErrorMessage() or str(why.type)})
        d.addCallback(lambda resp: self.sendLine(json.dumps(resp or {}).encode()))

    def connectionLost(self, reason=None):
        if reactor.running:
            reactor.stop()

    def unknown(self, req):
        raise ValueError("unknown operation %r" % req["op"])

    def op_serve(self, req):
        tub = new_tub(self.certificates.get("server"))
        port = tub.listenOn("tcp:0:interface=127.0.0.1").getPortnum()
        addr = "127.0.0.1:%d" % port
        tub.setLocation("tcp:" + addr)
        furl = tub.registerReference(Target())
        return {"addr": addr, "target": furl}

    @defer.inlineCallbacks
    def op_connect(self, req):
        tub = new_tub(self.certificates.get("client"))
        self.rref = yield tub.getReference(req["target"])

    @defer.inlineCallbacks
    def op_latency(self, req):
        data = bytes(req["size"])
        end = time.perf_counter() + req["warm_up"]
        while time.perf_counter() < end:
            yield sink_once(self.rref, data)
        latencies = []
        now = time.perf_counter()
        end = now + req["seconds"]
        while now < end:
            yield sink_once(self.rref, data)
            after = time.perf_counter()
            latencies.append(after - now)
            now = after
        latencies.sort()
        return {"values": {"p50": quantile(latencies, 0.50), "p99": quantile(latencies, 0.99)}}

    @defer.inlineCallbacks
    def op_calls(self, req):
        data = bytes(req["size"])
        for _ in range(req["count"]):
            yield sink_once(self.rref, data)

    @defer.inlineCallbacks
    def op_inflight(self, req):
        data = bytes(req["size"])
        rate = yield throughput(req, lambda _: sink_once(self.rref, data))
        return {"values": {"rate": rate}}

    @defer.inlineCallbacks
    def op_bulk(self, req):
        data = bytes(req["size"])
        rate = yield throughput(req, lambda _: sink_once(self.rref, data))
        return {"values": {"bytes_rate": rate * req["size"]}}

    @defer.inlineCallbacks
    def op_first(self, req):
        tub = new_tub(self.certificates.get("first"))
        start = time.perf_counter()
        yield dial_and_call(tub, req["target"], bytes(req["size"]))
        elapsed = time.perf_counter() - start
        yield tub.stopService()
        return {"values": {"seconds": elapsed}}

    @defer.inlineCallbacks
    def op_connections(self, req):
        # A Tub that was stopped cannot start again: each connection has a new
        # one, with a certificate that is there already.
        certs = [self.certificates.get("dial-%d" % n) for n in range(req["parallel"])]
        data = bytes(req["size"])

        @defer.inlineCallbacks
        def work(number):
            tub = new_tub(certs[number])
            yield dial_and_call(tub, req["target"], data)
            yield tub.stopService()

        rate = yield throughput(req, work)
        return {"values": {"rate": rate}}

    @defer.inlineCallbacks
    def op_prepare(self, req):
        certs = [self.certificates.get("held-%d" % n) for n in range(req["count"])]
        for cert in certs[:WARM_UP_CONNECTIONS]:
            tub = new_tub(cert)
            yield dial_and_call(tub, req["target"], bytes(req["size"]))
            yield tub.stopService()
        self.held = [{"tub": new_tub(cert)} for cert in certs]

    @defer.inlineCallbacks
    def op_hold(self, req):
        for held in self.held:
            held["rref"] = yield dial_and_call(held["tub"], req["target"], bytes(req["size"]))

    @defer.inlineCallbacks
    def op_exchange(self, req):
        for held in self.held:
            back = yield held["rref"].callRemote("echo", bytes(req["size"]))
            if len(back) != req["size"]:
                raise ValueError("%d bytes came back, sent were %d" % (len(back), req["size"]))

    def op_memory(self, req):
        gc.collect()
        with open("/proc/self/statm") as f:
            pages = int(f.read().split()[1])
        return {"values": {"resident": pages * resource.getpagesize()}}

    def op_counters(self, req):
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {"values": {"cpu": usage.ru_utime + usage.ru_stime, "switches": usage.ru_nvcsw}}


def main():
    stdio.StandardIO(Peer(Certificates(sys.argv[1])))
    reactor.run()


if __name__ == "__main__":
    main()
