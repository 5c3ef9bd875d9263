"""Classes that travel by copy, in each of the ways that Foolscap has for that."""

from datetime import datetime, timezone

from twisted.python.failure import Failure

from foolscap.api import Copyable, RemoteCopy, registerCopier, registerRemoteCopyFactory
from foolscap.copyable import AttributeDictConstraint
from foolscap.constraint import Optional


class Place(Copyable, RemoteCopy):
    """The same class on both sides, which says what its attributes have to be."""

    typeToCopy = copytype = "example.Place"
    stateSchema = AttributeDictConstraint(("x", int), ("y", int), ("remark", Optional(str, None)))

    def __init__(self, x=0, y=0):
        self.x = x
        self.y = y


class Node(Copyable, RemoteCopy):
    """One that can contain others."""

    typeToCopy = copytype = "example.Node"

    def __init__(self, name="", extra=None):
        self.name = name
        self.children = []
        self.extra = extra


class Unknown(Copyable):
    """One of which nobody else has heard."""

    typeToCopy = "example.Unknown"

    def __init__(self, ref=None):
        self.ref = ref


class Extended(Place):
    """A subclass of a class that others know, with an attribute that they do not."""

    typeToCopy, copytype = "example.Place", None

    def __init__(self):
        super().__init__(1, 2)
        self.colour = "red"


# A class that Foolscap knows nothing of: the state is made of it, and it is made of the state.
registerCopier(datetime, lambda moment: ("example.Moment", {"seconds": int(moment.timestamp())}))
registerRemoteCopyFactory("example.Moment", lambda state: datetime.fromtimestamp(state["seconds"], timezone.utc))


def failure():
    try:
        raise ValueError("no, é")
    except ValueError:
        return Failure()


def twice():
    place = Place(1, 2)
    return [place, place]


def nested():
    node = Node("a", extra=(Place(3, 4), {"k": [datetime.fromtimestamp(7, timezone.utc)]}))
    node.children.append(Node("b"))
    return node


MAKERS = {
    "place": lambda: Place(1, 2),
    "twice": twice,
    "nested": nested,
    "moment": lambda: datetime.fromtimestamp(7, timezone.utc),
    "unknown": Unknown,
    "extended": Extended,
    "failure": lambda: [failure()],
}


def describe(value):
    """What there is, as plain values: a copy is a tuple of the name of its class and its attributes."""
    if isinstance(value, list):
        return [describe(item) for item in value]
    if isinstance(value, tuple):
        return tuple([describe(item) for item in value])
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return ("datetime", int(value.timestamp()))
    if isinstance(value, (Place, Node)):
        return (type(value).__name__, describe(dict(value.__dict__)))
    if isinstance(value, Failure):
        return (type(value).__name__, {"value": value.value, "traceback": value.traceback, "parents": value.parents})
    return value
