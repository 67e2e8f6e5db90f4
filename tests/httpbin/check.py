"""Asks httpbin through the gateway, and directly, and compares. Usage: check.py GATEWAY

Starts httpbin under gunicorn and the gateway in front of it, both on free ports of the loopback interface, and ends
both by their ids. Ends with 1 where a check fails.
"""

import gzip
import hashlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import zlib

CONFIG = """
[admin]
listen = "127.0.0.1:0"
[log]
access = "off"
format = "text"
[[listener]]
address = "127.0.0.1:0"
[upstream.httpbin]
endpoints = ["http://127.0.0.1:{port}"]
# Every status is asked for on purpose.
ejection = {{ consecutive_errors = 0, error_rate = 0.0 }}
[[route]]
name = "all"
match = {{ path = "/{{*rest}}" }}
upstream = "httpbin"
timeout = "30s"
[route.cache]
enabled = true
[route.retry]
attempts = 3
"""

# Fields that differ from one request to the next, or that a gateway adds.
OWN_FIELDS = {"date", "server", "connection", "keep-alive", "transfer-encoding", "content-length",
              "via", "age", "cache-status", "x-request-id", "proxy-status"}


def start(command, pattern, count=1):
    """Starts a program; returns it and the first group of the first `count` lines of its stderr that match."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    found, log = [], []
    killer = threading.Timer(30, process.kill)
    killer.start()
    for line in process.stderr:
        log.append(line)
        match = re.search(pattern, line)
        if match:
            found.append((match.group(1), line))
            if len(found) == count:
                break
    killer.cancel()
    if len(found) < count:
        process.kill()
        sys.exit(f"{command[0]} did not start:\n{''.join(log)}")
    # Whatever it still writes is read, or it would block.
    threading.Thread(target=process.stderr.read, daemon=True).start()
    return process, found


def stop(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Answer:
    def __init__(self, port, target, method="GET", body=None, fields=None):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        started = time.monotonic()
        connection.request(method, target, body=body, headers={"Host": "httpbin.example", **(fields or {})},
                           encode_chunked=False)
        response = connection.getresponse()
        self.status, self.fields = response.status, response.headers
        first = response.read(1)
        self.first_byte = time.monotonic() - started
        self.body = first + response.read()
        self.took = time.monotonic() - started
        connection.close()

    def json(self):
        return json.loads(self.body)

    def compared(self):
        fields = sorted((name.lower(), value) for name, value in self.fields.items()
                        if name.lower() not in OWN_FIELDS)
        return self.status, fields, hashlib.sha256(self.body).hexdigest(), len(self.body)


class Checks:
    def __init__(self, gateway, direct, admin):
        self.gateway, self.direct, self.admin = gateway, direct, admin

    def ask(self, *args, **kwargs):
        return Answer(self.gateway, *args, **kwargs)

    def metric(self, name):
        # Without a token the admin listener wants to be asked by its address.
        answer = Answer(self.admin, "/metrics", fields={"Host": f"127.0.0.1:{self.admin}"})
        assert answer.status == 200, answer.status
        text = answer.body.decode()
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.M))

    def same(self, target, **kwargs):
        through, direct = self.ask(target, **kwargs), Answer(self.direct, target, **kwargs)
        assert through.compared() == direct.compared(), f"{through.compared()} is not {direct.compared()}"

    def timed(self, targets):
        answers = []
        threads = [threading.Thread(target=lambda target=target: answers.append(self.ask(target)))
                   for target in targets]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [answer.status for answer in answers] == [200] * len(targets)
        return time.monotonic() - started

    def check_delays_run_side_by_side(self):
        took = self.timed([f"/delay/1?{number}" for number in range(3)])
        assert 1.0 <= took < 1.8, f"three delays of 1 s took {took:.2f} s"

    def check_what_cannot_be_shared_is_not_waited_for(self):
        # The first answer says that it cannot be shared; from then on nobody waits for another one's.
        self.ask("/delay/1")
        took = self.timed(["/delay/1"] * 3)
        assert 1.0 <= took < 1.8, f"three delays of 1 s took {took:.2f} s"

    def check_a_fresh_answer_is_served_from_the_store(self):
        first, second = self.ask("/cache/60"), self.ask("/cache/60")
        assert first.status == second.status == 200
        assert first.body == second.body
        assert "hit" in second.fields["cache-status"], second.fields["cache-status"]
        assert int(second.fields["age"]) >= 0
        assert "hit" not in first.fields["cache-status"]

    def check_conditions_are_evaluated(self):
        # Not by httpbin, whose /cache takes any condition for true, nor with the tags of its /etag, which lack quotes.
        target = "/response-headers?ETag=%22one%22&Cache-Control=max-age%3D60"
        assert self.ask(target).status == 200
        assert self.ask(target, fields={"If-None-Match": '"one"'}).status == 304
        assert self.ask(target, fields={"If-None-Match": '"two"'}).status == 200

    def check_a_503_is_retried(self):
        before = self.metric("forebay_retries_total")
        answer = self.ask("/status/503")
        assert answer.status == 503
        made = self.metric("forebay_retries_total") - before
        assert made == 2, f"{made} retries"

    def check_a_post_is_not_retried(self):
        before = self.metric("forebay_retries_total")
        assert self.ask("/status/503", method="POST", body=b"x").status == 503
        assert self.metric("forebay_retries_total") == before

    def check_a_stream_is_whole(self):
        lines = self.ask("/stream/20").body.splitlines()
        assert [json.loads(line)["id"] for line in lines] == list(range(20))

    def check_a_drip_arrives_as_it_drips(self):
        answer = self.ask("/drip?duration=1&numbytes=5&delay=0")
        assert answer.body == b"*" * 5
        assert answer.first_byte < 0.5 and answer.took >= 0.7, f"{answer.first_byte:.2f} s, {answer.took:.2f} s"

    def check_compressed_answers(self):
        answer = self.ask("/gzip", fields={"Accept-Encoding": "gzip"})
        assert answer.fields["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(answer.body))["gzipped"] is True
        answer = self.ask("/deflate", fields={"Accept-Encoding": "deflate"})
        assert json.loads(zlib.decompress(answer.body))["deflated"] is True

    def check_redirects_are_the_clients_business(self):
        answer = self.ask("/redirect/1")
        assert answer.status == 302 and answer.fields["location"] == "/get", answer.fields["location"]
        # The origin makes absolute references from Host: it must be the one the client asked for.
        location = self.ask("/absolute-redirect/1").fields["location"]
        assert location == "http://httpbin.example/get", location

    def check_cookies(self):
        answer = self.ask("/cookies/set?a=1&b=2")
        assert len(answer.fields.get_all("set-cookie")) == 2
        assert self.ask("/cookies", fields={"Cookie": "a=1; b=2"}).json()["cookies"] == {"a": "1", "b": "2"}
        assert self.ask("/cookies").json()["cookies"] == {}, "one client's cookies for another"

    def check_a_post_is_echoed(self):
        fields = {"Content-Type": "application/json"}
        answer = self.ask("/post?x=%20y", method="POST", body=b'{"a": [1, 2]}', fields=fields).json()
        assert answer["json"] == {"a": [1, 2]} and answer["args"] == {"x": " y"}
        fields = {"Content-Type": "application/x-www-form-urlencoded"}
        assert self.ask("/post", method="POST", body=b"k=v", fields=fields).json()["form"] == {"k": "v"}

    def check_large_uploads(self):
        data = random.Random(1).randbytes(5 << 20)
        text = data.hex().encode()[:5 << 20]
        fields = {"Content-Type": "text/plain"}
        answer = self.ask("/put", method="PUT", body=text, fields=fields).json()
        assert answer["data"].encode() == text
        answer = self.ask("/anything", method="PATCH", body=text[:100_000], fields=fields).json()
        assert answer["data"].encode() == text[:100_000]

    def check_large_answers_byte_for_byte(self):
        for target in ["/bytes/102400?seed=7", "/stream-bytes/102400?seed=7&chunk_size=999", "/range/100000",
                       "/image/png", "/image/jpeg", "/html", "/encoding/utf8", "/xml", "/json"]:
            self.same(target)

    def check_the_same_as_directly(self):
        for target, kwargs in [
            ("/get?a=%C3%A4&b=%2F&c=1&c=2", {}),
            ("/base64/SGVsbG8=", {}),
            ("/headers", {"method": "HEAD"}),
            ("/get", {"method": "OPTIONS"}),
            ("/status/204", {}),
            ("/status/418", {}),
            ("/status/404", {}),
            ("/delete", {"method": "GET"}),
            ("/basic-auth/u/p", {}),
            ("/bearer", {"fields": {"Authorization": "Bearer t"}}),
            # Only once it is known that it cannot be stored does the origin see the range.
            ("/range/1000", {}),
            ("/range/1000", {"fields": {"Range": "bytes=10-19"}}),
            ("/robots.txt", {}),
            ("/response-headers?X-One=1&X-One=2", {}),
        ]:
            try:
                if target.startswith("/get?"):
                    through, direct = self.ask(target).json(), Answer(self.direct, target).json()
                    assert through["args"] == direct["args"]
                else:
                    self.same(target, **kwargs)
            except AssertionError as error:
                raise AssertionError(f"{target} {kwargs}: {error}") from None


def main():
    gateway_program = sys.argv[1]
    gunicorn = os.path.join(os.path.dirname(sys.executable), "gunicorn")
    origin, [(port, _)] = start(
        [gunicorn, "--bind", "127.0.0.1:0", "--threads", "16", "--keep-alive", "30", "httpbin:app"],
        r"Listening at: http://127\.0\.0\.1:(\d+)")
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = os.path.join(folder, "forebay.toml")
            with open(config, "w") as file:
                file.write(CONFIG.format(port=port))
            gateway, lines = start([gateway_program, "run", "-c", config],
                                   r'(?:listening|admin).*address["=: ]+127\.0\.0\.1:(\d+)', 2)
            try:
                admin = next(int(port) for port, line in lines if "admin" in line)
                listener = next(int(port) for port, line in lines if "admin" not in line)
                sys.exit(run(Checks(listener, int(port), admin)))
            finally:
                stop(gateway)
    finally:
        stop(origin)


def run(checks):
    names = [name for name in dir(checks) if name.startswith("check_")]
    failed = 0
    for name in names:
        title = name.removeprefix("check_").replace("_", " ")
        try:
            getattr(checks, name)()
            print(f"ok   {title}")
        except Exception as error:  # a check that breaks has failed, whatever broke it
            failed += 1
            print(f"FAIL {title}: {type(error).__name__}: {error}")
    print(f"httpbin: {len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


main()
