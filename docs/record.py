"""Runs the demo and records its terminal as docs/assets/demo.svg and demo.txt.

`make record` calls it. The times in the recording differ from run to run.
"""

import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parents[1]
ASSETS = ROOT / "docs" / "assets"
WIDTH = 124
COMMAND = "make demo"
STYLES = {
    "submitted": "cyan",
    "running": "cyan",
    "finished": "bold",
    "judged": "blue",
    "due": "yellow",
    "kept": "yellow",
    "deleted": "bold green",
    "operator": "magenta",
}
"""The color of a line by the word that says what happened."""

SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: "Fira Code", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
  font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: arial; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""As rich's own format, but without fonts from the network."""


def main() -> int:
    """Runs the demo and writes the recording; returns the exit code of the demo."""
    command = [sys.executable, "-m", "sandbox.demo"]
    demo = subprocess.run(  # noqa: S603 - the demo of this repository
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    if demo.returncode:
        sys.stderr.write(f"the demo failed with exit code {demo.returncode}:\n{demo.stdout}")
        return demo.returncode
    lines = [f"$ {COMMAND}", *demo.stdout.splitlines()]
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "demo.txt").write_text("\n".join(line.rstrip() for line in lines) + "\n")
    (ASSETS / "demo.svg").write_text(svg(lines))
    sys.stdout.write("wrote docs/assets/demo.svg and docs/assets/demo.txt\n")
    return 0


def svg(lines: list[str]) -> str:
    """The lines as an SVG picture of a terminal."""
    console = Console(record=True, file=StringIO(), width=WIDTH, force_terminal=True)
    for line in lines:
        console.print(Text(line, style=_style(line)), highlight=False)
    return console.export_svg(title=COMMAND, code_format=SVG, unique_id="demo")


def _style(line: str) -> str:
    if line.startswith("$ "):
        return "bold"
    words = line.split()
    is_event = len(words) > 2 and words[1] == "s"
    return STYLES.get(words[2], "") if is_event else ""


if __name__ == "__main__":
    sys.exit(main())
