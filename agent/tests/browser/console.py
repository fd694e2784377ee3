"""Drives the console in headless Chromium: python console.py PLAIN_URL TLS_URL USER PASSWORD SCREENSHOTS

Prints `NEXT name` when it is ready for that change of the node's state, and ends with 0 when everything held.
"""

import json
import sys
import tarfile
import tempfile
from pathlib import Path

import looks as looks_at
from chromium import browser
from looks import DESK, PHONE
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PLAIN, TLS, USER, PASSWORD, SHOTS = sys.argv[1:]


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
    return looks_at.contrast(driver)


def requests():
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            yield message["params"]["request"]["url"]


def press(*keys):
    webdriver.ActionChains(driver).send_keys(*keys).perform()


def focused():
    return js("return document.activeElement.id || document.activeElement.className")


def live_without_reload():
    driver.get(PLAIN)
    js("window.sameDocument = true")
    until("the empty state", lambda: "dcmsend -nh +sd +r -aec SUND 127.0.0.1 11112" in text("#dcmsend"))
    shoot("empty-light-1280")
    change("receiving", "the first study", lambda: text(".study-name") == "Sørensen, Åse Ægidia")
    assert text(".study-state .chip") == "Receiving"
    until("the updater is silent", lambda: "systemctl status sund-updater" in text("#updater"))
    css(".study-name").send_keys(Keys.ENTER)  # opened and focused: an update must disturb neither
    change("running", "the running step", lambda: text(".track [aria-current] .track-word") == "Running")
    assert "brain" in text("#queue")
    change("delivered", "the delivery", lambda: text(".study-state .chip") == "Delivered")
    assert js("return document.activeElement.className") == "study-name"
    assert js("return document.activeElement.getAttribute('aria-expanded')") == "true"
    assert js("return window.sameDocument"), "the page was loaded again"
    shoot("one-study-light-1280")


def hostile_names_stay_text():
    assert "<script>alert(1)</script>" in text("[data-key=s5] .study-name")
    assert "<img src=x onerror=" in text("[data-key=s5] .facts")
    assert js("return document.querySelectorAll('#study-list script, #study-list svg, #study-list b, img[src=x]').length") == 0
    assert driver.title == "Sund"


