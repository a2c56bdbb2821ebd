"""`smtpverify completion`, as a process: that a shell can read it, and what it completes then."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from smtpverify.cli import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

BASH = None if sys.platform == "win32" else shutil.which("bash")  # where it may be that of another system


def run(*arguments: str) -> Any:
    return subprocess.run(
        arguments, capture_output=True, text=True, encoding="utf-8", timeout=50, check=False
    )


def completion(*arguments: str) -> Any:
    return run(sys.executable, "-m", "smtpverify", "completion", *arguments)


@pytest.mark.parametrize(
    ("shell", "beginning"), [("bash", "# AUTO"), ("zsh", "#compdef smtpverify\n"), ("tcsh", "# AUTO")]
)
def test_each_shell(shell: str, beginning: str) -> None:
    done = completion(shell)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(beginning)
    assert [name for name in COMMANDS if name not in done.stdout] == []
    for option in ("attach", "expires-in", "dialect"):
        assert re.search(rf"(?<![\w-])(--)?{option}\b", done.stdout)


def test_zsh_describes_the_commands_in_a_line() -> None:
    assert f"    send:'{COMMANDS['send']}'\n" in completion("zsh").stdout


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["se"], "send"),
        (["c"], "check completion"),
        (["send", "--su"], "--subject"),
        (["explain", "--dialect", ""], "opensmtpd-2012 opensmtpd-6.4"),
        (["check", "--file", "lett"], "letter.eml"),
        (["send", "tls://h", "lett"], "letter.eml"),
    ],
)
def test_bash_completes(tmp_path: Path, words: list[str], expected: str) -> None:
    (tmp_path / "letter.eml").touch()
    (tmp_path / "completion").write_text(completion("bash").stdout)
    # What bash does at a tab: the function that was named for the command, its answer in COMPREPLY.
    script = (
        'cd "$1"; . ./completion; shift; COMP_WORDS=(smtpverify "$@"); COMP_CWORD=$#\n'
        'function=$(complete -p smtpverify | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n'
        'compopt() { :; }; "$function" smtpverify "${@: -1}" "${@: -2:1}"; echo "${COMPREPLY[*]}"\n'
    )
    done = run(BASH or "", "-c", script, "bash", str(tmp_path), *words)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, expected.split(), "")


def test_the_extra_is_missing() -> None:
    code = (
        "import sys; sys.modules['shtab'] = None\n"
        "from smtpverify.cli import main; sys.exit(main(['completion', 'bash']))"
    )
    done = run(sys.executable, "-c", code)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.startswith("smtpverify completion: import of shtab halted; ")
    assert done.stderr.endswith("completion needs more than the library: pip install 'smtpverify[cli]'\n")


def test_usage_and_help() -> None:
    assert completion().returncode == 64
    assert "invalid choice: 'fish'" in completion("fish").stderr
    done = completion("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert '  eval "$(smtpverify completion bash)"\n' in done.stdout
