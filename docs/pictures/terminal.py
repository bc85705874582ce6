"""From a terminal's text with colours, on standard input, to a picture of it as SVG. The argument is the title of its window."""

import html
import re
import sys

INK, PAPER, DIM = "#e6e9ef", "#12161d", "#8b95a5"
COLOURS = ["#3b4252", "#ff7b72", "#63d394", "#f2bd5c", "#7cabff", "#dd92ea", "#56d4dd", INK]
CELL, LINE, PAD, BAR = 8.4, 19, 16, 34


def style(codes: list[int], now: dict) -> dict:
    """The style after these SGR codes."""
    now = dict(now)
    codes = codes or [0]
    while codes:
        code = codes.pop(0)
        if code == 0:
            now = {}
        elif code == 1:
            now["bold"] = True
        elif code == 2:
            now["dim"] = True
        elif code == 22:
            now.pop("bold", None), now.pop("dim", None)
        elif code == 39:
            now.pop("fill", None)
        elif 30 <= code <= 37 or 90 <= code <= 97:
            now["fill"] = COLOURS[code % 10]
        elif code in (38, 48) and codes[:1] == [5]:
            codes.pop(0)
            index = codes.pop(0)
            if code == 38:
                now["fill"] = COLOURS[index % 8] if index < 16 else DIM
    return now


def spans(line: str) -> str:
    """One line as `tspan`s."""
    now, out, column = {}, [], 0
    for part in re.split(r"(\x1b\[[0-9;]*m)", line):
        if part.startswith("\x1b"):
            now = style([int(c or 0) for c in part[2:-1].split(";")] if part != "\x1b[m" else [], now)
        elif part:
            fill = now.get("fill", DIM if now.get("dim") else INK)
            weight = ' font-weight="700"' if now.get("bold") else ""
            place = f'x="{PAD + column * CELL:g}" textLength="{len(part) * CELL:g}"'
            if part.strip():
                out.append(f'<tspan {place} fill="{fill}"{weight}>{html.escape(part).replace(" ", "&#160;")}</tspan>')
            column += len(part)
    return "".join(out)


lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Zac-ln-z]", "", sys.stdin.read()).rstrip("\n").split("\n")]
while lines and not re.sub(r"\x1b\[[0-9;]*m", "", lines[-1]).strip():
    lines.pop()
bare = max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines)
width, height = bare * CELL + 2 * PAD, BAR + len(lines) * LINE + PAD
title = html.escape(sys.argv[1])
print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" aria-label="{title}">')
print(f'<rect width="100%" height="100%" rx="10" fill="{PAPER}"/>')
for index, colour in enumerate(["#ff5f57", "#febc2e", "#28c840"]):
    print(f'<circle cx="{PAD + 6 + index * 18}" cy="17" r="5.5" fill="{colour}"/>')
print(f'<text x="{width / 2:g}" y="22" fill="{DIM}" text-anchor="middle" font-family="sans-serif" font-size="13">{title}</text>')
print('<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14">')
for index, line in enumerate(lines):
    if line:
        print(f'<text y="{BAR + (index + 1) * LINE - 4:g}">{spans(line)}</text>')
print("</g></svg>")
