"""Drives the fleet page in headless Chromium: python fleet.py URL PASSWORD SCREENSHOTS

Prints `NEXT name` when it is ready for that change of the fleet, and ends with 0 when everything held.
"""

import json
import sys
from pathlib import Path

# One browser for the tests of the whole repository.
sys.path.insert(0, str(Path(__file__).parents[4] / "agent/tests/browser"))

import looks as looks_at

from chromium import browser
from looks import DESK, PHONE
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

URL, PASSWORD, SHOTS = sys.argv[1:]


def until(what, condition):
    WebDriverWait(driver, 20, poll_frequency=0.05).until(lambda _: condition(), message=what)


def js(script, *values):
    return driver.execute_script(script, *values)


def css(selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def text(selector):
    return js("return document.querySelector(arguments[0])?.textContent ?? ''", selector)


def change(name, what, condition):
    print(f"NEXT {name}", flush=True)
    until(what, condition)


def size(width, height):
    looks_at.size(driver, width, height)


def scheme(name):
    looks_at.scheme(driver, name)


def shoot(name, whole=True):
    looks_at.shoot(driver, SHOTS, name, whole)


def no_sideways_scroll():
    looks_at.no_sideways_scroll(driver)


def contrast():
    # What is disabled is no text to be read.
    return looks_at.contrast(driver, but=".sr, .skip, :disabled")


def requests():
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def press(*keys):
    webdriver.ActionChains(driver).send_keys(*keys).perform()


def login(user, password=PASSWORD):
    driver.get(URL)
    until("the login page", lambda: driver.current_url.endswith("/login"))
    css("#name").send_keys(user)
    css("#password").send_keys(password + Keys.ENTER)


def enter(user):
    login(user)
    until("the fleet", lambda: text("#user") == f"{user}, {user}")


def leave():
    css("#logout button").click()
    until("the logout", lambda: driver.current_url.endswith("/login"))


def orders():
    return js("return [...document.querySelectorAll('.orders button')].map((e) => e.textContent)")


def looks(name):
    js("document.activeElement.blur()")
    for colours in ["light", "dark"]:
        scheme(colours)
        for width, height in [DESK, PHONE]:
            size(width, height)
            shoot(f"{name}-{colours}-{width}")
            no_sideways_scroll()
            low = contrast()
            assert not low, f"{name} {colours} {width}: {low}"
    size(320, 640)
    no_sideways_scroll()  # WCAG 1.4.10
    size(*DESK)
    scheme("light")


def a_viewer_sees_and_orders_nothing():
    login("viewer", "guess")
    until("the refusal", lambda: "wrong" in text("#message"))
    shoot("login-light-1280")
    enter("viewer")
    assert js("return document.cookie") == "", "scripts must not see the session"
    until("the boxes", lambda: js("return document.querySelectorAll('.box').length") == 24)
    until("whose recovery key is kept", lambda: "Recovery key kept since" in text(".box") and "Recovery key not kept" in text(".box:last-child"))
    assert js("return [...document.querySelectorAll('.box')].filter((e) => e.textContent.includes('Variant: debug')).length") == 1
    assert "Variant: debug" in text(".box"), "its own tile"
    until("the alarm", lambda: "not renewed" in text("#alarms"))
    until("a box that does not hear the region", lambda: "1 box has not heard the region for 3 hours" in text("#alarms"))
    assert "aalborg-01 since 1 Nov 2026" in text("#alarms") and "(store-unreachable)" in text("#alarms"), text("#alarms")
    assert "positive-values is suspended, and off on 1 of 2 boxes" in text("#alarms"), text("#alarms")
    assert not css("#authorities").is_displayed(), "the authorities are operators' business"
    assert text("#count") == "24" and text("#band-word") == "At rest"
    change("made", "the rollout", lambda: text(".rollout h3") == "spring")
    assert orders() == [], orders()
    assert text("#band-word") == "Waits for an approver"
    leave()


def an_approver_agrees_by_keyboard():
    enter("approver")
    until("the orders", lambda: orders() == ["Approve", "Stop"])
    press(Keys.TAB)
    assert js("return document.activeElement.className") == "skip"
    press(Keys.ENTER)
    for _ in range(10):
        press(Keys.TAB)
        if js("return document.activeElement.textContent") == "Approve":
            break
    else:
        raise AssertionError("Approve cannot be reached by Tab")
    press(Keys.ENTER)
    until("the question", lambda: js("return document.querySelector('#sure').open"))
    assert js("return document.activeElement.id") == "sure-no", "an order that matters needs a second key"
    press(Keys.ESCAPE)
    until("the question's end", lambda: not js("return document.querySelector('#sure').open"))
    assert text(".rollout .chip") == "Waits for an approver"
    # Asked, dismissed and asked again before the browser has told of the dismissal.
    js("const ask = document.querySelector('[data-key=approve]'); ask.click(); document.querySelector('#sure').close(); ask.click()")
    shoot("question-light-1280", whole=False)
    css("#sure-yes").click()
    until("the approval", lambda: text(".rollout .chip") == "Ready")
    leave()


def an_operator_follows_it_live():
    enter("operator")
    js("window.sameDocument = true")
    until("the orders", lambda: orders() == ["Start", "Stop"])
    css("[data-key=start]").click()
    until("the first wave", lambda: js("return document.querySelector('.wave').dataset.begun") == "true")
    assert "2 offered" in text(".wave"), text(".wave")
    shoot("started-light-1280")
    change("canaries", "the canaries", lambda: "2 finished" in text(".wave") and js("return document.querySelectorAll('[data-begun=true]').length") == 2)
    shoot("second-wave-light-1280")
    change("failure", "the pause", lambda: text("#band-word") == "Paused")
    until("the box's words", lambda: "dice 0.41" in text("#failures .words"))
    assert driver.title.startswith("Paused") and text("#failed") == "1", driver.title
    assert "<img src=x" in text("#failures .words") and js("return document.querySelectorAll('#failures img').length") == 0
    until("the work of others", lambda: "at work" in text("#rollout-list"))
    assert "north-1" in text("#legend")
    assert js("return window.sameDocument"), "the page was loaded again"
    looks("paused")


def an_operator_sees_by_whose_certificates_the_boxes_are_known():
    until("the boxes of both", lambda: js("return [...document.querySelectorAll('#held span')].map((e) => e.style.flexGrow)") == ["3", "9"])
    assert css("#held").get_attribute("aria-label") == "ca: 3 boxes and mirrors, ca-2: 9 boxes and mirrors"
    first, second = js("return [...document.querySelectorAll('#authority-list li')].map((e) => e.innerText)")
    assert "Counts still" in first and "the server is known by it" in first and "targets-4 waits for signatures to drop it" in first, first
    assert "Issues" in second and "9 boxes and mirrors have a certificate of it" in second and "15 boxes and mirrors have not said yet to know it" in second, second
    assert "drop it" not in second
    looks("authorities")


def going_on_is_a_choice():
    css("[data-key=resume]").click()
    assert "You accept 1 failure" in text("#sure-text")
    css("#sure-yes").click()
    until("the rollout", lambda: text(".rollout .chip") == "Running")
    change("later", "the second rollout", lambda: js("return document.querySelectorAll('.rollout').length") == 2)
    until("the pause", lambda: text("[data-key=spring] .chip") == "Paused")
    press("/")
    assert js("return document.activeElement.id") == "search"
    press("vejle")
    until("the search", lambda: js("return document.querySelectorAll('.box').length") == 6)
    shoot("search-light-1280")
    js("const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    until("all boxes", lambda: js("return document.querySelectorAll('.box').length") == 24)
    change("apart", "one row for the states that are not told apart", lambda: "Other states: 16" in text("#legend"))
    assert js("return document.querySelectorAll('.box[data-part=others]').length") == 16
    assert "Other states: 16 boxes" in js("return document.querySelector('#share').ariaLabel")
    assert driver.title.startswith("Paused") and "hit" not in driver.title
    errors = [e for e in driver.get_log("browser") if e["level"] == "SEVERE" and "401" not in e["message"]]
    assert not errors, errors
    leave()


driver = browser()
try:
    size(*DESK)
    scheme("light")
    seen = []
    for step in [a_viewer_sees_and_orders_nothing, an_approver_agrees_by_keyboard, an_operator_follows_it_live, an_operator_sees_by_whose_certificates_the_boxes_are_known, going_on_is_a_choice]:
        step()
        seen += requests()
        print(f"ok {step.__name__}", flush=True)
    strangers = {u for u in seen if not u.startswith((URL, "data:"))}
    assert not strangers, strangers
    assert len(seen) > 20
finally:
    driver.quit()
