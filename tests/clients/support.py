"""What the checks need: origins on the loopback interface, and the gateway before them.

Every process is started here and ended by its id.
"""

import asyncio
import hashlib
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import websockets

TEXT = b"".join(b"line %d of a text that gets smaller\n" % number for number in range(2000))

CONFIG = """
[server]
workers = 2
[admin]
listen = "127.0.0.1:0"
[log]
access = "off"
format = "text"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
tls = {{ cert = "server.pem", key = "server.key" }}
[[listener]]
address = "127.0.0.1:0"
tls = {{ cert = "server.pem", key = "server.key" }}
client_ca = "authority.pem"
[[listener]]
address = "127.0.0.1:0"
tls = {{ cert = "server.pem", key = "server.key" }}
client_ca = "authority.pem"
client_auth = "optional"
[consumer.page]
# Of "the key".
keys = ["{key}"]
[upstream.http]
endpoints = ["http://127.0.0.1:{http}"]
[upstream.websocket]
endpoints = ["http://127.0.0.1:{websocket}"]
[upstream.grpc]
endpoints = ["http://127.0.0.1:{grpc}"]
protocol = "http2"
[[route]]
name = "grpc"
match = {{ path = "/test.Echo/{{*rest}}", method = ["POST"] }}
upstream = "grpc"
compress = {{}}
[upstream.nobody]
endpoints = ["http://127.0.0.1:1"]
[[route]]
name = "calls without an origin"
match = {{ path = "/test.Gone/{{*rest}}" }}
upstream = "nobody"
[[route]]
name = "calls of which there may be few"
match = {{ path = "/test.Few/{{*rest}}" }}
upstream = "nobody"
rate_limit = [{{ name = "few", key = "global", rate = "1/h", burst = 1 }}]
[[route]]
name = "calls with keys"
match = {{ path = "/test.Keys/{{*rest}}" }}
upstream = "grpc"
auth = {{ keys = {{}} }}
[[route]]
name = "calls that take too long"
match = {{ path = "/test.Late/{{*rest}}" }}
upstream = "grpc"
timeout = "300ms"
[[route]]
name = "websocket"
match = {{ path = "/socket" }}
upstream = "websocket"
[[route]]
name = "pages"
match = {{ path = "/pages/{{*rest}}" }}
upstream = "http"
[route.cors]
origins = ["http://127.0.0.1:{pages}", "http://localhost:{pages}"]
methods = ["GET", "PUT"]
headers = ["x-mine", "content-type"]
expose = ["x-shown"]
credentials = true
[[route]]
name = "pages with keys"
match = {{ path = "/pages/keys" }}
upstream = "http"
auth = {{ keys = {{}} }}
cors = {{ origins = ["http://127.0.0.1:{pages}"], headers = ["x-api-key"] }}
[[route]]
name = "all pages"
match = {{ path = "/pages/all" }}
upstream = "http"
cors = {{ origins = ["*"] }}
[[route]]
name = "http"
match = {{ path = "/{{*rest}}" }}
upstream = "http"
compress = {{}}
"""


