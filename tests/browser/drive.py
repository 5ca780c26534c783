"""Drives the browser: serves the page, starts a relay and chromium, lets the Rust client talk with the page, and judges.

Called by run.sh, with the relay's binary in RESTANTE. The page tells what happened by `POST /result`, a step at a time
(page/visit.js); the answer comes when the runner has done its part of the step, a method of `Steps` here.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

BINARY = os.environ["RESTANTE"]
# The page fetches the vectors too, which lie beside it.
TESTS = Path(__file__).resolve().parents[1]
PAGE = "browser/page/"
CHROMIUM = [
    "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-breakpad", "--disable-extensions", "--disable-sync", "--disable-background-networking",
    "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr",
]  # fmt: skip


class Failed(Exception):
    """A check that does not hold."""


checks = 0


def check(what, holds, saw=None):
    global checks
    if not holds:
        raise Failed(f"{what}: not so; there was {saw!r}")
    checks += 1
    print(f"ok: {what}", flush=True)


def environment(home, **more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RESTANTE", "XDG_"))}
    return kept | {"HOME": home} | more


def texts(events):
    """The texts among what the page read."""
    contents = [event["content"] for event in events if event["type"] == "message"]
    return [content["text"] for content in contents if content["type"] == "text"]


class Rust:
    """The Rust client with a profile of its own."""

    def __init__(self, home, origin):
        self.home = home
        self.run("init", "--relay", origin, "--name", "rust")

    def run(self, *args):
        command = [BINARY, "client", "--profile", os.path.join(self.home, "rust"), *args]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.home, env=environment(self.home))
        if done.returncode:
            raise Failed(f"{args[0]} ended with {done.returncode}: {done.stderr}")
        return done.stdout


class Steps:
    """What the runner does and checks at each step of a page; `over` gets how the last one ended."""

    def __init__(self):
        self.rust, self.over = None, queue.Queue()

    def counted(self, cases, wrong):
        check(f"{cases} cases of the vectors hold", cases > 100 and not wrong, wrong)

    def registered(self, anotherKey, exported, plainGet):
        check("the page reaches the relay, verifies what it signs, registers and logs in", True)
        check("another fingerprint than the relay's is refused", "fingerprint" in anotherKey, anotherKey)
        check("the device key cannot be exported", exported.startswith("InvalidAccessError"), exported)
        check("a plain GET of the stream is answered 426", "426 upgrade_required" in plainGet, plainGet)

    def invited(self, link):
        self.rust.run("add", "page", link)
        self.rust.run("send", "page", "hello from rust")

    def heard(self, waited, lookedUp):
        hello = [event["content"] for event in waited if event["type"] == "message"][0]
        check("the Rust client adds the page's link, and says hello", (hello["type"], hello["name"]) == ("hello", "rust"))
        check("what waited comes by the stream, is opened and unsealed", texts(waited) == ["hello from rust"], waited)
        acked = [event["removed"] for event in waited if event["type"] == "acked"]
        check("acknowledgements over the stream are answered", acked == [1, 1], acked)
        check("then it is drained", {"type": "drained"} in waited, waited)
        check("the Rust client's list and prekeys, looked up, verify", lookedUp == "done", lookedUp)
        events = [json.loads(line) for line in self.rust.run("receive", "--json").splitlines()]
        heard = [event["text"] for event in events if event["event"] == "text"]
        check("the Rust client receives from the page", heard == ["hello from the browser"], events)

    def listening(self):
        self.rust.run("send", "page", "more, by the welcome's token")

    def served(self, pushed, welcomed, live, prolonged):
        check("what is sent while the stream is open comes at once", texts(pushed) == ["more, by the welcome's token"], pushed)
        check("it came by the token of the page's welcome", welcomed)
        check("a live envelope comes", live[-1].get("content") == {"type": "typing", "active": True}, live)
        check("a newer session takes the stream on", prolonged[-1]["type"] == "ready", prolonged)

    def left(self):
        self.rust.run("send", "page", "after the stream")

    def done(self, polled):
        check("what comes without a stream is polled", texts(polled) == ["after the stream"], polled)
        self.over.put(None)

    def refused(self, asked, posted, streamed, there):
        check("a strange page finds the relay's address", there == "done", there)
        check("its fetch is refused", asked == "TypeError: Failed to fetch", asked)
        check("its post is refused", posted == "TypeError: Failed to fetch", posted)
        check("its WebSocket closes without having been open", "1006 before it was open" in streamed, streamed)
        self.over.put(None)

    def failed(self, why):
        raise Failed(f"the page: {why}")


class Server(SimpleHTTPRequestHandler):
    """The page's files, and `POST /result`."""

    def __init__(self, steps, *args):
        self.steps = steps
        super().__init__(*args, directory=str(TESTS))

    def do_POST(self):
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            getattr(self.steps, told.pop("step"))(**told)
        except Exception as error:  # the main thread ends, by whatever it was
            self.steps.over.put(error)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def serve(stack, steps):
    """A static server on a free port; its origin."""
    server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, steps)))
    stack.callback(server.shutdown)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def start_relay(stack, home, web_origin):
    """The relay and what it says when it listens."""
    data = os.path.join(home, "data")
    command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--data", data, "--json"]
    settings = environment(home, RESTANTE_SERVER__WEB_ORIGINS=web_origin, RESTANTE_LOG="debug")
    log = stack.enter_context(open(os.path.join(home, "relay.log"), "w"))
    relay = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=home, env=settings)
    stack.callback(relay.wait)
    stack.callback(relay.terminate)
    line = relay.stdout.readline()
    if not line:
        raise Failed("the relay did not start")
    return relay, json.loads(line)


