"""Real clients through the gateway. Usage: check.py GATEWAY [--skip-missing]

Ends with a line "N passed, N failed", and with 1 where a check fails or a client is missing.
"""

import asyncio
import os
import shutil
import subprocess
import sys

import grpc
import websockets

from support import TEXT, Gateway


class Missing(Exception):
    """A client that is not here."""


def client(*names):
    for name in names:
        if found := shutil.which(name):
            return found
    raise Missing(names[0])


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


CHECKS = [
    curl_speaks_every_version,
    curl_does_not_trust_a_stranger,
    curl_decodes_what_is_compressed,
    curl_uploads_and_continues,
    curl_sees_a_slow_answer_grow,
    h2load_asks_many_at_once,
    websockets_talk_through_a_tunnel,
    websockets_over_tls,
    grpc_calls_and_streams,
]


def main():
    skip = "--skip-missing" in sys.argv[2:]
    passed, failed = 0, 0
    gateway = Gateway(sys.argv[1])
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
