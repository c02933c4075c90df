#!/usr/bin/env python3
"""A manager that speaks the CoderVPN protocol, written from its description
alone: framing, protobuf and everything else by hand, with the standard library
and with nothing of this repository. It drives a real `causewayd` and tells on
standard output, one JSON object a line, what it saw. See manager_linux_test.go.

    manager.py SCENARIO PROGRAM URL TOKEN NAME [VERSION]
"""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

LIMIT = 0x1000000


# Protobuf, as far as the messages need it: fields are (number, value) pairs.

def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while True:
        low, value = value & 0x7F, value >> 7
        if not value:
            out.append(low)
            return bytes(out)
        out.append(low | 0x80)


def encode(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            out += varint(number << 3 | 2) + varint(len(value)) + value
        else:
            out += varint(number << 3) + varint(value)
    return out


def take_varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def decode(data):
    """All fields: number -> list of ints or bytes."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = take_varint(data, at)
        if tag & 7 == 0:
            value, at = take_varint(data, at)
        elif tag & 7 == 2:
            length, at = take_varint(data, at)
            value, at = data[at:at + length], at + length
            if len(value) != length:
                raise ValueError("a field is cut off")
        else:
            raise ValueError("wire type %d" % (tag & 7))
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def one(fields, number, default=None):
    return fields.get(number, [default])[-1]


def text(fields, number):
    return one(fields, number, b"").decode()


def signed(value):
    return value - (1 << 64) if value >> 63 else value


# Messages of the tunnel, as dictionaries.

LEVELS = ["DEBUG", "INFO", "WARN", "ERROR", "CRITICAL", "FATAL"]


def seconds(data):
    fields = decode(data)
    return signed(one(fields, 1, 0)) + one(fields, 2, 0) / 1e9


def read_agent(data):
    fields = decode(data)
    agent = {
        "id": one(fields, 1, b"").hex(), "name": text(fields, 2), "workspace": one(fields, 3, b"").hex(),
        "fqdn": [value.decode() for value in fields.get(4, [])], "ips": [value.decode() for value in fields.get(5, [])],
        "handshake": seconds(fields[6][-1]) if 6 in fields else None, "ping": None,
    }
    if 7 in fields:
        ping = decode(fields[7][-1])
        agent["ping"] = {
            "latency": seconds(one(ping, 1, b"")), "p2p": bool(one(ping, 2, 0)), "derp": text(ping, 3),
            "derp_latency": seconds(ping[4][-1]) if 4 in ping else None,
        }
    return agent


def read_workspace(data):
    fields = decode(data)
    return {"id": one(fields, 1, b"").hex(), "name": text(fields, 2), "status": one(fields, 3, 0)}


def read_update(data):
    fields = decode(data)
    return {
        "workspaces": [read_workspace(v) for v in fields.get(1, [])], "agents": [read_agent(v) for v in fields.get(2, [])],
        "gone_workspaces": [read_workspace(v) for v in fields.get(3, [])], "gone_agents": [read_agent(v) for v in fields.get(4, [])],
    }


def read_outcome(data):
    fields = decode(data)
    return {"success": bool(one(fields, 1, 0)), "error": text(fields, 2)}


def read_log(data):
    fields = decode(data)
    pairs = [decode(value) for value in fields.get(4, [])]
    return {
        "level": LEVELS[one(fields, 1, 0)], "message": text(fields, 2),
        "names": [value.decode() for value in fields.get(3, [])], "fields": {text(p, 1): text(p, 2) for p in pairs},
    }


KINDS = {
    2: ("log", read_log), 3: ("peers", read_update), 4: ("network", decode),
    5: ("start", read_outcome), 6: ("stop", read_outcome), 7: ("wake", decode),
}


def read_message(data):
    fields = decode(data)
    rpc = decode(fields[1][-1]) if 1 in fields else {}
    message = {"id": one(rpc, 1, 0), "to": one(rpc, 2, 0), "rpc": 1 in fields, "kind": "", "body": None}
    for number, (kind, reader) in KINDS.items():
        if number in fields:
            message["kind"], message["body"] = kind, reader(fields[number][-1])
    return message


class Ended(Exception):
    """The tunnel closed its end."""


class Tunnel:
    """A causewayd with two pipes."""

    def __init__(self, program, version="1.3", hello=None, by_environment=False):
        read_end, self.out = os.pipe()
        self.inp, write_end = os.pipe()
        command, environment = [program, "vpn-daemon", "run"], dict(os.environ)
        if by_environment:
            environment["CODER_VPN_DAEMON_RPC_READ_FD"] = str(read_end)
            environment["CODER_VPN_DAEMON_RPC_WRITE_FD"] = str(write_end)
        else:
            command = [program, "tunnel", "--rpc-read-fd", str(read_end), "--rpc-write-fd", str(write_end), "--log-level", "debug"]
        self.process = subprocess.Popen(command, pass_fds=(read_end, write_end), env=environment, stderr=subprocess.PIPE)
        os.close(read_end)
        os.close(write_end)
        self.number, self.logs, self.updates = 0, [], []
        try:
            self.write(hello if hello is not None else b"codervpn manager %s\n" % version.encode())
        except BrokenPipeError:
            pass  # it has ended already
        self.header = b""
        while not self.header.endswith(b"\n"):
            try:
                self.header += self.read(1)
            except Ended:
                return  # it refused before it said anything

    def write(self, data):
        view = memoryview(data)
        while view:
            view = view[os.write(self.out, view):]

    def read(self, length, within=30.0):
        data, deadline = b"", time.monotonic() + within
        while len(data) < length:
            ready, _, _ = select.select([self.inp], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("nothing from the tunnel for %g s" % within)
            part = os.read(self.inp, length - len(data))
            if not part:
                if data:
                    raise ValueError("the stream ends inside a message")
                raise Ended()
            data += part
        return data

    def send(self, *fields):
        body = encode(*fields)
        self.write(struct.pack(">I", len(body)) + body)

    def receive(self, within=30.0):
        head = self.read(4, within)
        (length,) = struct.unpack(">I", head)
        assert length <= LIMIT, "length %d" % length
        message = read_message(self.read(length) if length else b"")
        if message["kind"] == "log":
            self.logs.append(message["body"])
        elif message["kind"] == "peers" and not message["to"]:
            self.updates.append(message["body"])
        return message

    def ask(self, *fields):
        self.number += 1
        self.send((1, encode((1, self.number))), *fields)
        while True:
            message = self.receive()
            if message["to"] == self.number:
                return message

    def start(self, url, token, **device):
        headers = [(4, encode((1, name), (2, value))) for name, value in device.get("headers", [])]
        request = encode((2, url), (3, token), *headers, (5, device.get("id", "")), (6, "Linux"), (7, "0.0.9"))
        return self.ask((4, request))["body"]

    def until(self, matches, within=30.0):
        """The first update from now on that matches."""
        seen, deadline = len(self.updates), time.monotonic() + within
        while True:
            for update in self.updates[seen:]:
                if matches(update):
                    return update
            seen = len(self.updates)
            self.receive(max(0, deadline - time.monotonic()))

    def stop(self):
        outcome = self.ask((5, b""))["body"]
        return outcome, self.end()

    def end(self, within=30.0):
        """What comes until the end of the stream, and the exit code."""
        rest = []
        try:
            while True:
                rest.append(self.receive(within)["kind"])
        except Ended:
            pass
        return {"after": rest, "exit": self.process.wait(within), "stderr": self.process.stderr.read().decode()}


def tell(event, **more):
    print(json.dumps(dict(more, event=event), sort_keys=True), flush=True)


def await_go():
    """The test has done its part."""
    if not sys.stdin.readline():
        sys.exit("the test is gone")


def resolve(name):
    deadline = time.monotonic() + 15
    while True:
        try:
            return sorted({entry[4][0] for entry in socket.getaddrinfo(name, 22, socket.AF_INET6, socket.SOCK_STREAM)})
        except socket.gaierror as error:
            if time.monotonic() > deadline:
                return [str(error)]
            time.sleep(0.1)


def resolves(name):
    try:
        socket.getaddrinfo(name, 22, socket.AF_INET6)
        return True
    except socket.gaierror:
        return False


def ssh(name):
    done = subprocess.run(
        ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=/tmp/known_hosts",
         "-o", "ConnectTimeout=20", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR", name, "hostname"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=40)
    return {"exit": done.returncode, "out": done.stdout.decode().strip(), "err": done.stderr.decode().strip()}


def ping(name):
    done = subprocess.run(["ping", "-6", "-c", "1", "-W", "10", name], capture_output=True, timeout=40)
    return done.returncode


# The scenarios.

def session(program, url, token, name, version):
    tunnel = Tunnel(program, version)
    tell("header", text=tunnel.header.decode())
    early = tunnel.ask((2, b""))
    tell("peers before start", kind=early["kind"], body=early["body"])
    tell("wake before start", kind=tunnel.ask((6, b""))["kind"])
    tell("start", case="no url", **tunnel.start("", token))
    tell("start", case="no token", **tunnel.start(url, ""))
    tell("start", case="bad url", **tunnel.start("http://host:port", token))
    tell("start", case="away", **tunnel.start("http://192.0.2.10:9", token))
    tell("start", case="bad token", **tunnel.start(url, "wrong-" + token))
    tell("state", running=os.path.exists("/sys/class/net/causeway0"))
    began = time.monotonic()
    tell("start", case="good", **tunnel.start(url, token, id="the-device", headers=[("X-Rig", "yes")]))
    tell("started", seconds=round(time.monotonic() - began, 3))
    first = tunnel.until(lambda update: update["agents"]) if not tunnel.updates else tunnel.updates[0]
    tell("update", **first)
    tell("resolved", addresses=resolve(name))
    tell("ssh", **ssh(name))
    tell("ping", exit=ping(name))
    tell("start", case="the same", **tunnel.start(url, token, id="the-device", headers=[("X-Rig", "yes")]))
    tell("start", case="another", **tunnel.start(url, token, id="another-device"))
    for kind in ("wake", "wake again"):
        tell(kind, kind=tunnel.ask((6, b""))["kind"])
    unknown = tunnel.ask((99, b"what is this"))
    tell("unknown", kind=unknown["kind"], rpc=unknown["rpc"])
    tunnel.send((99, b"nobody asks"))
    tunnel.send()  # a length of zero
    tunnel.send((1, encode((2, 12345))), (3, encode((1, 1))))  # an answer that nobody waits for
    asked = tunnel.ask((2, b""))
    tell("peers", **asked["body"])
    measured = tunnel.until(lambda update: any(agent["ping"] for agent in update["agents"]), 25)
    tell("measured", **measured)
    tell("add a workspace")
    await_go()
    tell("added", **tunnel.until(lambda update: any(w["name"] == "second" for w in update["workspaces"])))
    tell("resolved", addresses=resolve("main.second.me.coder"))
    tell("delete the workspace")
    await_go()
    tell("deleted", **tunnel.until(lambda update: update["gone_agents"]))
    while resolves("main.second.me.coder"):
        time.sleep(0.1)
    tell("logs", levels=sorted({log["level"] for log in tunnel.logs}), critical=[log["message"] for log in tunnel.logs if log["level"] == "CRITICAL"],
         secret=any(token in json.dumps(log) for log in tunnel.logs))
    outcome, end = tunnel.stop()
    tell("stopped", **outcome, **end)


def versions(program, url, token, name, version):
    """The same with each older version, found by the environment."""
    for version in ("1.0", "1.1", "1.2"):
        tunnel = Tunnel(program, version, by_environment=True)
        outcome = tunnel.start(url, token)
        wake = tunnel.ask((6, b""))
        measured = None
        if version == "1.2":
            measured = tunnel.until(lambda update: any(agent["ping"] for agent in update["agents"]), 25)
        else:
            for _ in range(3):  # the first, and two rounds with nothing measured
                measured = tunnel.until(lambda update: update["agents"], 15)
        stopped, end = tunnel.stop()
        tell("version", version=version, start=outcome["success"], wake=wake["kind"], pings=any(a["ping"] for a in measured["agents"]),
             stopped=stopped["success"], exit=end["exit"])


def oversize(program, url, token, name, version):
    tunnel = Tunnel(program, version)
    tell("start", case="good", **tunnel.start(url, token))
    tunnel.write(struct.pack(">I", LIMIT + 1))
    tell("ended", **tunnel.end())


def handshakes(program, url, token, name, version):
    for case, hello in {
        "role": b"codervpn tunnel 1.3\n", "version": b"codervpn manager 2.0\n", "parts": b"codervpn manager\n",
        "long": b"codervpn manager " + b"1" * 300, "rubbish": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    }.items():
        tunnel = Tunnel(program, version, hello)
        tell("refused", case=case, **tunnel.end())


def refused(program, url, token, name, version):
    tunnel = Tunnel(program, version)
    tell("refused", header=tunnel.header.decode(), **tunnel.end())


def hangup(program, url, token, name, version):
    tunnel = Tunnel(program, version)
    tell("start", case="good", **tunnel.start(url, token))
    tell("resolved", addresses=resolve(name))
    os.close(tunnel.out)
    tell("ended", **tunnel.end())


def killed(program, url, token, name, version):
    tunnel = Tunnel(program, version)
    tell("start", case="good", **tunnel.start(url, token))
    tell("resolved", addresses=resolve(name), pid=tunnel.process.pid)
    os.kill(os.getpid(), signal.SIGKILL)


def deaf(program, url, token, name, version):
    """A manager that reads nothing for a while, and then a signal."""
    tunnel = Tunnel(program, version)
    tell("start", case="good", **tunnel.start(url, token))
    tell("resolved", addresses=resolve(name))
    time.sleep(7)  # at the level of debug, and with a round of updates
    tell("still there", ssh=ssh(name))
    tunnel.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    code = tunnel.process.wait(30)
    tell("ended", exit=code, prompt=time.monotonic() - began < 8)


def main():
    scenario, program, url, token, name = sys.argv[1:6]
    version = sys.argv[6] if len(sys.argv) > 6 else "1.3"
    {
        "session": session, "versions": versions, "oversize": oversize, "handshakes": handshakes,
        "hangup": hangup, "refused": refused, "killed": killed, "deaf": deaf,
    }[scenario](program, url, token, name, version)


if __name__ == "__main__":
    main()