def looks():
    change("all", "all studies", lambda: js("return document.querySelectorAll('.study').length") == 7)
    hostile_names_stay_text()
    until("the updater", lambda: "Waits" in text("#updater"))
    js("document.activeElement.blur()")
    for name in ["light", "dark"]:
        scheme(name)
        for width, height in [DESK, PHONE]:
            size(width, height)
            shoot(f"day-{name}-{width}")
            no_sideways_scroll()
            low = contrast()
            assert not low, f"{name} {width}: {low}"
    size(320, 640)
    no_sideways_scroll()  # WCAG 1.4.10
    size(*DESK)
    grounds = set()
    for name in ["light", "dark"]:
        scheme(name)
        grounds.add(js("return getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2, grounds
    before = js("return getComputedStyle(document.body).backgroundColor")
    css("#theme").click()
    assert js("return getComputedStyle(document.body).backgroundColor") != before, "the button changes the theme"
    driver.refresh()
    assert js("return getComputedStyle(document.body).backgroundColor") != before, "the choice stays"
    js("localStorage.clear()")


def keyboard_alone():
    driver.get(PLAIN)
    until("the studies", lambda: js("return document.querySelectorAll('.study').length") == 7)
    press(Keys.TAB)
    assert focused() == "skip", focused()
    press(Keys.ENTER)
    until("the skip link's target", lambda: focused() == "studies")
    for _ in range(40):
        press(Keys.TAB)
        if focused() == "study-name" and "Sørensen" in js("return document.activeElement.textContent"):
            break
    else:
        raise AssertionError("the study cannot be reached by Tab")
    press(Keys.ENTER)
    assert js("return document.querySelector('#study-s1').checkVisibility()"), "the detail did not open"
    assert "infer 11.4 s" in text("#study-s1")
    shoot("detail-dark-1280")
    press(Keys.TAB)
    assert focused() == "shot", focused()
    press(Keys.SPACE)
    until("the viewer", lambda: js("return document.querySelector('#viewer').open"))
    until("the picture", lambda: js("const p = document.querySelector('#viewer-picture'); return p.complete && p.naturalWidth > 0"))
    assert focused() == "viewer-close", focused()
    shoot("viewer-dark-1280", whole=False)
    press(Keys.ESCAPE)
    assert not js("return document.querySelector('#viewer').open")
    assert focused() == "shot", "focus comes back to the picture"
    size(*PHONE)
    scheme("light")
    no_sideways_scroll()
    js("document.querySelector('#study-s1').scrollIntoView()")
    shoot("detail-light-390", whole=False)
    css("[data-key=s1] .results .shot").click()
    shoot("viewer-light-390", whole=False)
    no_sideways_scroll()
    css("#viewer-close").click()
    size(*DESK)


def finding_a_study():
    press("/")
    assert focused() == "search"
    press("øster")
    until("the search", lambda: js("return [...document.querySelectorAll('.study-name')].map((e) => e.textContent).join()") == "Øster, Jørgen")
    js("const s = document.querySelector('#search'); s.value = ''; s.dispatchEvent(new Event('input'))")
    css("#filters [data-key=attention]").click()
    until("the filter", lambda: js("return document.querySelectorAll('.study').length") == 2)
    assert "two-patients-in-one-study" in text("[data-key=s4] .why") and "volume-mixed-spacing" in text("[data-key=s8] .why")
    shoot("attention-light-1280")
    css("#filters [data-key=all]").click()
    assert "Sørensen" not in driver.current_url and "?" not in driver.current_url


def the_updater():
    driver.get(PLAIN)
    until("the updater", lambda: "Waits" in text("#updater [data-key=action]"))
    action, last, head = (text(f"#updater [data-key={key}]") for key in ["action", "last", "head"])
    assert "north-2026-11-2" in action and "from a stick" in action and "rollouts-stopped" in action, action
    assert "Taken back" in last and "watch-missed" in last, last
    assert "Findings" in action and "golden-cases held: 2 of 2 cases" in action, action
    assert "A withdrawn state is not left: the agent does not answer" in head and "agent-away" in head, head
    assert "The last poll found nothing: the server is away" in head, head
    assert "north-2026-10-3" in head and "Region not heard" in head and "does not reach this box: the mirror does not answer" in head, head
    assert "All rollouts are stopped" in text("#updater [data-key=stopped]")
    rest = text("#updater [data-key=rest]")
    assert "nothing would be taken: the region offers version 8, and this box takes 9" in rest, rest
    for shown in ["Last poll", "Polls every5 min", "Channel serverhttps://channel.region.example/", "TenantDEFAULT", "sealed to 9b2c3d4e5f607182"]:
        assert shown in rest, (shown, rest)
    assert "bone-age is off" in rest and "drift at three sites" in rest and "timestamp until" in rest, rest
    js("document.querySelector('#updates').scrollIntoView()")
    shoot("updater-light-1280", whole=False)
    scheme("dark")
    shoot("updater-dark-1280", whole=False)
    scheme("light")
    change("idle", "an updater at rest", lambda: "In touch" in text("#updater") and js("return !document.querySelector('#updater [data-key=action]')"))
    assert "Held" in text("#updater [data-key=last]")
    assert "no key for escrow" not in text("#updater [data-key=rest]")
    assert "version 9 is offered, not below the counter (9)" in text("#updater [data-key=rest]")
    shoot("updater-idle-light-1280", whole=False)
    change("trouble", "a system that is not left", lambda: "In trouble" in text("#updater [data-key=head]"))
    head = text("#updater [data-key=head]")
    assert "In touch" not in head and "os-stays" in head and head.count("has none before it") == 1, head
    assert "no key for escrow" in text("#updater [data-key=rest]")
    size(375, 740)
    js("document.querySelector('#updates').scrollIntoView()")
    no_sideways_scroll()
    assert not contrast(), contrast()
    shoot("updater-trouble-light-375", whole=False)
    size(*DESK)
    js("document.querySelector('#updates').scrollIntoView()")
    shoot("updater-trouble-light-1280", whole=False)
    change("odd", "an updater that does something else", lambda: "At work" in text("#updater [data-key=head]"))
    assert "looks at a system that was not found good on this box" in text("#updater [data-key=head]")
    change("damaged", "a damaged status", lambda: "Unreadable" in text("#updater") and "is no status" in text("#updater"))
    shoot("updater-damaged-light-1280", whole=False)


def the_variant():
    """A page of a system for patients says nothing of it."""
    assert not css("#variant").is_displayed()
    change("debug", "the debug variant", lambda: text("#variant") == "DEBUG: not for patients")
    assert "DEBUG: not for patients" in text("#updater [data-key=rest]")
    for name in ["dark", "light"]:
        scheme(name)
        assert not contrast(), contrast()
    no_sideways_scroll()
    shoot("debug-light-1280", whole=False)


def states_of_the_node():
    change("full", "the full spool", lambda: text("#band-word") == "Full")
    assert driver.title.startswith("Full")
    shoot("full-light-1280")
    change("draining", "the drain", lambda: text("#band-word") == "Draining")
    errors = [e for e in driver.get_log("browser") if e["level"] == "SEVERE"]
    assert not errors, errors
    change("stop", "the lost connection", lambda: text("#band-word") == "No connection")
    shoot("lost-light-1280")
    driver.get_log("browser")  # refused connections are expected from here on


def a_support_bundle():
    with tempfile.TemporaryDirectory() as folder:
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": folder})
        css("#support button").click()
        until("the bundle", lambda: list(Path(folder).glob("sund-support-*.tar")))
        [bundle] = Path(folder).glob("sund-support-*.tar")
        with tarfile.open(bundle) as archive:
            assert "sund-support/status.json" in archive.getnames(), archive.getnames()
    assert css("#studies").is_displayed(), "the page stays"


def login_over_tls():
    driver.get(TLS)
    until("the login page", lambda: driver.current_url.endswith("/login"))
    shoot("login-light-1280")
    css("#name").send_keys(USER)
    css("#password").send_keys("guess" + Keys.ENTER)
    until("the refusal", lambda: "wrong" in text("#message"))
    assert css("[role=alert]").is_displayed()
    size(*PHONE)
    no_sideways_scroll()
    shoot("login-light-390")
    size(*DESK)
    css("#name").send_keys(USER)
    css("#password").send_keys(PASSWORD + Keys.ENTER)
    until("the studies", lambda: js("return document.querySelectorAll('.study').length") == 7)
    until("the user", lambda: text("#user") == USER)
    assert js("return document.cookie") == "", "scripts must not see the session"
    size(*PHONE)
    no_sideways_scroll()
    size(*DESK)
    a_support_bundle()
    css("#logout button").click()
    until("the logout", lambda: driver.current_url.endswith("/login"))
    driver.get(TLS)
    until("the login page again", lambda: driver.current_url.endswith("/login"))


driver = browser()
try:
    size(*DESK)
    scheme("light")
    seen = []
    for step in [live_without_reload, looks, keyboard_alone, finding_a_study, the_variant, the_updater, states_of_the_node, login_over_tls]:
        step()
        seen += requests()
        print(f"ok {step.__name__}", flush=True)
    strangers = {u for u in seen if not u.startswith((PLAIN, TLS, "data:"))}
    assert not strangers, strangers
    assert len(seen) > 20
finally:
    driver.quit()
