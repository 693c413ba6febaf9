"""Opens a page in a headless browser: what a script in it finds, what it complains of and what it asks for."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = f"no browser: none of {', '.join(NAMES)} is on the PATH (apt-get install chromium)"
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--enable-logging=stderr",
)


@dataclass(frozen=True)
class Visit:
    """What happened.

    Attributes:
        found: what the script gave.
        console: lines that the page wrote to the console, errors among them.
        requested: addresses that the page asked for, whether or not its policy let it; what stands in it is none.
    """

    found: Any
    console: list[str]
    requested: list[str]


def visit(page: Path, script: str, folder: Path, *more: str, width: int = 1200, height: int = 900) -> Visit:
    """Load a page and run an asynchronous function body in it, after its own scripts; what it returns is JSON.

    Args:
        more: options of the browser.
    """
    # Time is virtual there, and passes between two frames that nobody looks at: they come by the clock instead.
    before = """<head><script>
        window.requestAnimationFrame = (work) => setTimeout(work, 16);
        const refused = [];
        addEventListener("securitypolicyviolation", (event) => refused.push(event.blockedURI));
    </script>"""
    wrapped = f"""<script>addEventListener("load", async () => {{
        const frame = () => new Promise((done) => setTimeout(done, 50));
        const run = async () => {{ {script} }};
        const found = await run().catch((error) => ({{ error: String(error) }}));
        const asked = performance.getEntriesByType("resource").map((entry) => entry.name).concat(refused);
        const requested = asked.filter((address) => !address.startsWith("data:"));
        document.body.dataset.found = JSON.stringify({{ found, requested }});
    }});</script></body>"""
    text = page.read_text(encoding="utf-8")
    assert text.count("<head>") == text.count("</body>") == 1
    probed = folder / "probed.html"
    probed.write_text(text.replace("<head>", before).replace("</body>", wrapped), encoding="utf-8")
    options = [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"]
    command = [BROWSER, *_OPTIONS, *options, *more, "--virtual-time-budget=20000", "--dump-dom", f"file://{probed}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=True)
    data = re.search(r'data-found="([^"]*)"', done.stdout)
    assert data, f"the script did not end:\n{done.stderr[-3000:]}"
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    answer = json.loads(html.unescape(data[1]))
    return Visit(answer["found"], console, answer["requested"])
