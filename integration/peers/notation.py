"""Foolscap's values as JSON, without ambiguity and without loss.

    None, True, False             null, true, false
    int, of any size              12345678901234567890
    float                         {"float": "1.5"}          also "nan", "inf", "-inf", "-0.0"
    str                           "text"
    bytes                         {"bytes": "00ff"}         hexadecimal
    Decimal                       {"decimal": "1.50"}
    list                          [1, 2]
    tuple                         {"tuple": [1, 2]}
    set, frozenset                {"set": [1, 2]}, {"frozenset": [1, 2]}
    dict                          {"dict": [[key, value], ...]}

    sharing and cycles            {"def": 1, "is": [{"ref": 1}]} is a list that contains itself. Written for a list,
                                  dict, set or non-empty tuple that occurs more than once; not for the members of sets
                                  and the keys of dicts, which cannot contain themselves.
    large bytes                   {"pattern": 8388608}      that many bytes of pattern(); written instead of more than
                                                            4096 bytes when they are the pattern
                                  {"digest": "ab...", "length": 5000}
                                                            SHA-256; written instead of other bytes longer than that

    a reference to a peer's object            {"remote": "r1"}       the handle under which this process holds it
    an object of this process                 {"object": "root"}     its name; written when it has come home
    a bound method of an object               {"method": ["root", "echo"]}
    SturdyRef, the Copyable that every Foolscap knows
                                              {"sturdyref": "pb://..."}

Only read:

    something Foolscap cannot serialise       {"unserialisable": true}
    the number of the call in a flood         {"index": true}

Only written:

    anything else                             {"opaque": "repr of it"}

Sets and dicts are written in an order of their own: whoever compares notations sorts them first.
"""

import hashlib
from decimal import Decimal

from foolscap.referenceable import Referenceable, RemoteReference, SturdyRef

LONGEST_BYTES = 4096


