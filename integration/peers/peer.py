"""A Foolscap Tub that is directed, step by step, by whoever started this program.

Requests come on standard input and replies go to standard output, one JSON object a line:

    {"id": 1, "op": "call", "ref": "r1", "method": "add", "args": [1, 2]}
    {"id": 1, "ok": true, "result": 3}
    {"id": 2, "ok": false, "error": {"type": "builtins.ValueError", "text": "...", "remote": true, ...}}

A request is begun as soon as it has been read, so calls leave in the order of their requests; it is answered when it is
done, so answers can overtake each other. What happens by itself is told by a line without an id: {"event": "attached", ...}.

Every op is a method op_... of Control below, its parameters are the request's members. Values (args, kwargs and what calls
return) are written as notation.py says. The end of standard input ends the program.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import gc
import json
import os
import traceback
import warnings
import weakref

from OpenSSL import SSL
from twisted.internet import defer, reactor, stdio, task
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python import log as twisted_log
from twisted.python import reflect
from twisted.python.failure import Failure

from foolscap import broker, crypto, negotiate, pb, storage
from foolscap.banana import int2b128
from foolscap.call import CopiedFailure
from foolscap.logging import log as foolscap_log
from foolscap.referenceable import RemoteMethodReference
from foolscap.tokens import PONG, RemoteException

import notation
import objects


class ControlError(Exception):
    """A request that makes no sense."""


class World(notation.References):
    """What this process knows by name: its own objects, and its peers' objects under handles."""

    def __init__(self, emit):
        self.emit = emit
        self.tub = None
        self.named = {}
        self.introduced = weakref.WeakValueDictionary()
        self.handles = {}
        self.handles_given = 0
        self.negotiations = []
        self.holding_hellos = False
        self.held_hellos = []
        self.brokers = {}  # every connection there was, by its number
        self.errors = []
        self.conditions = []
        self.poll = task.LoopingCall(self.check_conditions)

    def introduce(self, referenceable):
        self.introduced[referenceable.name] = referenceable

    def object(self, name):
        try:
            return self.introduced[name]
        except KeyError:
            return super().object(name)

    def name_of(self, referenceable):
        return referenceable.name

    def remote(self, handle):
        try:
            return self.handles[handle]
        except KeyError:
            return super().remote(handle)

    def handle_of(self, remote_reference):
        """One handle for each object Foolscap made, so that a reference which arrives twice can be recognised."""
        for handle, held in self.handles.items():
            if held is remote_reference:
                return handle
        self.handles_given += 1
        handle = "r%d" % self.handles_given
        self.handles[handle] = remote_reference
        return handle

    def furl_of(self, referenceable):
        return self.tub.getOrCreateURLForReference(referenceable)

    def until(self, condition):
        """A Deferred that fires with what condition returns, once that is not None."""
        done = defer.Deferred()
        self.conditions.append((condition, done))
        if not self.poll.running:
            self.poll.start(0.005)
        return done

    def check_conditions(self):
        for entry in list(self.conditions):
            condition, done = entry
            try:
                result = condition()
            except Exception:
                result = Failure()
            if result is not None:
                self.conditions.remove(entry)
                done.callback(result)
        if not self.conditions:
            self.poll.stop()

    def error_logged(self, text):
        self.errors.append(text)
        del self.errors[:-100]
        print(text, file=sys.stderr)


class PeerBroker(broker.Broker):
    """A connection that counts PINGs and can keep what it receives."""

    number = None
    outbound = None
    pings_sent = 0
    pings_received = 0
    bytes_received = 0
    captured = None

    def dataReceived(self, chunk):
        self.bytes_received += len(chunk)
        if self.captured is not None:
            self.captured += chunk
        super().dataReceived(chunk)

    def sendPING(self, number=0):
        self.pings_sent += 1
        super().sendPING(number)

    def sendPONG(self, number):
        self.pings_received += 1
        super().sendPONG(number)