def browse(home, url, steps):
    """Opens a page in a browser of its own and waits until the page is done."""
    profile = tempfile.mkdtemp(dir=home)
    with open(os.path.join(home, "chromium.log"), "a") as log:
        command = [*CHROMIUM, f"--user-data-dir={profile}", url]
        chromium = subprocess.Popen(command, stdout=log, stderr=log, cwd=profile, env=environment(profile))

    def watch():
        steps.over.put(Failed(f"chromium ended with {chromium.wait()}"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    outcome = steps.over.get()
    chromium.terminate()
    watcher.join()
    if outcome:
        raise outcome


def main(home):
    with ExitStack() as stack:
        visiting, strangers = Steps(), Steps()
        origin, strange = serve(stack, visiting), serve(stack, strangers)
        relay, said = start_relay(stack, home, origin)
        place = {"origin": said["listening"], "fingerprint": said["fingerprint"]}
        visiting.rust = Rust(home, place["origin"])

        browse(home, f"{origin}/{PAGE}#{urlencode(place)}", visiting)
        stats = [BINARY, "stats", "--json", "--data", os.path.join(home, "data")]
        told = json.loads(subprocess.run(stats, capture_output=True, text=True, env=environment(home), check=True).stdout)
        check("the relay counts two accounts", told["accounts"] == 2, told)
        check("nothing waits for anybody", told["envelopes"] == 0, told)
        browse(home, f"{strange}/{PAGE}#{urlencode(place | {'stranger': 1})}", strangers)

        relay.terminate()
        check("the relay ends with 0", relay.wait() == 0, relay.returncode)
        log = Path(home, "relay.log").read_text().splitlines()
        turned_away = [line for line in log if "status=403" in line]
        routes = [line.split('route="')[1].split('"')[0] for line in turned_away]
        check("it was the relay that refused", routes == ["/v1/auth/challenge", "/v1/stream"], turned_away)
    print(f"the browser: {checks} checks")


def told_to_stop(*_):
    raise Failed("it took too long, or was told to stop")


def last_words(log):
    """The end of a log, but for what chromium says of a machine without a desktop."""
    lines = log.read_text().splitlines() if log.exists() else []
    return "\n".join([line for line in lines if "dbus" not in line][-30:])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, told_to_stop)
    with tempfile.TemporaryDirectory(prefix="restante-browser-", ignore_cleanup_errors=True) as directory:
        try:
            main(directory)
        except Exception as error:
            for log in ("relay.log", "chromium.log"):
                print(f"--- {log}\n{last_words(Path(directory, log))}", file=sys.stderr)
            sys.exit(f"drive.py: {type(error).__name__}: {error}")
