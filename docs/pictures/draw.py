"""Draw the pictures of the guides: a real shell in a real terminal, its screen kept as SVG.

Run from the repository's root, with the project and its test dependencies installed:
`python docs/pictures/draw.py`.
"""

from __future__ import annotations

import sys
import tempfile
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from fixtures.command_line import CommandLine, Terminal  # noqa: E402

COLUMNS = 92


def main() -> None:
    """Draw every picture beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        dosql = CommandLine(Path(folder))
        dosql.ok("shop.db", stdin=SHOP)
        for name, lines, scene in (
            ("shell", 34, draw_shell),
            ("completion", 12, draw_completion),
            ("chart", 22, draw_chart),
        ):
            with dosql.terminal("shop.db", columns=COLUMNS, lines=lines) as terminal:
                terminal.see_prompt("shop.db main>")
                scene(terminal)
                save(terminal, name)
                terminal.press_control("c")
                terminal.see(">")


SHOP = """\
create table orders(id integer primary key, customer text, total real, placed text);
insert into orders(customer, total, placed) values
 ('ann', 120.5, '2026-11-02'), ('bob', 80, '2026-11-03'), ('cid', 310, '2026-11-05'),
 ('dee', 45.25, '2026-11-09'), ('eve', 210, '2026-11-12'), ('fay', 150, '2026-11-17');
update orders set total = 0 where customer = 'cid';
"""


def draw_shell(terminal: Terminal) -> None:
    """A result, a mistake seen through AS OF, and the prompt of a branch."""
    terminal.enter("select customer, total from orders where total < 50;")
    terminal.see("(2 rows")
    terminal.enter(
        "select o.customer, o.total, old.total as before from orders o"
        " join orders for system_time as of lsn 2 old using (id) where o.total <> old.total;"
    )
    terminal.see("(1 row,")
    terminal.enter(".branch -c fix")
    terminal.see_prompt("shop.db fix>")
    terminal.enter("restore table orders to lsn 2;")
    terminal.see("│ rows │")
    terminal.enter(".diff orders branch:main branch:fix")
    terminal.see("1 updated")
    terminal.see_prompt("shop.db fix>")


def draw_completion(terminal: Terminal) -> None:
    """The menu that Tab opens."""
    terminal.type("select customer from orders for system_time as of \t")
    terminal.see("timestamp")


def draw_chart(terminal: Terminal) -> None:
    """Bars of a column."""
    terminal.enter(".chart bar select customer, total from orders for system_time as of lsn 2")
    terminal.see("fay")
    terminal.enter(".log 3")
    terminal.see("committed_at")
    terminal.see_prompt("shop.db main>")


def save(terminal: Terminal, name: str) -> None:
    """Keep what the terminal shows as an SVG beside this file."""
    screen = terminal.emulated
    console = Console(record=True, width=COLUMNS, file=open("/dev/null", "w"))  # noqa: SIM115
    for row in range(last_line(screen) + 1):
        line = Text()
        cells = [screen.buffer[row][column] for column in range(screen.columns)]
        for (front, bold, reverse), run in groupby(cells, key=lambda c: (c.fg, c.bold, c.reverse)):
            shown = "".join(cell.data for cell in run)
            line.append(shown, Style(color=colour(front), bold=bold, reverse=reverse))
        line.rstrip()
        console.print(line, soft_wrap=True)
    console.save_svg(str(Path(__file__).parent / f"{name}.svg"), title="dosql shop.db")


def last_line(screen: pyte.Screen) -> int:
    """The index of the last line that shows anything."""
    return max(index for index, line in enumerate(screen.display) if line.strip())


def colour(name: str) -> str | None:
    """A terminal's colour in rich's words."""
    if name == "default":
        return None
    if name.startswith("bright"):
        return f"bright_{name.removeprefix('bright')}"
    return {"brown": "yellow"}.get(name, name) if name.isalpha() else f"#{name}"


if __name__ == "__main__":
    main()
