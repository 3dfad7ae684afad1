"""Headless Chromium over its DevTools pipe: what a page shows, asks for and complains about."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--no-first-run", "--disable-dev-shm-usage", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """A page of Chromium, as a context manager.

    Args:
        profile: an empty folder for its data.

    Attributes:
        requests: URLs that the page asked for.
        complaints: what the console, the log and failed loads said.
    """

    def __init__(self, profile):
        self.requests, self.complaints = [], []
        (near, self._write), (self._read, far) = os.pipe(), os.pipe()
        # Out of the way of 3 and 4, which it reads from and writes to.
        read_there, write_there = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (near, far))
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{read_there} 4>&{write_there}', "bash", *command],
            pass_fds=(read_there, write_there),
            stderr=subprocess.DEVNULL,
        )
        for fd in (near, far, read_there, write_there):
            os.close(fd)
        self._received, self._events, self._id, self._session = b"", [], 0, {}

    def __enter__(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_):
        os.close(self._write)  # it ends when its pipe does
        self._process.wait(timeout=300)
        os.close(self._read)

    def call(self, method, **parameters):
        """Calls a method of the DevTools protocol and returns its result."""
        self._id += 1
        message = {"id": self._id, "method": method, "params": parameters, **self._session}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._id:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def open(self, url, *, width=1200, height=900, dark=False):
        """Loads a page in a window of that size and waits until it and its pictures are there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self._events.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._events:
            self._note(self._next())
        time.sleep(0.2)  # for the log
        self.call("Runtime.evaluate", expression="0")

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"]["value"]

    def screenshot(self, path):
        """Writes a PNG of the whole page."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self):
        while b"\0" not in self._received:
            assert select.select([self._read], [], [], 300)[0], "Chromium says nothing"
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium has ended"
            self._received += part
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, values = event.get("method"), event.get("params", {})
        self._events.append(method)
        if method == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])
        if method in (
            "Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown",
            "Network.loadingFailed",
        ):  # fmt: skip
            self.complaints.append(values)
