"""A Foolscap Tub that reaches others over Tor only: calls add and call_back of an object, and prints what they answer.

    client.py ENDPOINT FURL

ENDPOINT is a Twisted endpoint: socks=tcp:HOST:PORT for tor's SOCKS port, control=unix:PATH for its control port. A
connection over Tor may break, so it is tried again until it works; whoever has started this program ends it when that
takes too long.
"""

import json
import sys

sys.dont_write_bytecode = True

from foolscap import pb
from foolscap.api import Referenceable
from foolscap.connections import tor
from twisted.internet import defer, reactor, task
from twisted.internet.endpoints import clientFromString


class Calculator(Referenceable):
    def remote_add(self, a, b):
        return a + b


@defer.inlineCallbacks
def main(reactor, endpoint, furl):
    kind, _, description = endpoint.partition("=")
    make = {"socks": tor.socks_endpoint, "control": tor.control_endpoint}[kind]
    handler = make(clientFromString(reactor, description))
    tub = pb.Tub()
    tub.removeAllConnectionHintHandlers()
    tub.addConnectionHintHandler("tor", handler)
    tub.startService()
    while True:
        try:
            remote = yield tub.getReference(furl)
            total = yield remote.callRemote("add", 1, 2)
            back = yield remote.callRemote("call_back", Calculator())
            break
        except Exception as e:
            print("another attempt: %r" % (e,), file=sys.stderr)
            yield task.deferLater(reactor, 0.5)
    print(json.dumps([total, back]))


task.react(main, sys.argv[1:])