def pattern(length):
    """Bytes that repeat with a period of 251: a prime, so that a shift by any power of two shows."""
    period = bytes(range(251))
    return (period * (length // len(period) + 1))[:length]


def digest(data):
    return hashlib.sha256(data).hexdigest()


class NotationError(Exception):
    pass


class References:
    """What a notation may name: this process's own objects, and the handles of those it holds of its peers."""

    def remote(self, handle):
        raise NotationError("there is no handle %r here" % (handle,))

    def object(self, name):
        raise NotationError("there is no object %r here" % (name,))

    def handle_of(self, remote_reference):
        raise NotationError("handles are not kept here")

    def name_of(self, referenceable):
        raise NotationError("objects have no names here")


class Unserialisable:
    """Of no type that Foolscap knows."""


def decode(node, references, index=None):
    return _Decoder(references, index).value(node)


def decode_arguments(args, kwargs, references, index=None):
    """The arguments of one call, which can share parts with each other."""
    decoder = _Decoder(references, index)
    positional = [decoder.value(arg) for arg in args]
    return positional, {key: decoder.value(arg) for key, arg in kwargs.items()}


def encode(value, references):
    return _Encoder(references, value).node(value)


class _Unfinished:
    """A tuple that is being read: it cannot exist before its members do, but one of them may lead back to it."""

    def __init__(self):
        self.places = []  # functions that put the finished tuple where it was referred to


class _Decoder:
    def __init__(self, references, index):
        self.references = references
        self.index = index
        self.defined = {}

    def value(self, node, place=None):
        """The value of a node. place stores a value where this one belongs; without it the value cannot be patched
        in later, so it cannot be a tuple that is still being read."""
        if node is None or isinstance(node, (bool, int, str)):
            return node
        if isinstance(node, list):
            return self.fill_list([], node)
        if not isinstance(node, dict):
            raise NotationError("a bare %s has no meaning here" % type(node).__name__)
        if "def" in node:
            return self.define(node["def"], node["is"])
        if "ref" in node:
            return self.refer(node["ref"], place)
        for name, read in self.READERS.items():
            if name in node:
                return read(self, node[name])
        raise NotationError("not in the notation: %r" % (node,))

    def define(self, label, node):
        if isinstance(node, list):
            self.defined[label] = []
            return self.fill_list(self.defined[label], node)
        if "dict" in node:
            self.defined[label] = {}
            return self.fill_dict(self.defined[label], node["dict"])
        if "set" in node:
            self.defined[label] = set()
            self.defined[label].update(self.value(member) for member in node["set"])
            return self.defined[label]
        unfinished = self.defined[label] = _Unfinished()
        value = self.defined[label] = self.value(node)
        for store in unfinished.places:
            store(value)
        return value

    def refer(self, label, place):
        value = self.defined[label]
        if isinstance(value, _Unfinished):
            if place is None:
                raise NotationError("a tuple cannot contain itself directly")
            value.places.append(place)
            return None
        return value

    def fill_list(self, target, nodes):
        for position, node in enumerate(nodes):
            target.append(None)
            target[position] = self.value(node, lambda value, position=position: target.__setitem__(position, value))
        return target

    def fill_dict(self, target, pairs):
        for key_node, node in pairs:
            key = self.value(key_node)
            target[key] = self.value(node, lambda value, key=key: target.__setitem__(key, value))
        return target

    def method(self, names):
        name, method = names
        return getattr(self.references.object(name), "remote_" + method)

    READERS = {
        "float": lambda self, text: float(text),
        "bytes": lambda self, text: bytes.fromhex(text),
        "decimal": lambda self, text: Decimal(text),
        "tuple": lambda self, nodes: tuple([self.value(node) for node in nodes]),
        "set": lambda self, nodes: {self.value(node) for node in nodes},
        "frozenset": lambda self, nodes: frozenset([self.value(node) for node in nodes]),
        "dict": lambda self, pairs: self.fill_dict({}, pairs),
        "pattern": lambda self, length: pattern(length),
        "remote": lambda self, handle: self.references.remote(handle),
        "object": lambda self, name: self.references.object(name),
        "method": method,
        "sturdyref": lambda self, furl: SturdyRef(furl),
        "unserialisable": lambda self, _: Unserialisable(),
        "index": lambda self, _: self.index,
    }


class _Encoder:
    def __init__(self, references, root):
        self.references = references
        self.labels = {}  # identity of a container that occurs more than once: None, or its label once it is written
        self.find_shared(root)

    @staticmethod
    def is_tracked(value):
        return isinstance(value, (list, dict, set)) or (isinstance(value, tuple) and value != ())

    def find_shared(self, root):
        seen = set()
        pending = [root]
        while pending:
            value = pending.pop()
            if self.is_tracked(value):
                if id(value) in seen:
                    self.labels[id(value)] = None
                    continue
                seen.add(id(value))
            if isinstance(value, (list, tuple)):
                pending.extend(value)
            elif isinstance(value, dict):
                pending.extend(value.values())

    def node(self, value):
        identity = id(value)
        if not self.is_tracked(value) or identity not in self.labels:
            return self.content(value, self.node)
        if self.labels[identity] is not None:
            return {"ref": self.labels[identity]}
        label = self.labels[identity] = sum(label is not None for label in self.labels.values()) + 1
        return {"def": label, "is": self.content(value, self.node)}

    def hashable(self, value):
        """The node of a member of a set or of a key."""
        return self.content(value, self.hashable)

    def content(self, value, inner):
        if value is None or isinstance(value, (bool, int, str)):
            return value
        if isinstance(value, float):
            return {"float": repr(value)}
        if isinstance(value, bytes):
            return self.byte_string(value)
        if isinstance(value, Decimal):
            return {"decimal": str(value)}
        if isinstance(value, list):
            return [inner(member) for member in value]
        if isinstance(value, tuple):
            return {"tuple": [inner(member) for member in value]}
        if isinstance(value, set):
            return {"set": [self.hashable(member) for member in value]}
        if isinstance(value, frozenset):
            return {"frozenset": [self.hashable(member) for member in value]}
        if isinstance(value, dict):
            return {"dict": [[self.hashable(key), inner(member)] for key, member in value.items()]}
        if isinstance(value, RemoteReference):
            return {"remote": self.references.handle_of(value)}
        if isinstance(value, Referenceable):
            return {"object": self.references.name_of(value)}
        if isinstance(value, SturdyRef):
            return {"sturdyref": value.getURL()}
        if isinstance(getattr(value, "__self__", None), Referenceable):
            return {"method": [self.references.name_of(value.__self__), value.__name__[len("remote_"):]]}
        return {"opaque": repr(value)}

    @staticmethod
    def byte_string(value):
        if len(value) <= LONGEST_BYTES:
            return {"bytes": value.hex()}
        if value == pattern(len(value)):
            return {"pattern": len(value)}
        return {"digest": digest(value), "length": len(value)}
