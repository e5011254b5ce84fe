# SPDX-License-Identifier: Apache-2.0
"""A headless browser, and what the tests of the pages ask it."""

import base64
import shutil
import time

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

DEADLINE_S = 30
DESKTOP, PHONE, SMALL_PHONE = (1280, 900), (390, 844), (360, 740)

# Pairs of text and ground whose contrast is below WCAG's AA. A ground is the nearest that is not transparent.
LOW_CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = (color) => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
};
const light = (color) => {
  const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const [r, g, b] = [...rgba(color)].map((part) => linear(part / 255));
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = (element) => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (rgba(color)[3] === 255) return color;
  }
  return 'white';
};
const found = [];
for (const element of document.querySelectorAll('body *')) {
  const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join('');
  if (!text || !element.checkVisibility() || element.closest('script, style, .hear')) continue;
  const style = getComputedStyle(element);
  const color = element.namespaceURI.endsWith('svg') ? style.fill : style.color;
  const [a, b] = [light(color), light(ground(element))].sort((x, y) => y - x);
  const contrast = (a + .05) / (b + .05);
  if (contrast < 4.5) found.push(`${text.slice(0, 40)}: ${contrast.toFixed(2)}`);
}
return found;
"""

# Texts that their own boxes cut off, where the box does not scroll.
CUT_OFF = """
return [...document.querySelectorAll('button, .pill, dd, th, .legend span, h1, h2, h3')]
  .filter((element) => element.checkVisibility() && !element.closest('.hear')
                       && element.scrollWidth > element.clientWidth + 1
                       && getComputedStyle(element).display !== 'inline')
  .map((element) => `${element.tagName} ${element.textContent}`);
"""


def until(condition, what=""):
    """What `condition` returns once it is true."""
    give_up = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < give_up, what or condition
        time.sleep(0.02)
    return found


class Browser:
    def __init__(self, shots=None):
        options = webdriver.ChromeOptions()
        for argument in (
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # Named, so that selenium does not go looking for others.
        options.binary_location = shutil.which("chromium")
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        self.shots = shots

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def look(self, size, scheme="light"):
        """What the visitor has before them: a window of that size, a light or a dark theme."""
        width, height = size
        self.width = width
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 2 if width < 600 else 1, "mobile": width < 600},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def open(self, url):
        self.driver.get("about:blank")
        self.driver.get(url)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, selector):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? null", selector)

    def texts(self, selector):
        return self.js(
            "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)", selector
        )

    def count(self, selector):
        return self.js("return document.querySelectorAll(arguments[0]).length", selector)

    def element(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def keys(self, *keys):
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self):
        return self.js("return document.activeElement.id || document.activeElement.className")

    def tab_to(self, name, tab):
        """By the keyboard alone."""
        for _ in range(60):
            if self.focused() == name:
                return
            self.keys(tab)
        raise AssertionError(f"the Tab key does not reach {name}")

    def wait_for(self, selector, part):
        until(
            lambda: part in (self.text(selector) or ""), f"'{part}' in {selector}, which says '{self.text(selector)}'"
        )

    def shoot(self, name):
        """The whole page."""
        if not self.shots:
            return
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        shot = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot",
            {
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1},
            },
        )
        (self.shots / f"{name}.png").write_bytes(base64.b64decode(shot["data"]))

    def check_layout(self):
        """Nothing is wider than the window, hard to read, or cut off."""
        # A phone zooms out of what is too wide: then innerWidth is more than its width, too.
        wide = self.js("return [document.scrollingElement.scrollWidth, innerWidth]")
        assert max(wide) <= self.width, wide
        assert (low := self.js(LOW_CONTRAST)) == [], low
        assert (cut := self.js(CUT_OFF)) == [], cut

    def check_no_errors(self):
        """The console is empty, but for answers that are no success: each of those is asked for by a test."""
        errors = [
            entry
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and entry["source"] != "network"
        ]
        assert not errors, errors
