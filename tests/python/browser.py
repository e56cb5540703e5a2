"""A real browser, Debian's chromium, driven over a pipe by its DevTools protocol; nothing else is needed.

https://chromedevtools.github.io/devtools-protocol/; messages are JSON, each followed by a zero byte.
"""

import base64
import fcntl
import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time

PATIENCE = 60  # seconds; a busy machine starts a browser slowly
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-extensions",
         "--remote-debugging-pipe"]


# Puts the ends of the pipes where the browser expects them. Nothing of ours runs between fork and exec: gRPC's threads
# do not survive that.
LAUNCH = """
import os, sys
hears, says = (int(fd) for fd in sys.argv[1:3])
os.dup2(hears, 3), os.dup2(says, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def above(fd):
    """The same, out of the way of 3 and 4."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD, 10)
    os.close(fd)
    return moved


class Browser:
    def __init__(self, directory):
        program = shutil.which("chromium")
        assert program, "no chromium: run ./test, or apt-get install chromium"
        (hears, self._to), (self._from, says) = (map(above, os.pipe()) for _ in range(2))
        command = [sys.executable, "-c", LAUNCH, str(hears), str(says), program, *FLAGS, f"--user-data-dir={directory}",
                   "about:blank"]
        self.process = subprocess.Popen(command, pass_fds=(hears, says), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(hears)
        os.close(says)
        self._ids = itertools.count(1)
        self._heard = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        rest = b""
        while some := os.read(self._from, 1 << 16):
            *whole, rest = (rest + some).split(b"\0")
            for message in whole:
                self._heard.put(json.loads(message))
        self._heard.put(None)

    def call(self, method, session=None, heard=lambda event: None, **parameters):
        """Calls, and tells `heard` what happens meanwhile."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._heard.get(timeout=PATIENCE)
            assert answer is not None, "the browser has ended"
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            heard(answer)

    def page(self, width=1280, height=900, dark=False):
        return Page(self, width, height, dark)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._to)


class Page:
    """A tab: what went wrong in it is in `errors`, what it asked for in `requests`."""

    def __init__(self, browser, width, height, dark):
        self.browser = browser
        self.errors, self.requests = [], []
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Page", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, self._heard, **parameters)

    def _heard(self, event):
        if event.get("sessionId") != self.session:
            return
        method, about = event["method"], event["params"]
        if method == "Runtime.exceptionThrown":
            self.errors.append(about["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "assert"):
            self.errors.append(about["args"])
        # What cannot be reached is for the page to tell.
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error" and about["entry"]["source"] != "network":
            self.errors.append(about["entry"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])

    def before(self, script):
        """Runs a script before those of every page that is opened."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def open(self, url):
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer

    def run(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression, patience=PATIENCE):
        until = time.monotonic() + patience
        while not (value := self.run(expression)):
            assert time.monotonic() < until, f"{expression} never came true:\n{self.text()}"
            time.sleep(0.1)
        return value

    def text(self, selector="body"):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText")

    def texts(self, selector):
        return self.run(f"[...document.querySelectorAll({json.dumps(selector)})].map(it => it.innerText)")

    def picture(self, path):
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self):
        self.browser.call("Target.closeTarget", targetId=self.target)
