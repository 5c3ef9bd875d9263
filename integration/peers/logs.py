"""Makes files of each sort that Foolscap's logging writes.

logs.py DIR: an incident in DIR/incidents, what a tail has saved in DIR/tail.flog, a gatherer's files in DIR/gatherer, and
what a program with FLOGFILE writes in DIR/observer.flog.bz2.
"""

import os
import socket
import sys

from twisted.internet import defer, reactor, task
from twisted.python.failure import Failure

from foolscap.api import Tub
from foolscap.logging import gatherer, incident, log, tail


def log_events(logger):
    first = logger.msg("the first", facility="a.b")
    logger.msg(format="%(x)s and %(n)04d", x="text", n=7, parent=first, data=b"bytes", many=[1, None, 2.5, {"k": "v"}])
    logger.msg("positional %s", "argument", level=log.NOISY)
    logger.msg("not a number", n=float("nan"), big=1 << 100, text="h\u00e9 \u2028")
    try:
        raise ValueError("broken")
    except ValueError:
        logger.err(Failure(), "why", level=log.SCARY)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@defer.inlineCallbacks
def until(condition):
    while not condition():
        yield task.deferLater(reactor, 0.1, lambda: None)


def content(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""


@defer.inlineCallbacks
def main(reactor, base):
    incidents = os.path.join(base, "incidents")
    logger = log.FoolscapLogger()
    logger.setIncidentReporterFactory(incident.NonTrailingIncidentReporter)
    logger.setLogDir(incidents)
    log_events(logger)
    yield until(lambda: logger.incidents_recorded)

    observer = log.LogFileObserver(os.path.join(base, "observer.flog.bz2"), log.NOISY)
    log.theLogger.addObserver(observer.msg)
    place = os.path.join(base, "gatherer")
    os.mkdir(place)
    port = free_port()
    for name, text in (("port", "tcp:%d:interface=127.0.0.1" % port), ("location", "tcp:127.0.0.1:%d" % port)):
        with open(os.path.join(place, name), "w") as f:
            f.write(text)
    collector = gatherer.GathererService(None, True, place)
    collector.verbose = False
    collector.startService()

    log_events(log.theLogger)
    tub = Tub()
    port = free_port()
    tub.listenOn("tcp:%d:interface=127.0.0.1" % port)
    tub.setLocation("tcp:127.0.0.1:%d" % port)
    tub.setOption("log-gatherer-furl", collector.my_furl)
    tub.setOption("logport-furlfile", os.path.join(base, "logport.furl"))
    tub.startService()
    options = tail.TailOptions()
    saved = os.path.join(base, "tail.flog")
    options.parseOptions(["-c", "--save-to=" + saved, tub.getLogPortFURL()])
    printers = []

    class Printer(tail.LogPrinter):
        def __init__(self, *args):
            super().__init__(*args, output=open(os.devnull, "w"))
            printers.append(self)

    tail.LogPrinter = Printer
    tailer = tail.LogTail(options)
    tailer.start(tub.getLogPortFURL(), tub.getTubID())
    yield until(lambda: b"to-present" in b" ".join(os.fsencode(n) for n in os.listdir(place)))
    present = [os.path.join(place, n) for n in os.listdir(place) if "to-present" in n][0]

    def both():
        log.msg("are you there?")
        if printers:
            printers[0].saver.f.flush()
        return b"are you there" in content(present) and b"are you there" in content(saved)

    yield until(both)
    printers[0].saver.f.flush()
    yield collector.do_rotate()
    log.theLogger.removeObserver(observer.msg)
    observer._stop()


task.react(main, sys.argv[1:])