class Handler(BaseHTTPRequestHandler):
    """/text can be stored and compressed, /echo sends back what came, /slow says three words a while apart,
    /fields and /pages/... tell the request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, body, content_type="text/plain", **fields):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in fields.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self):
        if self.path == "/slow":
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for word in [b"one ", b"two ", b"three"]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(word), word))
                self.wfile.flush()
                self.server.paused.wait(0.3)
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/fields" or self.path.startswith("/pages/"):
            fields = {"Cache_Control": "max-age=60"} if self.path == "/pages/stored" else {}
            self.answer(self.told(), "application/json", X_Shown="1", X_Hidden="1", **fields)
        else:
            self.answer(TEXT, Cache_Control="max-age=60", ETag='"text"')

    do_HEAD = do_PUT = do_DELETE = do_GET

    def told(self):
        """What was asked, for whom wants to know what the gateway sent; remembered too."""
        said = {"method": self.command, "path": self.path,
                "fields": {name.lower(): value for name, value in self.headers.items()},
                "body": self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()}
        self.server.asked.append(said)
        return json.dumps(said).encode()

    def do_POST(self):
        length = int(self.headers.get("Content-Length", 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(length)
        self.answer(body, "application/octet-stream")


def serve_http():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.paused = threading.Event()
    server.asked = []
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def serve_websocket():
    """Sends back every message; `close` closes with a code of its own."""

    async def echo(connection):
        async for message in connection:
            if message == "close":
                await connection.close(4001, "as you wish")
                return
            await connection.send(message)

    async def serve(ready):
        async with websockets.serve(echo, "127.0.0.1", 0, max_size=1 << 24) as server:
            ready.set_result(server.sockets[0].getsockname()[1])
            await asyncio.Future()

    ready = futures.Future()
    threading.Thread(target=lambda: asyncio.run(serve(ready)), daemon=True).start()
    return ready.result(10)


class Echo(grpc.GenericRpcHandler):
    """Messages are bytes as they are: no generated code."""

    def service(self, call):
        name = call.method.rsplit("/", 1)[-1]
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Stream": grpc.unary_stream_rpc_method_handler(self.stream),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Sleep": grpc.unary_unary_rpc_method_handler(self.sleep),
        }.get(name)

    @staticmethod
    def unary(message, context):
        context.set_trailing_metadata((("x-sum", str(len(message))),))
        return message

    @staticmethod
    def fail(message, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, message.decode())

    @staticmethod
    def sleep(message, context):
        while context.is_active():
            time.sleep(0.02)
        return message

    @staticmethod
    def stream(message, context):
        for number in range(20):
            yield b"%d %s" % (number, message)

    @staticmethod
    def both(messages, context):
        for message in messages:
            yield message[::-1]


def serve_grpc():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certify(folder, name, subject, alternative=None, authority=None):
    """Makes NAME.pem and NAME.key: by an authority, or else signed by itself."""
    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={subject}",
           "-keyout", f"{name}.key"]
    more = ["-addext", f"subjectAltName={alternative}"] if alternative else []
    if authority is None:
        openssl(folder, *new, "-x509", "-days", "2", *more, "-out", f"{name}.pem")
        return
    openssl(folder, *new, "-out", f"{name}.csr")
    with open(os.path.join(folder, f"{name}.ext"), "w") as file:
        file.write(f"subjectAltName={alternative}\n")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
            "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


class Gateway:
    """The gateway before all origins; with certificates of its own making."""

    def __init__(self, program, pages):
        self.folder = tempfile.TemporaryDirectory()
        folder = self.folder.name
        certify(folder, "server", "localhost", "DNS:localhost,IP:127.0.0.1")
        for authority in ["authority", "stranger"]:
            certify(folder, authority, authority)
            certify(folder, f"by-{authority}", "alice", "DNS:alice.example", authority)
        self.certificate = self.file("server.pem")
        self.grpc_server, grpc_port = serve_grpc()
        self.origin = serve_http()
        config = CONFIG.format(http=self.origin.server_address[1], websocket=serve_websocket(), grpc=grpc_port,
                               pages=pages, key=hashlib.sha256(b"the key").hexdigest())
        path = self.file("forebay.toml")
        with open(path, "w") as file:
            file.write(config)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
        self.process = subprocess.Popen([os.path.abspath(program), "run", "-c", path], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        killer = threading.Timer(30, self.process.kill)
        killer.start()
        log, ports, wanted = [], [], config.count("[[listener]]")
        for line in self.process.stderr:
            log.append(line)
            if match := re.search(r" listening address=127\.0\.0\.1:(\d+)", line):
                ports.append(int(match.group(1)))
            if len(ports) == wanted:
                break
        killer.cancel()
        if len(ports) < wanted:
            self.stop()
            raise SystemExit("the gateway did not start:\n" + "".join(log))
        # Whatever it still writes is read, or it would block.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.plain, self.tls, self.required, self.optional = ports

    def file(self, name):
        return os.path.join(self.folder.name, name)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.grpc_server.stop(0)
        self.folder.cleanup()
