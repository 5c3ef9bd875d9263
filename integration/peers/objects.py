"""The objects that a peer offers to be called. Each keeps what was done to it where peer.py can read it."""

import gc
import io

from twisted.internet import defer, reactor, task
from twisted.python.failure import Failure
from zope.interface import implementer

from foolscap.appserver.services import FileUploaderReader
from foolscap.constraint import Any, IntegerConstraint
from foolscap.referenceable import Referenceable
from foolscap.remoteinterface import RemoteInterface
from foolscap.schema import ByteStringConstraint, DictOf, ListOf, Optional
from foolscap.tokens import Violation

import copies
import notation


class PeerError(Exception):
    """An exception of a type that only this program knows."""


EXCEPTIONS = {
    kind.__name__: kind
    for kind in (
        ArithmeticError,
        AssertionError,
        AttributeError,
        KeyError,
        NotImplementedError,
        PeerError,
        RuntimeError,
        TypeError,
        ValueError,
        Violation,
        ZeroDivisionError,
    )
}


def text(value):
    """Names arrive as either of Python's string types."""
    return value.decode("utf-8") if isinstance(value, bytes) else value


class Offered(Referenceable):
    """An object with a name, by which it can be spoken of on both sides of the control channel."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        world.introduce(self)

    def state(self):
        return {}


class Child(Offered):
    """What Root gives out references to."""

    def remote_name(self):
        return self.name

    def remote_echo(self, value):
        return value

    def remote_fail(self, message):
        raise ValueError(text(message))


class Source(Offered):
    """What can be read: the pattern, after which it ends, or fails. late says after how many seconds it answers."""

    def __init__(self, world, name, length=3 << 20, fails=False, late=None):
        super().__init__(world, name)
        self.file = io.BytesIO(notation.pattern(length))
        self.fails = fails
        self.late = late
        self.reading = False

    def remote_read(self, size):
        if self.reading:
            raise PeerError("two reads at a time")
        data = self.file.read(size)
        if self.fails and not data:
            raise PeerError("the disk is broken")
        if self.late is None:
            return data
        self.reading = True
        return task.deferLater(reactor, self.late, self.answer, data)

    def answer(self, data):
        self.reading = False
        return data


class Root(Offered):
    def __init__(self, world, name):
        super().__init__(world, name)
        self.child = Child(world, name + ".same")
        self.given = 0
        self.held = []
        self.waiting = []  # pairs of a key and the Deferred of the call that waits for it
        self.log = []
        self.notes = 0

    def state(self):
        return {
            "held": len(self.held),
            "waiting": len(self.waiting),
            "logged": len(self.log),
            "notes": self.notes,
        }

    # Values.

    def remote_add(self, a, b):
        return a + b

    def remote_echo(self, value):
        return value

    def remote_arguments(self, *args, **kwargs):
        return (list(args), kwargs)

    def remote_greet(self, name, greeting="Hello", mark="!"):
        return "%s, %s%s" % (text(greeting), text(name), text(mark))

    def remote_none(self):
        return None

    def remote_typename(self, value):
        return type(value).__name__

    def remote_repr(self, value):
        return repr(value)

    def remote_same(self, a, b):
        """Whether both arguments are one object here."""
        return a is b

    def remote_sink(self, data):
        return len(data)

    def remote_digest(self, data):
        return notation.digest(data)

    def remote_get_pattern(self, length):
        return notation.pattern(length)

    def remote_get_version(self):
        return {b"http://foolscap-go/peer/v1": {b"largest": 2**63}, b"application-version": b"peer/1"}

    def remote_furl(self):
        return self.world.furl_of(self)

    # Failures.

    def remote_fail(self, message):
        raise ValueError(text(message))

    def remote_fail_type(self, name, message):
        raise EXCEPTIONS[text(name)](text(message))

    def remote_fail_later(self, message):
        failure = Failure(PeerError(text(message)))
        return task.deferLater(reactor, 0, lambda: failure)

    def remote_unserialisable(self):
        return notation.Unserialisable()

    def remote_unserialisable_inside(self):
        return ["before", ["deeper", notation.Unserialisable()], "after"]

    # Order.

    def remote_note(self, value=None):
        self.notes += 1

    def remote_notes(self):
        return self.notes

    def remote_log(self, value):
        self.log.append(value)

    def remote_logged(self):
        return list(self.log)

    def remote_slow(self, seconds, value):
        return task.deferLater(reactor, seconds, lambda: value)

    def remote_block(self, key=None):
        """Answers when somebody releases the key."""
        waiting = defer.Deferred()
        self.waiting.append((text(key), waiting))
        return waiting

    def remote_release(self, key=None, value=None):
        """Answers, with a value, every call that waits for the key; how many there were."""
        return self.release(key, value)

    def release(self, key=None, value=None):
        key = text(key)
        released = [waiting for waiting_for, waiting in self.waiting if waiting_for == key]
        self.waiting = [entry for entry in self.waiting if entry[0] != key]
        for waiting in released:
            waiting.callback(value)
        return len(released)

    # Bulk.

    def remote_upload(self, source):
        """Reads as Foolscap's own server of uploads does; how much there was, and its digest."""
        received = io.BytesIO()
        done = FileUploaderReader(received, source).read_file()
        return done.addCallback(lambda _: (len(received.getvalue()), notation.digest(received.getvalue())))

    def remote_upload_part(self, source, size):
        """Reads once; how much there was."""
        return source.callRemote("read", size).addCallback(len)

    def remote_get_source(self, length, fails=False, late=None):
        self.given += 1
        return Source(self.world, "%s.source.%d" % (self.name, self.given), length, fails, late)

    # References.

    def remote_call_back(self, ref, method, value):
        return ref.callRemote(text(method), value)

    def remote_call_back_only(self, ref, method, value):
        ref.callRemoteOnly(text(method), value)

    def remote_call_back_each(self, ref, method, values):
        """One call for each value, all sent before any is answered; the answers in the order of the values."""
        return defer.gatherResults([ref.callRemote(text(method), value) for value in values])

    def remote_call_function(self, function, value):
        """Calls what is a bound method, or a function, on the other side."""
        return function.callRemote(value=value)

    def remote_call_held(self, value):
        """Calls every function that is held; the answers in their order."""
        return defer.gatherResults([function.callRemote(value=value) for function in self.held])

    def remote_bounce(self, ref, depth):
        """Calls bounce on the other side, which calls it here, and so on; how many calls that took."""
        if depth == 0:
            return 0
        answer = ref.callRemote("bounce", self, depth - 1)
        return answer.addCallback(lambda below: below + 1)

    def remote_hold(self, ref):
        self.held.append(ref)

    def remote_hold_many(self, refs):
        self.held.extend(refs)

    def remote_drop(self):
        self.held = []
        reactor.callLater(0, gc.collect)

    def remote_held(self):
        return len(self.held)

    def remote_get_held(self):
        return list(self.held)

    def remote_get_ref(self):
        """A reference to an object of its own, which lives only as long as somebody refers to it."""
        self.given += 1
        return Child(self.world, "%s.%d" % (self.name, self.given))

    def remote_get_same(self):
        return self.child

    def remote_get_self(self):
        return self

    def remote_get_method(self):
        """A reference to a bound method: those have negative numbers on the wire."""
        return self.child.remote_echo