class PeerNegotiation(negotiate.Negotiation):
    """A negotiation that says what it has heard, and can be made to differ from what Foolscap does today."""

    world = None
    hello_without = ()
    hello_with = {}

    def __init__(self, logparent=None):
        super().__init__(logparent)
        self.holding = False
        self.record = None

    def sendBlock(self, block):
        if "my-tub-id" in block:
            block = {key: value for key, value in block.items() if key not in self.hello_without}
            block.update(self.hello_with)
        super().sendBlock(block)

    def sendHello(self):
        if not self.world.holding_hellos:
            super().sendHello()
            return
        self.holding = True
        self.world.held_hellos.append(self)
        self.world.emit("hello_held", outbound=self.isClient)

    def release_hello(self):
        self.holding = False
        if not self.failureReason:
            super().sendHello()
            self.dataReceived(b"")

    def dataReceived(self, chunk):
        if self.holding:
            self.buffer += chunk
        else:
            super().dataReceived(chunk)

    def evaluateHello(self, offer):
        self.record = {"outbound": self.isClient, "hello": offer, "decision": None, "error": None}
        self.world.negotiations.append(self.record)
        return super().evaluateHello(offer)

    def acceptDecision(self, decision):
        self.record["decision"] = decision
        return super().acceptDecision(decision)

    def negotiationFailed(self):
        error = describe_failure(self.failureReason)
        if self.record:
            self.record["error"] = error
        self.world.emit("negotiation_failed", outbound=self.isClient, error=error)
        super().negotiationFailed()


class Tls12ContextFactory(crypto.FoolscapContextFactory):
    def getContext(self):
        context = super().getContext()
        context.set_options(SSL.OP_NO_TLSv1_3)
        return context


class PeerTub(pb.Tub):
    negotiationClass = PeerNegotiation
    brokerClass = PeerBroker

    def __init__(self, world, cert_file):
        super().__init__(certFile=cert_file)
        self.world = world
        self.connections = 0

    def brokerAttached(self, tubref, broker, isClient):
        self.connections += 1
        broker.number = self.connections
        broker.outbound = isClient
        self.world.brokers[broker.number] = broker
        self.world.emit("attached", connection=broker.number, tubid=tubref.getTubID(), outbound=isClient)
        super().brokerAttached(tubref, broker, isClient)

    def brokerDetached(self, broker, why):
        super().brokerDetached(broker, why)
        if broker.number is not None:
            self.world.emit(
                "detached",
                connection=broker.number,
                tubid=broker.remote_tubref.getTubID(),
                error=describe_failure(why),
            )


def describe_failure(failure):
    description = {
        "type": reflect.qual(failure.type).strip("."),
        "text": str(failure.value),
        "parents": [str(parent) for parent in failure.parents],
        "traceback": failure.getTraceback() if not isinstance(failure, CopiedFailure) else failure.traceback,
        "remote": isinstance(failure, CopiedFailure),
    }
    if isinstance(failure.value, RemoteException):
        description["cause"] = describe_failure(failure.value.failure)
    return description


def tables_of(connection):
    return {
        "connection": connection.number,
        "tubid": connection.remote_tubref.getTubID(),
        "mine": len(connection.myReferenceByCLID),
        "mine_sent": sum(tracker.refcount for tracker in connection.myReferenceByCLID.values()),
        "yours": len(connection.yourReferenceByCLID),
        "yours_received": sum(tracker.received_count for tracker in connection.yourReferenceByCLID.values()),
        "gifts": len(connection.myGifts),
        "waiting": len(connection.waitingForAnswers),
        "active": len(connection.activeLocalCalls),
        "queued": len(connection.inboundDeliveryQueue),
    }


