"""What the checks need: origins on the loopback interface, and the gateway before them.

Every process is started here and ended by its id.
"""

import asyncio
import os
import re
import subprocess
import tempfile
import threading
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
tls = {{ cert = "cert.pem", key = "key.pem" }}
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
[[route]]
name = "websocket"
match = {{ path = "/socket" }}
upstream = "websocket"
[[route]]
name = "http"
match = {{ path = "/{{*rest}}" }}
upstream = "http"
compress = {{}}
"""


class Handler(BaseHTTPRequestHandler):
    """/text can be stored and compressed, /echo sends back what came, /slow says three words a while apart."""

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
        else:
            self.answer(TEXT, Cache_Control="max-age=60", ETag='"text"')

    do_HEAD = do_GET

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
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


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
        }.get(name)

    @staticmethod
    def unary(message, context):
        context.set_trailing_metadata((("x-sum", str(len(message))),))
        return message

    @staticmethod
    def fail(message, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, message.decode())

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


class Gateway:
    """The gateway before all origins; with a certificate of its own making."""

    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory()
        self.certificate = os.path.join(self.folder.name, "cert.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", os.path.join(self.folder.name, "key.pem"), "-out", self.certificate],
            check=True, capture_output=True)
        self.grpc_server, grpc_port = serve_grpc()
        config = CONFIG.format(http=serve_http(), websocket=serve_websocket(), grpc=grpc_port)
        path = os.path.join(self.folder.name, "forebay.toml")
        with open(path, "w") as file:
            file.write(config)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FOREBAY_")}
        self.process = subprocess.Popen([os.path.abspath(program), "run", "-c", path], env=environment,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        killer = threading.Timer(30, self.process.kill)
        killer.start()
        log, ports = [], {}
        for line in self.process.stderr:
            log.append(line)
            match = re.search(r"(admin|listening) address=127\.0\.0\.1:(\d+)(?:.*tls=(\w+))?", line)
            if match:
                ports[(match.group(1), match.group(3))] = int(match.group(2))
            if len(ports) == 3:
                break
        killer.cancel()
        if len(ports) < 3:
            self.stop()
            raise SystemExit("the gateway did not start:\n" + "".join(log))
        # Whatever it still writes is read, or it would block.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        self.admin = ports[("admin", None)]
        self.plain, self.tls = ports[("listening", "false")], ports[("listening", "true")]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.grpc_server.stop(0)
        self.folder.cleanup()
