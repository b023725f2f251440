"""A build's shell: stand-ins for its tools record each call and answer by rules."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import FAKES, ROOT

# Records the call and the manifest, and answers by the first rule whose words are in the call. Without one, the app's
# answer contains all that was applied.
STAND_IN = """\
#!/bin/bash
call="${0##*/} $*"
[[ $call != *" --local "* ]] || exec "$READER" "$@"
printf '%s\\n' "$call" >>"$NOTES/calls"
[[ $call != *" apply "* ]] || cp "${@: -1}" "$NOTES/applied"
line=0
while IFS=$'\\t' read -r words code often text; do
  line=$((line + 1))
  [[ $call == *$words* ]] || continue
  [[ $often == always ]] || sed -i "${line}d" "$NOTES/rules"
  if [[ $call =~ --output\\ ([^\\ ]+)\\ https ]]; then printf '%b' "$text" >"${BASH_REMATCH[1]}"; fi
  if ((code)); then printf '%b\\n' "$text" >&2; else printf '%b' "$text"; fi
  exit "$code"
done <"$NOTES/rules"
[[ $call != *" --raw "* ]] || cat "$NOTES/applied"
"""
# What is printed depends only on the namespace and the manifest, so that each manifest is read once in a run of the tests.
READER = """\
#!/bin/sh
known={known}/$(printf %s "$4" | cat - "$6" | cksum) || exit
[ -e "$known" ] || {{ {program} "$@" >"$known.$$" && mv "$known.$$" "$known"; }} || exit
exec cat "$known"
"""


@dataclass
class Build:
    """Its PATH has only the stand-ins and the system's programs."""

    notes: Path
    checkout: Path = ROOT

    def answer(self, words: str, text: str = "", code: int = 0, often: str = "always") -> None:
        """Let calls with these words (a pattern of bash) answer with ``text``; the first rule that matches wins."""
        with (self.notes / "rules").open("a") as rules:
            rules.write(f"{words}\t{code}\t{often}\t{text.replace(chr(10), chr(92) + 'n')}\n")

    def run(self, script: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a script."""
        return subprocess.run(
            ["bash", self.checkout / "scripts" / script, *args],
            env={
                "PATH": f"{self.notes / 'bin'}:/usr/bin:/bin",
                "HOME": str(self.notes),
                "NOTES": str(self.notes),
                "READER": str(self.notes / "reader"),
                "KUBECONFIG": str(self.notes / "kubeconfig"),
                "GITHUB_USER": "octocat",
                **env,
            },
            cwd=self.notes,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """The calls so far, each as a line, without those that only read a file."""
        path = self.notes / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def install(self, name: str, text: str = STAND_IN) -> None:
        """Put a stand-in on its PATH."""
        program = self.notes / "bin" / name
        program.write_text(text)
        program.chmod(0o755)


def made_build(notes: Path) -> Build:
    """Return a build with stand-ins for all tools."""
    (notes / "bin").mkdir()
    (notes / "rules").touch()
    reader, known = notes / "reader", notes.parent / "manifests"
    known.mkdir(exist_ok=True)
    reader.write_text(READER.format(known=known, program=f"{sys.executable} {FAKES / 'manifest.py'}"))
    reader.chmod(0o755)
    build = Build(notes)
    for name in ("kubectl", "aws", "curl", "sleep"):
        build.install(name)
    return build