class Control(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 1 << 28

    def __init__(self, options):
        self.options = options
        self.world = World(self.emit)

    # The control channel.

    def connectionMade(self):
        try:
            self.start()
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def connectionLost(self, reason):
        os._exit(0)

    def write(self, message):
        self.transport.write(json.dumps(message).encode("utf-8") + b"\n")

    def emit(self, event, **members):
        self.write(dict(members, event=event))

    def lineReceived(self, line):
        request = json.loads(line)
        number = request.pop("id")
        op = request.pop("op")
        done = defer.maybeDeferred(self.perform, op, request)
        done.addCallbacks(
            lambda result: self.write({"id": number, "ok": True, "result": result}),
            lambda failure: self.write({"id": number, "ok": False, "error": describe_failure(failure)}),
        )
        # A result that JSON cannot hold.
        done.addErrback(lambda failure: self.write({"id": number, "ok": False, "error": describe_failure(failure)}))

    def perform(self, op, parameters):
        method = getattr(self, "op_" + op, None)
        if method is None:
            raise ControlError("there is no op %r" % (op,))
        return method(**parameters)

    def decode(self, node, index=None):
        return notation.decode(node, self.world, index)

    def encode(self, value):
        return notation.encode(value, self.world)

    def start(self):
        options = self.options
        PeerNegotiation.world = self.world
        PeerNegotiation.hello_without = options.hello_without
        PeerNegotiation.hello_with = dict(pair.split("=", 1) for pair in options.hello_with)
        if options.vocabulary is not None:
            PeerNegotiation.initialVocabTableRange = (options.vocabulary, options.vocabulary)
        if options.tls12:
            crypto.FoolscapContextFactory = Tls12ContextFactory

        tub = self.world.tub = PeerTub(self.world, options.cert)
        # The options of the same names take whole seconds only.
        tub.keepaliveTimeout = options.keepalive
        tub.disconnectTimeout = options.disconnect
        tub.unsafeTracebacks = not options.safe_tracebacks
        tub.setOption("logLocalFailures", options.log_local_failures)
        tub.setOption("accept-gifts", not options.refuse_gifts)
        tub.setOption("expose-remote-exception-types", not options.hide_remote_exception_types)
        if options.handle_old_duplicates is not None:
            tub.setOption("handle-old-duplicate-connections", options.handle_old_duplicates)
        tub.startService()

        self.port = None
        if not options.no_listen:
            self.port = self.listen(options.port)
        location = options.location
        if location is None:
            location = "tcp:127.0.0.1:%d" % self.port if self.port else "none"
        if location != "none":
            tub.setLocation(*location.split(","))
        self.observe_logs()
        self.emit("ready", **self.op_tub())

    def listen(self, port):
        with warnings.catch_warnings():
            # A free port cannot be had in another way without a race.
            warnings.simplefilter("ignore", DeprecationWarning)
            return self.world.tub.listenOn("tcp:%d:interface=127.0.0.1" % port).getPortnum()

    def observe_logs(self):
        def from_twisted(event):
            if event.get("isError"):
                self.world.error_logged(twisted_log.textFromEventDict(event) or repr(event))

        def from_foolscap(event):
            if event.get("isError"):
                failure = event.get("failure")
                self.world.error_logged(failure.getTraceback() if failure else str(event.get("message")))
            elif self.options.verbose:
                text = event.get("format")
                text = text % event if text else event.get("message")
                print("%s: %s" % (event.get("facility"), text), file=sys.stderr)

        twisted_log.startLoggingWithObserver(from_twisted, setStdout=False)
        foolscap_log.theLogger.addImmediateObserver(from_foolscap)

    # The Tub.

    def op_tub(self):
        tub = self.world.tub
        return {
            "tubid": tub.tubID,
            "incarnation": tub.getIncarnationString(),
            "port": self.port,
            "location": tub.locationHints,
            "pid": os.getpid(),
        }

    def op_make(self, name, kind="root"):
        """An object of this process that can be named in values but has no FURL (until it is sent, if there is a
        location)."""
        self.world.named[name] = objects.KINDS[kind](self.world, name)

    def op_register(self, name, kind="root", swissnum=None):
        """The FURL of an object, which is made if there is none of that name. The swissnum is the name by default; an
        empty one stands for a random one."""
        if name not in self.world.named:
            self.op_make(name, kind)
        if swissnum is None:
            swissnum = name
        return self.world.tub.registerReference(self.world.named[name], swissnum or None)

    def op_unregister(self, name):
        self.world.tub.unregisterReference(self.world.named.pop(name))

    def op_state(self, object):
        """How much of what there is in an object: held, waiting, logged, notes."""
        return self.world.object(object).state()

    def op_wait_state(self, object, **at_least):
        """Answers once every number is at least as high as asked for."""

        def reached():
            state = self.world.object(object).state()
            if all(state[key] >= number for key, number in at_least.items()):
                return state

        return self.world.until(reached)

    def op_logged(self, object, take=False):
        """The values an object was given by log, in the order of their arrival. With take it forgets them."""
        log = self.world.object(object).log
        values = [self.encode(value) for value in log]
        if take:
            log.clear()
        return values

    def op_release(self, object, key=None, value=None):
        """Answers the calls of block(key) with a value; how many there were."""
        return self.world.object(object).release(key, self.decode(value))

    def op_stop(self):
        """Shuts the Tub down."""
        done = defer.maybeDeferred(self.world.tub.stopService)
        return done.addCallback(lambda _: None)

    def op_exit(self, code=0):
        """Ends the process without closing anything first."""
        os._exit(code)

    def op_notation(self, value):
        """What becomes of a value that is read and written again."""
        return self.encode(self.decode(value))

    def op_errors(self):
        """What Foolscap and Twisted have logged as errors, the last hundred at most."""
        return self.world.errors

    # Storage.

    def op_serialize(self, value, alone=False):
        """The bytes (hexadecimal) as which the Tub stores a value; or, alone, Foolscap without a Tub."""
        store = storage.serialize if alone else self.world.tub.serialize
        return store(self.decode(value)).addCallback(lambda data: data.hex())

    def op_unserialize(self, bytes, alone=False):
        """The value that was stored as these bytes (hexadecimal)."""
        restore = storage.unserialize if alone else self.world.tub.unserialize
        return restore(notation.decode({"bytes": bytes}, self.world)).addCallback(self.encode)

    # References and calls.

    def op_get_reference(self, furl):
        return self.world.tub.getReference(furl).addCallback(self.encode)

    def op_describe(self, ref):
        held = self.world.remote(ref)
        return {
            "furl": held.tracker.getURL(),
            "tubid": held.getRemoteTubID(),
            "clid": held.tracker.clid,
            "interface": held.tracker.interfaceName,
            "received": held.tracker.received_count,
            "connected": held.isConnected(),
        }

    def op_call(self, ref, method="", args=(), kwargs={}, use_schema=True):
        """What a method answers. use_schema=False sends what the interface of the reference would forbid."""
        positional, keywords = notation.decode_arguments(args, kwargs, self.world)
        if not use_schema:
            keywords["_useSchema"] = False
        return self.call(self.world.remote(ref), method, positional, keywords).addCallback(self.encode)

    @staticmethod
    def call(held, method, positional, keywords):
        if isinstance(held, RemoteMethodReference):
            return held.callRemote(*positional, **keywords)
        return held.callRemote(method, *positional, **keywords)

    def op_call_only(self, ref, method, args=(), kwargs={}):
        positional, keywords = notation.decode_arguments(args, kwargs, self.world)
        self.world.remote(ref).callRemoteOnly(method, *positional, **keywords)

    def op_flood(self, ref, method, count, args=(), expect=None, only=False):
        """Sends many calls at once. In args and expect, {"index": true} stands for the number of the call from 0.

        Without only: how many were answered, how many not as expected, the failures by type, and whether the answers
        came in the order of the calls."""
        held = self.world.remote(ref)
        arguments = [notation.decode_arguments(args, {}, self.world, index)[0] for index in range(count)]
        if only:
            for positional in arguments:
                held.callRemoteOnly(method, *positional)
            return None
        summary = {"answers": 0, "unexpected": 0, "failures": {}, "in_order": True}
        last = [-1]

        def answered(answer, index):
            summary["answers"] += 1
            if expect is not None and answer != self.decode(expect, index):
                summary["unexpected"] += 1
            summary["in_order"] = summary["in_order"] and index > last[0]
            last[0] = index

        def failed(failure):
            kind = describe_failure(failure)["type"]
            summary["failures"][kind] = summary["failures"].get(kind, 0) + 1

        calls = [
            held.callRemote(method, *positional).addCallback(answered, index).addErrback(failed)
            for index, positional in enumerate(arguments)
        ]
        return defer.DeferredList(calls).addCallback(lambda _: summary)

    def op_held(self):
        """The handles of all references that are held for the control channel."""
        return sorted(self.world.handles)

    def op_drop(self, refs=None):
        """Forgets references: all of them unless they are named."""
        if refs is None:
            self.world.handles.clear()
        else:
            for handle in refs:
                del self.world.handles[handle]
        gc.collect()

    def op_notify_disconnect(self, ref):
        """An event disconnected, with the handle, when the reference dies."""
        self.world.remote(ref).notifyOnDisconnect(self.emit, "disconnected", ref=ref)

    # Connections. Each has a number, in the order in which they came to be; without it the only one is meant.

    def connection(self, number):
        if number is not None:
            if number not in self.world.brokers:
                raise ControlError("there is no connection %r" % (number,))
            return self.world.brokers[number]
        live = list(self.world.tub.brokers.values())
        if len(live) != 1:
            raise ControlError("which of %d connections?" % len(live))
        return live[0]

    def op_connections(self):
        """Those which are in use, not those which were replaced."""
        return [self.describe_connection(live) for live in self.world.tub.brokers.values()]

    def op_wait_connections(self, count):
        """Answers once that many connections are in use."""
        return self.world.until(lambda: True if len(self.world.tub.brokers) == count else None)

    def describe_connection(self, live):
        tubid = live.remote_tubref.getTubID()
        description = {
            "connection": live.number,
            "tubid": tubid,
            "outbound": live.outbound,
            "master": self.world.tub.tubID > tubid,
            "seqnum": live.current_seqnum,
            "last_connection": self.world.tub.slave_table.get(tubid),
            "vocabulary": len(live.outgoingVocabulary),
            "opens_sent": live.openCount,
            "opens_received": live.objectCounter,
            "pings_sent": live.pings_sent,
            "pings_received": live.pings_received,
            "bytes_received": live.bytes_received,
        }
        tls = getattr(live.transport, "getHandle", lambda: None)()
        if isinstance(tls, SSL.Connection):
            description["tls"] = tls.get_protocol_version_name()
            description["cipher"] = tls.get_cipher_name()
        return description

    def op_tables(self):
        """How many entries there are in the tables of each connection: own objects the peer may refer to (mine, and how
        many times they were sent), the peer's objects known here (yours, and how many times they were received), gifts on
        their way, calls that wait for an answer, calls from the peer that are being worked on or wait for their turn."""
        gc.collect()
        return [tables_of(live) for live in self.world.tub.brokers.values()]

    def op_wait_tables(self, connection=None, **expected):
        """Answers with the tables of a connection once they have the sizes that are given."""

        def reached():
            gc.collect()
            tables = tables_of(self.connection(connection))
            if all(tables[key] == size for key, size in expected.items()):
                return tables

        return self.world.until(reached)

    def op_wait_pings(self, connection=None, sent=0, received=0):
        """Answers once as many PINGs have been sent and received; PONGs are not counted."""

        def reached():
            live = self.connection(connection)
            if live.pings_sent >= sent and live.pings_received >= received:
                return self.describe_connection(live)

        return self.world.until(reached)

    def op_disconnect(self, connection=None):
        """Closes a connection as Foolscap does: what is queued leaves, then close_notify."""
        self.connection(connection).transport.loseConnection()

    def op_abort(self, connection=None):
        """Ends a connection at once, by a reset."""
        self.connection(connection).transport.abortConnection()

    def op_pause(self, connection=None):
        """Stops reading from a connection."""
        self.connection(connection).transport.pauseProducing()

    def op_resume(self, connection=None):
        self.connection(connection).transport.resumeProducing()

    def op_ping(self, connection=None, number=0):
        """Sends a PING and answers when the PONG of that number has arrived. A number above 2**28 cannot be taken for
        something else on a connection that is in use."""
        live = self.connection(connection)
        expected = bytearray()
        if number:
            int2b128(number, expected.extend)
        expected += PONG
        if live.captured is None:
            live.captured = bytearray()
        begin = len(live.captured)
        live.sendPING(number)
        return self.world.until(lambda: True if live.captured.find(expected, begin) >= 0 else None)

    def op_raw(self, bytes, connection=None, opens=0):
        """Sends bytes (hexadecimal) as they are. opens is how many OPENs are among them, so that what Foolscap sends
        afterwards counts on from there."""
        live = self.connection(connection)
        data = notation.decode({"bytes": bytes}, self.world)
        live.openCount += opens
        live.transport.write(data)

    def op_capture(self, connection=None):
        """Begins to keep what a connection receives, or begins anew."""
        self.connection(connection).captured = bytearray()

    def op_captured(self, connection=None):
        """What has been received since capture, in hexadecimal; also of a connection that has ended."""
        return (self.connection(connection).captured or b"").hex()

    def op_wait_captured(self, bytes, connection=None):
        """Answers, like captured, once it contains these bytes (hexadecimal)."""
        live = self.connection(connection)
        wanted = notation.decode({"bytes": bytes}, self.world)
        return self.world.until(lambda: live.captured.hex() if live.captured and wanted in live.captured else None)

    # Negotiation.

    def op_negotiations(self):
        """Each negotiation that got as far as the peer's hello: that hello, the decision if the peer made it, and the
        error if there was one."""
        return self.world.negotiations

    def op_hold_hellos(self):
        """From now on negotiations stop, with an event hello_held, before they send their hello."""
        self.world.holding_hellos = True

    def op_release_hellos(self):
        """Lets them go on, the oldest first, and holds no more; how many there were."""
        self.world.holding_hellos = False
        held, self.world.held_hellos = self.world.held_hellos, []
        for negotiation in held:
            negotiation.release_hello()
        return len(held)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--cert", metavar="FILE", help="the Tub's certificate and key; made when there is no such file")
    add("--no-listen", action="store_true")
    add("--port", type=int, default=0, help="on 127.0.0.1; any by default")
    add("--location", metavar="HINTS", help="instead of tcp:127.0.0.1:PORT; commas between hints; none for none")
    add("--keepalive", type=float, default=240, metavar="SECONDS", help="of silence before a PING")
    add("--disconnect", type=float, metavar="SECONDS", help="of silence before the connection is given up")
    add("--handle-old-duplicates", type=int, metavar="SECONDS")
    add("--refuse-gifts", action="store_true")
    add("--safe-tracebacks", action="store_true", help="send no tracebacks to peers")
    add("--hide-remote-exception-types", action="store_true")
    add("--log-local-failures", action="store_true")
    add("--tls12", action="store_true", help="nothing newer than TLS 1.2")
    add("--vocabulary", type=int, choices=(0, 1), help="the only table to offer")
    add("--hello-without", action="append", default=[], metavar="KEY")
    add("--hello-with", action="append", default=[], metavar="KEY=VALUE")
    add("--verbose", action="store_true", help="Foolscap's log on standard error")
    return parser.parse_args()


def main():
    options = parse_arguments()
    # Foolscap prints to standard output when something goes wrong, which must not end up between the replies.
    replies = os.dup(1)
    os.dup2(2, 1)
    # Integers of any length are to be written in decimal.
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    control = Control(options)
    reactor.callWhenRunning(stdio.StandardIO, control, 0, replies)
    reactor.run()


if __name__ == "__main__":
    main()
