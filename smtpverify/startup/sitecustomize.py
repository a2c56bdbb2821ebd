"""Python runs this at its start where PYTHONPATH leads here: smtplib verifies from its first import on.

Every Python that is started below the one that was meant runs it too, so that it costs nothing until smtplib
is imported, and needs no Python newer than 3.5 to say that it needs one.
"""

import os
import sys
from _thread import get_ident

TYPE_CHECKING = False  # without typing
if TYPE_CHECKING:
    from typing import Any  # noqa: F401 # in the comments below


def _inject():  # type: () -> None
    if sys.version_info < (3, 10):  # noqa: UP036 # see above
        raise ImportError("smtpverify, which is to verify its servers, needs Python 3.10 or later")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if "smtpverify" not in sys.modules:
        # This one, and not what the path leads to: it may belong to another environment, or to none.
        from importlib.util import module_from_spec, spec_from_file_location

        spec = spec_from_file_location(
            "smtpverify", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
        )
        if spec is None or spec.loader is None:
            raise ImportError("smtpverify can't be loaded from " + package)
        module = sys.modules["smtpverify"] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules["smtpverify"]
            raise
    from smtpverify.environment import inject

    inject(_environment)


class _Loader:
    """Loads smtplib as its own loader does, and has it injected before anybody sees it."""

    def __init__(self, loader):  # type: (Any) -> None
        self._loader = loader

    def __getattr__(self, name):  # type: (str) -> Any
        return getattr(self._loader, name)

    def exec_module(self, module):  # type: (Any) -> None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        try:
            _inject()
        except Exception as error:
            # Rather no mail than mail to anybody: the import fails. A module that is loaded anew stays.
            for name in ("SMTP", "SMTP_SSL", "LMTP"):
                vars(module).pop(name, None)
            raise ImportError("smtplib: smtpverify can't be injected: " + str(error)) from error


def _eager(loader):  # type: (Any) -> Any
    """The loader itself: what is loaded has to be there to be injected."""
    from importlib.util import LazyLoader

    while isinstance(loader, LazyLoader):
        loader = loader.loader  # type: ignore[attr-defined]
    return loader


class _Finder:
    """Finds smtplib where everybody else does."""

    def __init__(self):  # type: () -> None
        self._asking = set()  # type: set[int] # threads

    def find_spec(self, name, path=None, target=None):  # type: (str, Any, Any) -> Any
        # Others may ask us in their turn: one that wraps all finders (Mercurial's), or another of our kind.
        if name != "smtplib" or get_ident() in self._asking:
            return None
        self._asking.add(get_ident())
        try:
            for finder in sys.meta_path:
                find_spec = getattr(finder, "find_spec", None)
                if finder is not self and find_spec is not None:
                    spec = find_spec(name, path, target)
                    if spec is not None:
                        spec.loader = _Loader(_eager(spec.loader))
                        return spec
        finally:
            self._asking.discard(get_ident())
        return None


def _run_next():  # type: () -> None
    """Run the sitecustomize that this one has displaced."""
    from importlib.machinery import PathFinder

    here = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.abspath(entry) for entry in sys.path]
    if here in places:
        spec = PathFinder.find_spec("sitecustomize", sys.path[places.index(here) + 1 :])
        if spec is not None and spec.loader is not None:
            from importlib.util import module_from_spec

            module = sys.modules["sitecustomize"] = module_from_spec(spec)
            spec.loader.exec_module(module)


# As it is now: what a program clears before it imports smtplib would be pins that nobody compares.
_environment = {name: value for name, value in os.environ.items() if name.startswith("SMTPVERIFY_")}
if _environment.get("SMTPVERIFY_INJECT", "0") not in ("", "0"):
    sys.meta_path.insert(0, _Finder())
    if "smtplib" in sys.modules:  # by a .pth file
        try:
            _inject()
        except Exception as error:  # noqa: BLE001 # any at all leaves smtplib as it was
            sys.exit("smtplib: smtpverify can't be injected: " + str(error))
_run_next()
