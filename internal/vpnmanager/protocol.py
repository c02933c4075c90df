"""The tunnel's end of the CoderVPN protocol as a manager sees it, by hand. See
manager.py."""

import json
import os
import select
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


def texts(fields, number):
    return [value.decode() for value in fields.get(number, [])]


def read_network(data):
    fields = decode(data)
    dns, six = decode(one(fields, 3, b"")), decode(one(fields, 6, b""))
    lengths, packed, at = [], one(six, 2, b""), 0
    while at < len(packed):
        length, at = take_varint(packed, at)
        lengths.append(length)
    routes = [decode(value) for value in six.get(3, [])]
    return {
        "mtu": one(fields, 2, 0), "servers": texts(dns, 1), "domain": text(dns, 3), "match": texts(dns, 4),
        "addrs": ["%s/%d" % pair for pair in zip(texts(six, 1), lengths)], "routes": ["%s/%d" % (text(r, 1), one(r, 2, 0)) for r in routes],
    }


KINDS = {
    2: ("log", read_log), 3: ("peers", read_update), 4: ("network", read_network),
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

    def __init__(self, program, version="1.3", hello=None, by_environment=False, options=(), device=0):
        read_end, self.out = os.pipe()
        self.inp, write_end = os.pipe()
        command, environment = [program, "vpn-daemon", "run"], dict(os.environ)
        if by_environment:
            environment["CODER_VPN_DAEMON_RPC_READ_FD"] = str(read_end)
            environment["CODER_VPN_DAEMON_RPC_WRITE_FD"] = str(write_end)
        else:
            command = [program, "tunnel", "--rpc-read-fd", str(read_end), "--rpc-write-fd", str(write_end), "--log-level", "debug", *options]
        self.process = subprocess.Popen(command, pass_fds=(read_end, write_end, *([device] if device else [])), env=environment, stderr=subprocess.PIPE)
        os.close(read_end)
        os.close(write_end)
        self.number, self.logs, self.updates, self.device = 0, [], [], device
        self.settings = None  # what sets up the network, where we do
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
        elif message["kind"] == "network" and self.settings:
            self.settings(message["body"])
            self.send((1, encode((2, message["id"]))), (3, encode((1, 1))))
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
        request = encode((1, self.device), (2, url), (3, token), *headers, (5, device.get("id", "")), (6, "Linux"), (7, "0.0.9"))
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


