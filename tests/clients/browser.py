"""Pages for a browser without a window, and what their scripts found out.

Both origins are on the loopback interface, and the browser is told to resolve no other name.
"""

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!doctype html><title>a page</title><script>
const asked = %s;
document.cookie = "id=1";
(async () => {
  const told = {};
  for (const [what, [url, options]] of Object.entries(asked)) {
    try {
      const answer = await fetch(url, options);
      told[what] = {
        status: answer.status, fields: Object.fromEntries(answer.headers), body: await answer.text(),
      };
    } catch (error) {
      told[what] = null;
    }
  }
  await fetch("/told", { method: "POST", body: JSON.stringify(told) });
})();
</script>"""

# How long a browser may take to start, and to ask for all of it.
PATIENCE = 90


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        found = self.path == "/page"
        body = (PAGE % json.dumps(self.server.pages.asked)).encode() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        told = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.pages.told.put(json.loads(told))


class Pages:
    """Two origins that serve the same page."""

    def __init__(self):
        self.asked, self.told = {}, queue.Queue()
        self.port, self.stranger = self.serve(), self.serve()

    def serve(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.pages, server.daemon_threads = self, True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.server_address[1]

    def run(self, browser, origin, asked):
        """Has a page of an origin ask for all of this, one after another, and returns what it got by name:
        status, the fields that it may read and the body, or `None` where the browser gives it nothing."""
        self.asked = asked
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, \
                open(os.path.join(folder, "log"), "w+") as log:
            # Root has no sandbox.
            sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
            command = [
                browser, "--headless=new", *sandbox, "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                "--disable-extensions", "--no-proxy-server", f"--user-data-dir={folder}/profile",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", f"{origin}/page",
            ]
            environment = {**os.environ, "HOME": folder}
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       start_new_session=True)
            try:
                return self.told.get(timeout=PATIENCE)
            except queue.Empty:
                log.seek(0)
                raise AssertionError(f"the page said nothing in {PATIENCE} s:\n{log.read()[-2000:]}") from None
            finally:
                # Its group: the processes it started are in no other.
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
