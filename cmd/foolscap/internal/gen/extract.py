"""Print the RemoteInterfaces of a module as JSON: python3 extract.py MODULE|FILE"""
import importlib
import importlib.util
import io
import json
import os
import sys

from foolscap import constraint, copyable, remoteinterface, schema
from foolscap.slicers.none import Nothing


def load(what):
    if not what.endswith(".py") and os.sep not in what:
        sys.path.insert(0, os.getcwd())
        return importlib.import_module(what)
    # A file of a package is imported as a part of it, so that its relative
    # imports work.
    folder, name = os.path.split(os.path.abspath(what))
    name = name[:-len(".py")] if name.endswith(".py") else name
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        name = package + "." + name
    if name.endswith(".__init__"):
        name = name[:-len(".__init__")]
    sys.path.insert(0, folder)
    return importlib.import_module(name)


def literal(value):
    """A default: its kind, and its text where that is exact."""
    if value is None:
        return {"kind": "none"}
    for kind, types in (("bool", bool), ("int", int), ("float", float), ("text", str)):
        if isinstance(value, types):
            return {"kind": kind, "text": repr(value) if kind != "text" else value}
    if isinstance(value, bytes):
        return {"kind": "bytes", "text": value.hex()}
    return {"kind": "other", "text": repr(value)}


def each(constraints):
    return [describe(c) for c in constraints]


def unknown(why):
    return {"kind": "unknown", "text": why}


def pattern(regexp):
    return regexp.pattern if regexp is not None else ""


DESCRIPTIONS = {
    constraint.Any: lambda c: {"kind": "any"},
    constraint.ByteStringConstraint: lambda c: {"kind": "bytes", "min": c.minLength, "max": c.maxLength},
    schema.UnicodeConstraint: lambda c: {
        "kind": "text", "min": c.minLength, "max": c.maxLength, "text": pattern(c.regexp)},
    constraint.IntegerConstraint: lambda c: {"kind": "int", "bytes": c.maxBytes},
    constraint.NumberConstraint: lambda c: {"kind": "number", "bytes": c.maxBytes},
    schema.BooleanConstraint: lambda c: {"kind": "bool", "text": "" if c.value is None else str(bool(c.value)).lower()},
    Nothing: lambda c: {"kind": "none"},
    schema.ListConstraint: lambda c: {
        "kind": "list", "of": [describe(c.constraint)], "min": c.minLength, "max": c.maxLength},
    schema.TupleConstraint: lambda c: {"kind": "tuple", "of": each(c.constraints)},
    schema.SetConstraint: lambda c: {
        "kind": "set", "of": [describe(c.constraint)], "max": c.maxLength, "mutable": c.mutable},
    schema.DictConstraint: lambda c: {
        "kind": "dict", "of": [describe(c.keyConstraint), describe(c.valueConstraint)], "max": c.maxKeys},
    schema.PolyConstraint: lambda c: {"kind": "choice", "of": each(c.alternatives)},
    constraint.Optional: lambda c: {"kind": "optional", "of": [describe(c.constraint)], "default": literal(c.default)},
    constraint.Shared: lambda c: describe(c.constraint),
    copyable.AttributeDictConstraint: lambda c: {
        "kind": "attributes", "names": list(c.keys), "of": each(c.keys.values()),
        "ignore": bool(c.ignoreUnknown), "accept": bool(c.acceptUnknown)},
    remoteinterface.RemoteInterfaceConstraint: lambda c: {
        "kind": "interface", "text": c.interface.__remote_name__ if c.interface else ""},
    remoteinterface.LocalInterfaceConstraint: lambda c: unknown(
        "no value that is sent satisfies %s, an interface of Python objects" % c.interface.__name__),
}


def describe(c):
    if type(c) in DESCRIPTIONS:
        return DESCRIPTIONS[type(c)](c)
    return unknown("the constraint %s is not one of Foolscap's own" % type(c).__name__)


def method(name, m):
    found = {"name": name}
    if isinstance(m, remoteinterface.UnconstrainedMethod):
        found["unconstrained"] = True
    elif isinstance(m, remoteinterface.RemoteMethodSchema):
        found["arguments"] = [
            {"name": a, "constraint": describe(m.argConstraints[a])} for a in m.argumentNames]
        found["ignore"] = bool(m.ignoreUnknown)
        found["accept"] = bool(m.acceptUnknown)
        if m.responseConstraint is not None:
            found["result"] = describe(m.responseConstraint)
    else:
        found["problem"] = "%s is neither a function nor a method schema of Foolscap" % type(m).__name__
    return found


def remote_names(classes):
    return [c.__remote_name__ for c in classes
            if isinstance(c, remoteinterface.RemoteInterfaceClass) and c is not remoteinterface.RemoteInterface]


def interfaces(module):
    seen = set()
    for value in vars(module).values():
        if (isinstance(value, remoteinterface.RemoteInterfaceClass) and value is not remoteinterface.RemoteInterface
                and value.__module__ == module.__name__ and value not in seen):
            seen.add(value)
            yield {
                "class": value.__name__,
                "name": value.__remote_name__,
                "bases": remote_names(value.__bases__),
                "extends": remote_names(value.__iro__[1:]),
                "methods": [method(n, value[n]) for n in value.names(all=True)],
            }


def main():
    # What the module itself prints is not for our reader.
    out, sys.stdout = sys.stdout, io.TextIOWrapper(sys.stderr.buffer, line_buffering=True)
    module = load(sys.argv[1])
    json.dump({"module": module.__name__, "interfaces": list(interfaces(module))}, out)
    out.flush()


main()
