"""The public face: every name of smtplib, its signatures, and an import that costs little."""

from __future__ import annotations

import importlib.resources
import importlib.util
import inspect
import json
import pkgutil
import re
import smtplib
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

import smtpverify

ROOT = Path(smtpverify.__file__).parents[1]
CLASSES = ("SMTP", "SMTP_SSL", "LMTP")
OURS = {
    name
    for name, value in vars(smtplib).items()
    if not name.startswith("_")
    and not isinstance(value, ModuleType)
    and getattr(value, "__module__", "smtplib") == "smtplib"
}
PUBLIC = {
    name
    for name in dir(smtpverify)
    if not name.startswith("_")
    and not isinstance(getattr(smtpverify, name), ModuleType)
    and name not in ("annotations", "TYPE_CHECKING")
}
# Each costs more to import than it is worth to somebody who only imports us.
HEAVY = {
    "asyncio",
    "certifi",
    "cryptography",
    "idna",
    "importlib.metadata",
    "importlib.resources",
    "logging",
    "typing_extensions",
    "urllib.request",
}


def python(code: str, *, packages: bool = False) -> Any:
    """Run code in a fresh interpreter, with site-packages or without; return what it prints, read as JSON."""
    code = f"import json, sys; sys.path.insert(0, {str(ROOT)!r}); {code}"
    options = ["-I", "-W", "error", *([] if packages else ["-S"])]
    command = [sys.executable, *options, "-c", code]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


# --- names ---------------------------------------------------------------------------------------


def test_every_name_of_smtplib() -> None:
    assert OURS.issuperset(smtplib.__all__)
    assert OURS.issuperset({"LMTP", "SMTP_PORT", "SMTP_SSL_PORT", "LMTP_PORT", "CRLF", "bCRLF"})
    assert PUBLIC.issuperset(OURS)


@pytest.mark.parametrize("name", sorted(OURS))
def test_names_are_smtplib_s_own_but_for_the_classes(name: str) -> None:
    ours, theirs = getattr(smtpverify, name), getattr(smtplib, name)
    if name in CLASSES:
        assert ours is not theirs
        assert issubclass(ours, theirs)
        assert issubclass(ours, smtpverify.SMTP)
        assert ours.__name__ == name
    else:
        assert ours is theirs


def test_smtplib_itself_is_left_alone() -> None:
    for name in CLASSES:
        assert getattr(smtplib, name).__module__ == "smtplib"


def test_all_is_smtplib_s() -> None:
    """A program that imports everything gets no name that it did not get from smtplib."""
    assert smtpverify.__all__ == smtplib.__all__


def test_star_import() -> None:
    names: dict[str, Any] = {}
    exec("from smtpverify import *", names)
    del names["__builtins__"]
    assert set(names) == set(smtplib.__all__)
    assert names["SMTP"] is smtpverify.SMTP
    assert names["SMTPException"] is smtplib.SMTPException


def test_public_names() -> None:
    """Each can be imported, is typed as exported by name, and stands in the reference."""
    source = Path(smtpverify.__file__).read_text("utf-8")
    reference = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert PUBLIC.issuperset(
        {"connect", "Trust", "SendResult", "SMTPVerifyError", "PlaintextWarning", "LMTP"}
    )
    for name in sorted(PUBLIC):
        names: dict[str, Any] = {}
        exec(f"from smtpverify import {name}", names)
        assert names[name] is getattr(smtpverify, name)
        assert re.search(rf"\b{name} as {name}\b", source), name
        assert re.search(rf"(?:smtpverify\.|`){name}\b", reference), name


def test_dir_knows_what_was_not_asked_for_yet() -> None:
    listed, loaded = python("import smtpverify; print(json.dumps([dir(smtpverify), list(vars(smtpverify))]))")
    assert set(listed) >= PUBLIC
    assert "SMTP" not in loaded
    assert listed == sorted(set(listed))
    assert set(dir(smtpverify)) >= PUBLIC


def test_no_other_name() -> None:
    with pytest.raises(AttributeError, match=r"^module 'smtpverify' has no attribute 'SMTPs'$") as caught:
        smtpverify.SMTPs  # type: ignore[attr-defined]  # noqa: B018
    assert caught.value.name == "SMTPs"
    assert not hasattr(smtpverify, "_LATER")
    with pytest.raises(ImportError, match="SMTPs"):
        exec("from smtpverify import SMTPs")


@pytest.mark.parametrize("name", ["socket", "_have_ssl", "_MAXLINE"])
def test_what_smtplib_never_promised_is_there_too(name: str) -> None:
    assert getattr(smtpverify, name) is getattr(smtplib, name)


@pytest.mark.parametrize("name", ["__nothing__", "__wrapped__", "_SMTP"])
def test_what_nobody_has(name: str) -> None:
    assert not hasattr(smtpverify, name)


def test_each_late_name_is_where_it_is_said_to_be() -> None:
    late: dict[str, str] = vars(smtpverify)["_LATE"]
    assert set(late) <= PUBLIC
    for name, module in late.items():
        assert getattr(smtpverify, name).__module__ == f"smtpverify.{module}"


