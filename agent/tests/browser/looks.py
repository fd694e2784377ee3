"""How a page looks: sizes, themes, pictures, and what no page may do."""

import base64
from pathlib import Path

DESK, PHONE = (1280, 900), (390, 844)


def size(driver, width, height):
    # Through the protocol: a window cannot be as narrow as a phone.
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})


def scheme(driver, name):
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": name}]})


def shoot(driver, folder, name, whole=True):
    Path(folder).mkdir(parents=True, exist_ok=True)
    driver.execute_async_script("document.fonts.ready.then(() => arguments[0]())")
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole, "format": "png"})
    Path(folder, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))


def no_sideways_scroll(driver):
    wide = driver.execute_script("""return [...document.querySelectorAll('body *')].filter((e) => e.checkVisibility() && !e.closest('.sr, .skip')
        && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName + '.' + e.className)""")
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), wide
    assert not wide, wide


def contrast(driver, but=".sr, .skip"):
    """Every visible text against its ground: WCAG 2.2 AA wants 4.5 to 1."""
    return driver.execute_script("""
      const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
      const rgba = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data]; };
      const light = (c) => c.slice(0, 3).map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 250) return c; } return [255, 255, 255]; };
      const low = [];
      for (const e of document.querySelectorAll('body *')) {
        if (!e.checkVisibility() || e.closest(arguments[0]) || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
        const [a, b] = [light(rgba(getComputedStyle(e).color)), light(ground(e))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) low.push(`${e.className || e.tagName} ${e.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
      }
      return [...new Set(low)];""", but)
