"""Remote interfaces that extend others."""
from foolscap.api import RemoteInterface
from foolscap.logging.interfaces import RISubscription


class RIRoot(RemoteInterface):
    def text(a=int):
        return str


class RISame(RemoteInterface):
    def text(a=int):
        return str


class RILeft(RIRoot):
    def leftHand():
        return bool


class RIRight(RIRoot):
    def right():
        return bool


class RIDiamond(RILeft, RIRight):
    def left_hand():
        return bool


class RIRedefined(RIRoot):
    def text(a=int):
        return bytes


class RIForeign(RISubscription):
    def text(a=int):
        return str


class RITwice(RIRoot, RISame):
    pass


class RILeftClient(RemoteInterface):
    """Has the name of what is generated for RILeft."""
    def text(a=int):
        return str
