"""Orders things at the console of a node that runs, in headless Chromium: python orders.py URL USER PASSWORD SCREENSHOTS

The node has one model, and an archive that holds two results of it; ends with 0 when everything held.
"""

import sys

import looks
from chromium import browser
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

URL, USER, PASSWORD, SHOTS = sys.argv[1:]


def until(what, condition):
    WebDriverWait(driver, 60, poll_frequency=0.05).until(lambda _: condition(), message=what)


def js(script, *values):
    return driver.execute_script(script, *values)


def css(selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def text(selector):
    return js("return document.querySelector(arguments[0])?.textContent ?? ''", selector)


def press(*keys):
    webdriver.ActionChains(driver).send_keys(*keys).perform()


def focused():
    return js("return document.activeElement.id || document.activeElement.dataset.order || ''")


def is_open():
    return js("return document.querySelector('#order').open")


def looks_well(name):
    for theme in ["light", "dark"]:
        looks.scheme(driver, theme)
        for width, height in [looks.DESK, looks.PHONE]:
            looks.size(driver, width, height)
            looks.no_sideways_scroll(driver)
            low = looks.contrast(driver)
            assert not low, f"{name} {theme} {width}: {low}"
            looks.shoot(driver, SHOTS, f"{name}-{theme}-{width}", whole=False)
    looks.size(driver, *looks.DESK)


def log_in():
    driver.get(URL)
    assert not driver.find_elements(By.CSS_SELECTOR, "#order"), "nobody has logged in"
    css("#name").send_keys(USER)
    css("#password").send_keys(PASSWORD + Keys.ENTER)
    until("the orders", lambda: js("return document.body.hasAttribute('data-operates')"))
    until("the model", lambda: text("#models .chip") == "Active")
    assert not css("#destinations .orders").is_displayed(), "nothing was given up"


def suspend_and_resume_by_the_keyboard():
    css("#models li [data-order=suspend]").send_keys(Keys.ENTER)
    until("the question", is_open)
    assert focused() == "order-reason", focused()
    looks_well("suspend")
    press(Keys.ESCAPE)
    until("the question is gone", lambda: not is_open())
    assert focused() == "suspend", f"focus comes back: {focused()}"
    press(Keys.ENTER)
    until("the question again", is_open)
    press(Keys.TAB, Keys.TAB)
    assert focused() == "order-do", focused()
    press(Keys.ENTER)
    assert is_open() and text("#order-message") == "", "without a reason nothing is sent"
    css("#order-reason").send_keys("drift at three sites")
    press(Keys.TAB, Keys.TAB, Keys.ENTER)
    until("it is done", lambda: "is suspended" in text("#order-message"))
    assert focused() == "order-cancel", focused()
    press(Keys.ENTER)
    until("the model is off", lambda: text("#models .chip") == "Suspended" and "drift at three sites" in text("#models"))
    css("#models li [data-order=resume]").send_keys(Keys.ENTER)
    until("the question", is_open)
    css("#order-do").click()
    until("it is done", lambda: "is resumed" in text("#order-message"))
    css("#order-cancel").click()
    until("the model is on", lambda: text("#models .chip") == "Active")


def recall():
    css(".heading [data-order=recall]").click()
    css("#order-package").send_keys("brain")
    css("#order-do").click()
    until("the refusal", lambda: "recall-package-unknown" in text("#order-message"))
    assert css("#order-message").is_displayed() and not css("#order-found").is_displayed()
    css("#order-cancel").click()
    css("#models li [data-order=recall]").click()
    css("#order-do").click()
    until("what it would find", lambda: text("#order-rows tr") == "archive2000")
    assert "1 study" in text("#order-studies") and text("#order-do") == "Recall 2 results" and focused() == "order-reason"
    assert "suspend it, then recall" in text("#order-left")
    looks_well("recall")
    css("#order-reason").send_keys("boxes are shifted")
    css("#order-do").click()
    until("it is done", lambda: "is recalled in 1 study" in text("#order-message"))
    looks.shoot(driver, SHOTS, "recalled-dark-1280", whole=False)
    css("#order-cancel").click()
    assert driver.current_url.rstrip("/") == URL.rstrip("/"), driver.current_url


driver = browser()
try:
    looks.size(driver, *looks.DESK)
    looks.scheme(driver, "light")
    for step in [log_in, suspend_and_resume_by_the_keyboard, recall]:
        step()
        print(f"ok {step.__name__}", flush=True)
finally:
    driver.quit()
