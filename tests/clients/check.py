"""Real clients through the gateway. Usage: check.py GATEWAY [--skip-missing]

Ends with a line "N passed, N failed", and with 1 where a check fails or a client is missing.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time

import grpc
import websockets

from browser import Pages
from support import TEXT, Gateway


class Missing(Exception):
    """A client that is not here."""


def client(*names):
    for name in names:
        if found := shutil.which(name):
            return found
    raise Missing(names[0])


PAGES = Pages()


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, timeout=120, **options)
    assert done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[-800:]}"
    return done.stdout


def curl(*arguments, **options):
    return run(client("curl"), "-sS", "--noproxy", "*", *arguments, **options)


def curl_speaks_every_version(gateway):
    plain, tls = f"http://127.0.0.1:{gateway.plain}", f"https://localhost:{gateway.tls}"
    trust = ["--cacert", gateway.certificate]
    for version, url, more, said in [
        ("--http1.0", plain, [], "1.1"),
        ("--http1.1", plain, [], "1.1"),
        ("--http2-prior-knowledge", plain, [], "2"),
        ("--http1.1", tls, trust, "1.1"),
        ("--http2", tls, trust, "2"),
        ("--http2", tls, [*trust, "--tlsv1.3"], "2"),
        ("--http2", tls, [*trust, "--tls-max", "1.2"], "2"),
    ]:
        out = curl(version, *more, "-w", "\n%{http_version} %{http_code}", f"{url}/text")
        body, _, line = out.rpartition(b"\n")
        assert body == TEXT, f"{version} {url}: {len(body)} bytes"
        found, code = line.decode().split()
        assert code == "200" and (found == said or version == "--http1.0"), f"{version}: {line}"


def curl_does_not_trust_a_stranger(gateway):
    command = [client("curl"), "-sS", "--noproxy", "*", f"https://localhost:{gateway.tls}/text"]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 60
    old = [*command, "--cacert", gateway.certificate, "--tls-max", "1.1"]
    assert subprocess.run(old, capture_output=True, timeout=60).returncode == 35


# How curl ends when its certificate, or none, is not enough: 35, 98 in the handshake; the others where TLS 1.3 tells a
# client so only when it reads or writes.
REFUSED = (16, 35, 55, 56, 92, 98)


def curl_shows_a_certificate(gateway):
    """Where one is wanted, nobody gets in without; where it is welcome, a bad one is refused too."""
    forged = ["-H", "X-Client-Cert-Subject: CN=root", "-H", "X-Client-Cert-San: DNS:root", "-H", "Client-Cert: :AAAA:"]

    def ask(port, name, *more):
        shown = ["--cert", gateway.file(f"{name}.pem"), "--key", gateway.file(f"{name}.key")] if name else []
        command = [client("curl"), "-sS", "--noproxy", "*", "--cacert", gateway.certificate, *shown, *forged, *more,
                   f"https://localhost:{port}/fields"]
        before = len(gateway.origin.asked)
        done = subprocess.run(command, capture_output=True, timeout=60)
        if done.returncode:
            assert len(gateway.origin.asked) == before and not done.stdout, "the origin was asked for a stranger"
            return done.returncode
        fields = json.loads(done.stdout)["fields"]
        assert "client-cert" not in fields, fields
        return fields.get("x-client-cert-subject"), fields.get("x-client-cert-san")

    nobody, alice = (None, None), ("CN=alice", "DNS:alice.example")
    for more in [["--http1.1"], ["--http2"], ["--http1.1", "--tls-max", "1.2"], ["--http2", "--tls-max", "1.2"]]:
        for port, without in [(gateway.required, None), (gateway.optional, nobody), (gateway.tls, nobody)]:
            told = ask(port, None, *more)
            assert told == without if without else told in REFUSED, f"{more}, no certificate: {told}"
            told = ask(port, "by-authority", *more)
            assert told == (nobody if port == gateway.tls else alice), f"{more}: {told}"
            told = ask(port, "by-stranger", *more)
            right = told == nobody if port == gateway.tls else told in REFUSED
            assert right, f"{more}, a stranger's certificate: {told}"


def curl_decodes_what_is_compressed(gateway):
    for version in ["--http1.1", "--http2-prior-knowledge"]:
        for coding in ["gzip", "br", "zstd"]:
            if coding not in curl("--version").decode().replace("brotli", "br").split("Features:")[1] and coding != "gzip":
                continue
            ask = [version, "-H", f"Accept-Encoding: {coding}", f"http://127.0.0.1:{gateway.plain}/text"]
            raw, head = curl("--raw", *ask), curl("-I", *ask).decode().lower()
            assert f"content-encoding: {coding}" in head and "vary: accept-encoding" in head, head
            assert len(raw) < len(TEXT) / 4, f"{coding}: {len(raw)} bytes"
            assert curl("--compressed", *ask) == TEXT, coding


def curl_uploads_and_continues(gateway):
    url = f"http://127.0.0.1:{gateway.plain}"
    body = os.urandom(300_000)
    for version in ["--http1.1", "--http2-prior-knowledge"]:
        for more in [[], ["-H", "Transfer-Encoding: chunked"]]:
            if more and version != "--http1.1":
                continue
            sent = curl(version, "-H", "Expect:", *more, "--data-binary", "@-", f"{url}/echo", input=body)
            assert sent == body, version
    assert curl("-H", "Expect: 100-continue", "--data-binary", "@-", f"{url}/echo", input=body) == body
    assert curl("-r", "100-199", f"{url}/text") == TEXT[100:200]
    assert curl("-H", 'If-None-Match: "text"', "-w", "%{http_code}", f"{url}/text") == b"304"


def curl_sees_a_slow_answer_grow(gateway):
    url = f"http://127.0.0.1:{gateway.plain}/slow"
    for more in [[], ["--compressed"]]:
        command = [client("curl"), "-sSN", "--noproxy", "*", *more, url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        first = os.read(process.stdout.fileno(), 100)
        rest, _ = process.communicate(timeout=60)
        assert first == b"one " and first + rest == b"one two three", (more, first, rest)


def h2load_asks_many_at_once(gateway):
    for url, clients in [(f"http://127.0.0.1:{gateway.plain}/text", 10), (f"https://127.0.0.1:{gateway.tls}/text", 4)]:
        for more in [[], ["-H", "accept-encoding: br"]]:
            out = run(client("h2load"), "-n", "2000", "-c", str(clients), "-m", "20", *more, url).decode()
            assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in out, out
    out = run(client("h2load"), "--h1", "-n", "500", "-c", "5", f"http://127.0.0.1:{gateway.plain}/text").decode()
    assert "500 succeeded, 0 failed" in out, out


def websockets_talk_through_a_tunnel(gateway):
    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{gateway.plain}/socket", max_size=1 << 24, proxy=None) as socket:
            for message in ["hello", "", "x" * 200_000, b"\x00\xff" * 50_000]:
                await socket.send(message)
                assert await socket.recv() == message
            latency = await (await socket.ping())
            assert latency >= 0
            await socket.send("close")
            try:
                await socket.recv()
                raise AssertionError("it did not close")
            except websockets.ConnectionClosed as closed:
                assert (closed.rcvd.code, closed.rcvd.reason) == (4001, "as you wish"), closed

        many = [websockets.connect(f"ws://127.0.0.1:{gateway.plain}/socket", proxy=None) for _ in range(20)]
        sockets = await asyncio.gather(*many)
        for number, socket in enumerate(sockets):
            await socket.send(str(number))
        assert [await socket.recv() for socket in sockets] == [str(number) for number in range(20)]
        await asyncio.gather(*(socket.close() for socket in sockets))

    asyncio.run(asyncio.wait_for(talk(), 60))


def websockets_over_tls(gateway):
    import ssl

    async def talk():
        trust = ssl.create_default_context(cafile=gateway.certificate)
        async with websockets.connect(f"wss://localhost:{gateway.tls}/socket", ssl=trust, proxy=None) as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"

    asyncio.run(asyncio.wait_for(talk(), 60))


def grpc_calls_and_streams(gateway):
    with open(gateway.certificate, "rb") as file:
        trust = grpc.ssl_channel_credentials(file.read())
    options = [("grpc.enable_http_proxy", 0)]
    for channel in [grpc.insecure_channel(f"127.0.0.1:{gateway.plain}", options),
                    grpc.secure_channel(f"localhost:{gateway.tls}", trust, options)]:
        with channel:
            unary = channel.unary_unary("/test.Echo/Unary")
            for message in [b"", b"hello", b"x" * 500_000]:
                answer, call = unary.with_call(message, timeout=30)
                assert answer == message
                assert dict(call.trailing_metadata())["x-sum"] == str(len(message))
            stream = channel.unary_stream("/test.Echo/Stream")(b"a", timeout=30)
            assert list(stream) == [b"%d a" % number for number in range(20)]
            both = channel.stream_stream("/test.Echo/Both")
            words = [b"one", b"two", b"three"]
            assert list(both(iter(words), timeout=30)) == [word[::-1] for word in words]
            try:
                channel.unary_unary("/test.Echo/Fail")(b"no", timeout=30)
                raise AssertionError("it did not fail")
            except grpc.RpcError as error:
                assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no"), error
            try:
                channel.unary_unary("/test.Echo/Nothing")(b"", timeout=30)
                raise AssertionError("it did not fail")
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def grpc_calls_that_the_gateway_ends(gateway):
    """They end with a status of gRPC, not with one that grpcio makes of HTTP's."""
    channel = grpc.insecure_channel(f"127.0.0.1:{gateway.plain}", [("grpc.enable_http_proxy", 0)])
    with channel:
        for method, code in [
            ("/test.Gone/Call", grpc.StatusCode.UNAVAILABLE),
            ("/test.Few/Call", grpc.StatusCode.UNAVAILABLE),
            ("/test.Few/Call", grpc.StatusCode.RESOURCE_EXHAUSTED),
            ("/test.Keys/Unary", grpc.StatusCode.UNAUTHENTICATED),
            ("/test.Late/Sleep", grpc.StatusCode.DEADLINE_EXCEEDED),
        ]:
            begun = time.monotonic()
            try:
                channel.unary_unary(method)(b"x", timeout=30)
                raise AssertionError(f"{method} did not fail")
            except grpc.RpcError as error:
                assert error.code() == code, (method, error)
                # Without a status of ours, grpcio writes what it has made up: "Received http2 header with status".
                assert "http2" not in error.details() and error.details(), (method, error)
            assert time.monotonic() - begun < 20, f"{method}: the client's own time-out"