class RIVisitor(RemoteInterface):
    __remote_name__ = "RIVisitor.foolscap-go"

    def meet(name=str):
        return str


class RIPeer(RemoteInterface):
    __remote_name__ = "RIPeer.foolscap-go"

    def add(a=int, b=int):
        return int

    def greet(name=str):
        return str

    def short(data=ByteStringConstraint(10)):
        return int

    def int32(value=IntegerConstraint()):
        return IntegerConstraint()

    def names(ages=DictOf(str, int)):
        return ListOf(str)

    def welcome(visitor=RIVisitor, name=str):
        return str

    def visitor():
        return RIVisitor

    def wrong_result():
        return int

    def anything(value=Any()):
        return Any()

    def repeat(text=str, end=Optional(str, "."), times=Optional(int, 1)):
        return str


@implementer(RIVisitor)
class Visitor(Offered):
    def remote_meet(self, name):
        return "%s met %s" % (self.name, name)


@implementer(RIPeer)
class Peer(Offered):
    """Enforces a schema on what is asked of it and on what it answers."""

    def remote_add(self, a, b):
        return a + b

    def remote_greet(self, name):
        return "Hello, %s!" % name

    def remote_short(self, data):
        return len(data)

    def remote_int32(self, value):
        return value

    def remote_names(self, ages):
        return sorted(ages)

    def remote_welcome(self, visitor, name):
        return visitor.callRemote("meet", name)

    def remote_visitor(self):
        return Visitor(self.world, self.name + ".visitor")

    def remote_wrong_result(self):
        return "not an int"

    def remote_anything(self, value):
        return value

    def remote_repeat(self, text, end=".", times=1):
        return text * times + end


class Copier(Offered):
    """Sends and receives what travels by copy."""

    def remote_echo(self, value):
        return value

    def remote_describe(self, value):
        return copies.describe(value)

    def remote_same(self, values):
        return values[0] is values[1]

    def remote_within(self, node):
        """Whether a node is the first of what is beside it."""
        return node.extra[0] is node

    def remote_make(self, what):
        return copies.MAKERS[text(what)]()

    def remote_send(self, ref, what):
        """What comes back when a value is sent to be echoed."""
        return ref.callRemote("echo", copies.MAKERS[text(what)]()).addCallback(copies.describe)

    def remote_store(self, what):
        """The bytes as which the Tub stores what is made."""
        return self.world.tub.serialize(copies.MAKERS[text(what)]())

    def remote_restore(self, data):
        return self.world.tub.unserialize(data).addCallback(copies.describe)


KINDS = {"root": Root, "copier": Copier, "child": Child, "peer": Peer, "visitor": Visitor, "source": Source}
