"""Watches a study go through a node that runs, in headless Chromium: python node.py URL

Prints `NEXT send` when the page stands, and ends with 0 when the study was delivered before its eyes.
"""

import sys

from chromium import browser
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait


def js(script, *values):
    return driver.execute_script(script, *values)


def until(what, condition):
    WebDriverWait(driver, 60, poll_frequency=0.05).until(lambda _: condition(), message=what)


def text(selector):
    return js("return document.querySelector(arguments[0])?.textContent ?? ''", selector)


def watch(url):
    driver.get(url)
    js("window.sameDocument = true")
    until("the empty state", lambda: "dcmsend" in text("#dcmsend"))
    print("NEXT send", flush=True)
    until("the delivery", lambda: text(".study-state .chip") == "Delivered")
    assert js("return window.sameDocument"), "the page was loaded again"
    steps = js("return [...document.querySelectorAll('.track-word')].map((e) => e.textContent)")
    assert steps == ["Received", "Complete", "Routed", "Running", "Done", "Delivered"], steps
    assert text("#received") == "1", text("#received")
    driver.find_element(By.CSS_SELECTOR, ".study-name").send_keys(Keys.ENTER)
    # The picture is the node's own, with what the model marked.
    seen = "return [...document.querySelectorAll('.study img')].some((e) => e.complete && e.naturalWidth > 100)"
    until("the preview", lambda: js(seen))
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert not errors, errors


driver = browser()
try:
    watch(sys.argv[1])
finally:
    driver.quit()
