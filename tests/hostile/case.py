"""What a case is: a server that misbehaves in one way, and what a client must do about it."""

from __future__ import annotations

import enum
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.bed import HOST

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from tests.bed import Issued, World
    from tests.hostile.conversation import Conversation

    Play: TypeAlias = Callable[[Conversation], None]
    Certificate: TypeAlias = Callable[[World], Issued | ssl.SSLContext]


class Must(enum.Enum):
    """What a client must do. Whatever it does, `trial.judge` says what it may never do."""

    RAISE = "raise"
    RAISE_WITHIN_BOUNDS = "raise within bounds"  # of time and memory, which the server tries to exceed
    COMPLETE = "complete"  # log in and deliver, as with any good server
    END = "end within bounds"  # both are right, for ever is not


class Step(enum.Enum):
    """Where a conversation can go wrong, in the order of a session with STARTTLS."""

    GREETING = "the greeting"
    EHLO = "EHLO in plaintext"
    STARTTLS = "STARTTLS"
    HANDSHAKE = "the TLS handshake"
    EHLO_IN_TLS = "EHLO in TLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "the message"
    END = "the message's final dot"
    RSET = "RSET"  # follows on a recipient that was refused
    QUIT = "QUIT"


EVERYWHERE = tuple(Step)
# Where the server owes a reply.
REPLIES = tuple(step for step in Step if step not in (Step.HANDSHAKE, Step.BODY))
IN_TLS = EVERYWHERE[EVERYWHERE.index(Step.EHLO_IN_TLS) :]


def good_certificate(world: World) -> Issued:
    return world.good()


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: of the function that plays it, and of the variant.
        group: of what kind it is; a heading.
        must: what a client must do.
        source: who describes it, or forbids it: an RFC's section, a CVE, a paper.
        what: what the server does, in a line.
        play: does it, on one connection.
        implicit: TLS from the first byte, not STARTTLS.
        certificate: the server's.
        impostor: the certificate proves nothing, so what comes inside TLS is lost as well.
        host: what the client asks for.
        message: which of `errand.MESSAGES` it sends.
    """

    name: str
    group: str
    must: Must
    source: str
    what: str
    play: Play
    implicit: bool = False
    certificate: Certificate = good_certificate
    impostor: bool = False
    host: str = HOST
    message: str = "short"


CASES: dict[str, Case] = {}
"""The table, filled by the modules of `tests.hostile.cases`."""

GROUPS: dict[str, str] = {}
"""The first line of each of these modules' docstrings -> the others."""


def add(case: Case) -> None:
    assert case.name not in CASES, case.name
    assert "\n" not in case.what, f"{case.name} wants a docstring of one line"
    CASES[case.name] = case


def case(
    must: Must,
    source: str,
    *,
    at: Iterable[Step] = (),
    each: Mapping[str, Any] | None = None,
    both: bool = False,
    **fields: Any,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Put a function into the table; its docstring says what the server does.

    Args:
        must, source: as in `Case`.
        at: steps; the function is a case at each, and is called with the step. In the docstring {} is its
            name.
        each: the same for other things than steps: suffix of the name -> argument.
        both: a case on STARTTLS, and another on TLS from the first byte.
        fields: others of `Case`.
    """
    variants = dict(each or {})
    variants.update({f"at_{step.name.lower()}": step for step in at})

    def register(play: Callable[..., None]) -> Callable[..., None]:
        what = inspect.getdoc(play) or ""
        group, _, introduction = (inspect.getdoc(inspect.getmodule(play)) or "").partition("\n")
        group = group.rstrip(".")
        GROUPS.setdefault(group, introduction.strip())
        plain = Case(play.__name__, group, must, source, what, play, **fields)
        for one in _variants(plain, variants) if variants else [plain]:
            for twin in _on_both(one) if both else [one]:
                add(twin)
        return play

    return register


def _variants(plain: Case, variants: Mapping[str, Any]) -> Iterator[Case]:
    for suffix, argument in variants.items():
        shown = argument.value if isinstance(argument, Step) else suffix.replace("_", " ")
        yield replace(
            plain,
            name=f"{plain.name}_{suffix}",
            what=plain.what.format(shown),
            play=_with(plain.play, argument),
            # The message is accepted by then, and nothing that becomes of QUIT changes that.
            must=Must.END if argument is Step.QUIT else plain.must,
            # A short one would be on its way before anything can happen to it.
            message="large" if argument is Step.BODY else plain.message,
        )


def _with(play: Callable[..., None], argument: object) -> Play:
    return lambda conversation: play(conversation, argument)


def _on_both(one: Case) -> Iterator[Case]:
    yield replace(one, name=f"{one.name}_on_starttls")
    yield replace(one, name=f"{one.name}_on_implicit_tls", implicit=True)