def chromium_lets_pages_do_what_the_route_says(gateway):
    """The Fetch standard, by who made it: `None` is a request that the page gets no answer to."""
    browser = client("chromium", "chromium-browser", "google-chrome")
    before = len(gateway.origin.asked)
    pages = f"http://127.0.0.1:{gateway.plain}/pages"
    put, keys = {"method": "PUT", "body": "b", "headers": {"x-mine": "1"}}, {"headers": {"x-api-key": "the key"}}
    simple = {"method": "POST", "body": "b", "headers": {"content-type": "text/plain"}}
    asked = {
        "simple": [f"{pages}/simple"],
        "simple, with a body": [f"{pages}/echo", simple],
        "preflighted": [f"{pages}/preflighted", put],
        "a refused method": [f"{pages}/refused", {"method": "DELETE"}],
        "a refused field": [f"{pages}/refused", {"headers": {"x-other": "1"}}],
        "credentialed": [f"{pages}/credentialed", {"credentials": "include"}],
        "credentialed and preflighted": [f"{pages}/credentialed", {**put, "credentials": "include"}],
        "without credentials": [f"{pages}/anonymous", {"credentials": "omit"}],
        "stored": [f"{pages}/stored"],
        "an error of ours": [f"{pages}/keys"],
        "with a key": [f"{pages}/keys", keys],
        "for all": [f"{pages}/all"],
        "for all, credentialed": [f"{pages}/all", {"credentials": "include"}],
        "no policy": [f"http://127.0.0.1:{gateway.plain}/text"],
    }
    told = PAGES.run(browser, f"http://127.0.0.1:{PAGES.port}", asked)

    def got(what):
        assert told[what] is not None, f"{what}: the page got no answer"
        assert told[what]["status"] == 200, f"{what}: {told[what]}"
        return json.loads(told[what]["body"])

    for what in ["simple", "preflighted", "credentialed", "credentialed and preflighted", "stored"]:
        got(what)
        fields = told[what]["fields"]
        assert fields.get("x-shown") == "1" and "x-hidden" not in fields, f"{what}: {fields}"
    assert told["simple, with a body"]["body"] == "b", told
    said = got("preflighted")
    assert (said["method"], said["body"], said["fields"]["x-mine"]) == ("PUT", "b", "1"), said
    for what in ["credentialed", "credentialed and preflighted"]:
        assert got(what)["fields"]["cookie"] == "id=1", told[what]
    assert "cookie" not in got("without credentials")["fields"], told
    for what in ["a refused method", "a refused field", "for all, credentialed", "no policy"]:
        assert told[what] is None, f"{what}: {told[what]}"
    # A page may read that it is not let in, and its preflight needs no key.
    assert told["an error of ours"]["status"] == 401, told["an error of ours"]
    assert got("with a key")["fields"]["x-consumer"] == "page", told["with a key"]
    assert "x-shown" not in told["for all"]["fields"] and got("for all")
    assert not [said for said in gateway.origin.asked[before:] if said["path"] == "/pages/refused"], "it was asked"

    # Another origin that may, of what is stored already; and one that may not.
    again = {"stored": [f"{pages}/stored"], "simple": [f"{pages}/simple"], "for all": [f"{pages}/all"]}
    told = PAGES.run(browser, f"http://localhost:{PAGES.port}", again)
    assert got("stored")["fields"]["origin"] == f"http://127.0.0.1:{PAGES.port}", "it is the stored one"
    assert got("simple") and got("for all")
    before = len(gateway.origin.asked)
    refused = {**again, "preflighted": [f"{pages}/preflighted", put]}
    told = PAGES.run(browser, f"http://127.0.0.1:{PAGES.stranger}", refused)
    assert (told["stored"], told["simple"], told["preflighted"]) == (None, None, None) and got("for all"), told
    # What is no preflight is sent all the same: CORS says who may read.
    assert [said["path"] for said in gateway.origin.asked[before:]] == ["/pages/simple", "/pages/all"]


CHECKS = [
    curl_speaks_every_version,
    curl_does_not_trust_a_stranger,
    curl_shows_a_certificate,
    curl_decodes_what_is_compressed,
    curl_uploads_and_continues,
    curl_sees_a_slow_answer_grow,
    h2load_asks_many_at_once,
    websockets_talk_through_a_tunnel,
    websockets_over_tls,
    grpc_calls_and_streams,
    grpc_calls_that_the_gateway_ends,
    chromium_lets_pages_do_what_the_route_says,
]


def main():
    skip = "--skip-missing" in sys.argv[2:]
    passed, failed = 0, 0
    gateway = Gateway(sys.argv[1], PAGES.port)
    try:
        for check in CHECKS:
            name = check.__name__.replace("_", " ")
            try:
                check(gateway)
                passed += 1
                print(f"ok      {name}", flush=True)
            except Missing as missing:
                print(f"left out: {name}: {missing} is missing", flush=True)
                failed += 0 if skip else 1
            except Exception as error:  # whatever a client does wrong is that check's failure
                failed += 1
                print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    finally:
        gateway.stop()
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
