"""Remote interfaces with every constraint that Foolscap has."""
from foolscap.api import RemoteInterface
from foolscap.copyable import AttributeDictConstraint
from foolscap.remoteinterface import RemoteMethodSchema, UnconstrainedMethod
from foolscap.schema import (
    Any, BooleanConstraint, ByteStringConstraint, ChoiceOf, DictOf, IntegerConstraint, ListOf, Nothing, NumberConstraint,
    Optional, SetOf, Shared, TupleOf, UnicodeConstraint)
from zope.interface import Interface

print("what a module prints when it is imported does no harm")


class ILocal(Interface):
    pass


class RIListener(RemoteInterface):
    __remote_name__ = "RIListener.example.org"

    def heard(what=str):
        return None


class RIBase(RemoteInterface):
    __remote_name__ = "RIBase.example.org"

    def name():
        return UnicodeConstraint(maxLength=20)


class RIEvery(RIBase):
    __remote_name__ = "RIEvery.example.org"

    def scalars(a=Any(), b=bytes, s=str, i=int, f=float, t=bool, n=None):
        return None

    def limits(
            b=ByteStringConstraint(maxLength=10, minLength=2), s=UnicodeConstraint(maxLength=10, minLength=2),
            p=UnicodeConstraint(regexp="^[a-z\"`]+$"), small=IntegerConstraint(), i8=IntegerConstraint(8),
            i16=IntegerConstraint(16), huge=IntegerConstraint(None), number=NumberConstraint(4), yes=BooleanConstraint(True)):
        return Nothing()

    def containers(
            li=ListOf(int), bounded=ListOf(str, maxLength=30, minLength=1), nested=ListOf(ListOf(bytes, 3), 4), pair=(int, str),
            of=TupleOf(ListOf((str, int)), ByteStringConstraint(5)), single=TupleOf(int), se=SetOf(str),
            frozen=SetOf(int, maxLength=10, mutable=False), mutable=SetOf(bytes, mutable=True),
            di=DictOf(str, int), keys=DictOf(bytes, ListOf(str), maxKeys=5), deep=DictOf(int, DictOf(str, (int, int)))):
        return TupleOf(ListOf(int, 10), DictOf(str, str), (bool, None))

    def choices(
            maybe=ChoiceOf(int, None), text=ChoiceOf(bytes, str), many=ChoiceOf(ListOf(int), (int, int), None),
            shared=Shared(ListOf(int))):
        return ChoiceOf(bytes, None)

    def optional(
            first=int, flag=Optional(bool, False), limit=Optional(int, 100), since=Optional(str, ""), data=Optional(bytes, b"x"),
            ratio=Optional(float, 0.5), nothing=Optional(ChoiceOf(str, None), None), items=Optional(ListOf(int), []),
            last=Optional(Any(), (1, 2))):
        return bool

    def references(listener=RIListener, any_of=ListOf(RIListener), maybe=ChoiceOf(RIListener, None), base=RIBase):
        return RIListener

    def attributes(d=AttributeDictConstraint(("x", int), ("y", Optional(str, "")))):
        return AttributeDictConstraint(("x", int), ignoreUnknown=True)

    def local(what=ILocal):
        return None

    def camelCase(firstArg=int, second_arg=int, type=str, a__b=int, ab=int, a_b=int, ID=int, tub_id=str):
        return str

    camel_case = RemoteMethodSchema(_response=int, b=int, a=Optional(str, "s"))
    free = UnconstrainedMethod()
    ignores = RemoteMethodSchema(_response=None, a=int, __ignoreUnknown__=True)
    accepts = RemoteMethodSchema(_response=int, a=int, __acceptUnknown__=True)