@pytest.mark.parametrize(("name", "module"), [("SMTP", "smtp.client"), ("connect", "smtp.opening")])
def test_a_name_may_be_patched(name: str, module: str) -> None:
    original = getattr(smtpverify, name)
    with mock.patch(f"smtpverify.{name}") as patched:
        assert getattr(smtpverify, name) is patched
    assert getattr(smtpverify, name) is original
    # Also before anybody has asked for it.
    code = (
        "from unittest import mock; import smtpverify; "
        f"patch = mock.patch('smtpverify.{name}'); patch.start(); patch.stop(); "
        f"print(json.dumps(smtpverify.{name}.__module__))"
    )
    assert python(code) == f"smtpverify.{module}"


# --- signatures ----------------------------------------------------------------------------------


def methods(name: str) -> list[str]:
    theirs = getattr(smtplib, name)
    functions = inspect.getmembers(theirs, inspect.isfunction)
    return [each for each, _ in functions if not each.startswith("_") or each == "__init__"]


@pytest.mark.parametrize(("name", "method"), [(name, each) for name in CLASSES for each in methods(name)])
def test_signature(name: str, method: str) -> None:
    theirs = list(inspect.signature(getattr(getattr(smtplib, name), method)).parameters.values())
    ours = inspect.signature(getattr(getattr(smtpverify, name), method)).parameters
    positional = [each for each in theirs if each.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert list(ours)[: len(positional)] == [each.name for each in positional]
    for each in theirs:
        assert (ours[each.name].kind, ours[each.name].default) == (each.kind, each.default)
    for added in set(ours) - {each.name for each in theirs}:
        assert ours[added].kind is inspect.Parameter.KEYWORD_ONLY
        assert ours[added].default is not inspect.Parameter.empty


@pytest.mark.parametrize("name", CLASSES)
def test_keywords_of_ours(name: str) -> None:
    parameters = inspect.signature(getattr(smtpverify, name)).parameters
    assert {"trust", "server_hostname", "dialect"} <= set(parameters)
    for each in ("trust", "server_hostname"):
        assert parameters[each].kind is inspect.Parameter.KEYWORD_ONLY
        assert parameters[each].default is None
    assert set(parameters) >= set(inspect.signature(smtpverify.connect).parameters) - {
        "url",
        "allow_plaintext_login",  # of no use where there is no plaintext
    }


@pytest.mark.parametrize(
    "function", ["SMTP_SSL.__init__", "SMTP_SSL.starttls", "SMTP.starttls", "LMTP.starttls"]
)
def test_keyfile_and_certfile_in_every_version(function: str) -> None:
    """Python 3.12 has taken them out of smtplib."""
    name, _, method = function.partition(".")
    parameters = inspect.signature(getattr(getattr(smtpverify, name), method)).parameters
    for each in ("keyfile", "certfile", "context"):
        assert parameters[each].default is None
        assert parameters[each].kind in (
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )


@pytest.mark.parametrize("name", CLASSES)
def test_attributes_that_programs_read(name: str) -> None:
    ours, theirs = getattr(smtpverify, name), getattr(smtplib, name)
    plain = {
        each: value
        for each, value in inspect.getmembers(theirs)
        if not each.startswith("_") and not callable(value)
    }
    assert plain["default_port"] == (465 if name == "SMTP_SSL" else 25)
    assert plain["ehlo_msg"] == ("lhlo" if name == "LMTP" else "ehlo")
    for each, value in plain.items():
        assert getattr(ours, each) == value


@pytest.mark.parametrize("name", CLASSES)
def test_an_object_without_a_connection(name: str) -> None:
    ours, theirs = getattr(smtpverify, name)(), getattr(smtplib, name)()
    for each, value in vars(theirs).items():
        if each != "context":
            assert getattr(ours, each) == value
    assert ours.sock is None
    with pytest.raises(smtplib.SMTPServerDisconnected):
        ours.noop()


# --- what an import costs ------------------------------------------------------------------------


def test_an_import_loads_next_to_nothing() -> None:
    new = python(
        "import smtplib; before = set(sys.modules); import smtpverify; "
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    assert {each for each in new if each.startswith("smtpverify")} == {
        "smtpverify",
        "smtpverify.errors",
        "smtpverify.stdlib",
    }
    assert not HEAVY & set(new)
    assert not {"dataclasses", "inspect", "threading"} & set(new)


def test_all_names_together_load_nothing_heavy() -> None:
    loaded = python(
        "import smtpverify; [getattr(smtpverify, name) for name in dir(smtpverify)]; "
        "print(json.dumps(sorted(sys.modules)))"
    )
    assert "smtpverify.smtp.client" in loaded
    assert not HEAVY & set(loaded)


def test_the_heavy_ones_are_real() -> None:
    # A name misspelt above would be found nowhere.
    for name in HEAVY:
        assert importlib.util.find_spec(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        each.name
        for each in pkgutil.walk_packages(smtpverify.__path__, "smtpverify.")
        if not each.name.endswith("__main__")
        # These want Mercurial, and Django.
        and not each.name.startswith(("smtpverify.integrations.mercurial", "smtpverify.integrations.django"))
    ],
)
def test_each_module_can_be_the_first(name: str) -> None:
    extra = "._demo_" in name
    assert python(f"import {name}; print(json.dumps({name}.__name__))", packages=extra) == name


def test_type_information_is_shipped() -> None:
    assert importlib.resources.files("smtpverify").joinpath("py.typed").is_file()
