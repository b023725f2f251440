"""Saves the page as a picture: ``python -m rehearsal.console.screenshot URL FILE [--dark] [--answers N]``.

Uses Debian's chromium and chromium-driver, whose versions always match.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium.common.exceptions import TimeoutException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
SIZE = (1280, 900)
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # chromium's sandbox refuses to run as root, which the rehearsal is
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@contextmanager
def browser(size: tuple[int, int] = SIZE, dark: bool = False, arguments: Iterable[str] = ()) -> Iterator[Chrome]:
    """Yield a headless browser with a page of ``size`` CSS pixels, a temporary profile and more ``arguments``."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = CHROMIUM
        with warnings.catch_warnings():  # the replacement does not support Chrome yet
            warnings.simplefilter("ignore", DeprecationWarning)
            options.ignore_local_proxy_environment_variables()
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}", *arguments):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = Chrome(options=options, service=ChromeService(executable_path=DRIVER))
        try:
            resize(driver, size)
            emulate(driver, prefers_color_scheme="dark" if dark else "light")
            yield driver
        finally:
            driver.quit()


def resize(driver: Chrome, size: tuple[int, int]) -> None:
    """Set the size of the page, without the window's borders."""
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def emulate(driver: Chrome, **features: str) -> None:
    """Set media features, named with underscores, such as ``prefers_reduced_motion="reduce"``."""
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})


def wait_until(driver: Chrome, script: str, seconds: float = 10) -> None:
    """Wait until the JavaScript expression ``script`` is true.

    Raises:
        TimeoutException: it is not true after ``seconds``.
    """
    WebDriverWait(driver, seconds, 0.1).until(lambda one: one.execute_script(f"return {script}"), script)


def save(driver: Chrome, file: Path) -> None:
    """Write the page as a PNG of 256 colours, a third of the size of the browser's PNG and as readable."""
    with Image.open(BytesIO(driver.get_screenshot_as_png())) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)


def main() -> None:
    """Wait until the page shows what is asked for, then save it."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.console.screenshot", description="Save the page as PNG.")
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--dark", action="store_true", help="use dark mode")
    parser.add_argument("--answers", type=int, default=0, metavar="N", help="wait for N answers of the app")
    parser.add_argument("--changes", type=int, default=0, metavar="N", help="wait for N changes of its version")
    parser.add_argument("--within", type=float, default=120, metavar="SECONDS", help="give up after this time")
    wanted = parser.parse_args()
    needed = {"#connection.ok": 1, "#strip i:not(.empty)": wanted.answers, "#changes li": wanted.changes}
    with browser(dark=wanted.dark) as driver:
        driver.get(wanted.url)
        for selector, least in needed.items():
            try:
                wait_until(driver, f"document.querySelectorAll('{selector}').length >= {least}", wanted.within)
            except TimeoutException:
                sys.exit(f"{wanted.url} did not show {least} of {selector} within {wanted.within:.0f} s")
        save(driver, wanted.file)
    print(f"{wanted.file}: {wanted.file.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
