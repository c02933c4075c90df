#!/usr/bin/env python3
"""A manager that speaks the CoderVPN protocol, written from its description
alone: framing, protobuf and everything else by hand, with the standard library
and with nothing of this repository. It drives a real `causewayd` and tells on
standard output, one JSON object a line, what it saw. See manager_linux_test.go.

    manager.py SCENARIO PROGRAM URL TOKEN NAME [VERSION]
"""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

from protocol import LIMIT, Tunnel, encode


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


class Recorder:
    """A proxy that hands everything on, and notes the head of each request."""

    def __init__(self, url):
        host, port = url[len("http://"):].rsplit(":", 1)
        self.goal, self.heads = (host, int(port)), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(self.goal)
            threading.Thread(target=self.requests, args=(client, server), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client), daemon=True).start()

    def copy(self, source, goal):
        try:
            while data := source.recv(1 << 16):
                goal.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, goal):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def requests(self, client, server):
        source = client.makefile("rb")
        while True:
            head, fields = source.readline(), {}
            if not head:
                return self.copy(client, server)
            method, path, _ = head.decode().split(" ", 2)
            while (line := source.readline()).strip():
                head += line
                name, value = line.decode().split(":", 1)
                fields.setdefault(name.strip().lower(), []).append(value.strip())
            head += line + source.read(int(fields.get("content-length", ["0"])[0]))
            upgrade = fields.get("upgrade", [""])[0].lower()
            self.heads.append({
                "method": method, "path": path.split("?")[0], "upgrade": upgrade,
                "rig": fields.get("x-rig", []), "telemetry": fields.get("coder-desktop-telemetry", [""])[0],
            })
            server.sendall(head)
            if upgrade:
                while data := source.read1(1 << 16):
                    server.sendall(data)
                return None


def make_interface(name):
    """A TUN device of ours; it is there as long as the descriptor is open."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(device, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))  # TUNSETIFF: IFF_TUN, IFF_NO_PI
    return device


def look_up(server, name):
    """The AAAA records of a name, asked of one server."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 28, 1)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as asking:
        asking.settimeout(10)
        asking.sendto(query, (server, 53))
        answer = asking.recv(4096)
    count, at, found = struct.unpack(">H", answer[6:8])[0], len(query), []
    for _ in range(count):
        while answer[at] and answer[at] < 0xC0:
            at += 1 + answer[at]
        at += 2 if answer[at] else 1
        kind, _, _, length = struct.unpack(">2HIH", answer[at:at + 10])
        if kind == 28:
            found.append(socket.inet_ntop(socket.AF_INET6, answer[at + 10:at + 10 + length]))
        at += 10 + length
    return found


def network(program, url, token, name, version):
    """The manager owns the interface, and sets up what it is told."""
    interface, told = "managed0", []
    recorder, device = Recorder(url), make_interface(interface)
    tunnel = Tunnel(program, version, options=["--network-settings", "manager"], device=device)

    def apply(settings):
        told.append(settings)
        for command in (
            ["link", "set", interface, "mtu", str(settings["mtu"]), "up"],
            *(["-6", "addr", "replace", address, "dev", interface, "nodad"] for address in settings["addrs"]),
            *(["-6", "route", "replace", route, "dev", interface] for route in settings["routes"]),
        ):
            subprocess.run(["ip", *command], check=True)

    tunnel.settings = apply
    tell("start", case="good", **tunnel.start(recorder.url, token, id="the-device", headers=[("X-Rig", "yes"), ("x-rig", "twice")]))
    update = tunnel.until(lambda update: any(agent["ping"] for agent in update["agents"]), 30)
    tell("settings", requests=told)
    tell("update", **update)
    tell("answer", addresses=look_up(told[-1]["servers"][0], name))
    tell("ssh", **ssh(update["agents"][0]["ips"][0]))
    tell("requests", list=recorder.heads)
    outcome, end = tunnel.stop()
    os.close(device)
    tell("stopped", **outcome, **end)


def main():
    scenario, program, url, token, name = sys.argv[1:6]
    version = sys.argv[6] if len(sys.argv) > 6 else "1.3"
    {
        "session": session, "versions": versions, "oversize": oversize, "handshakes": handshakes,
        "hangup": hangup, "refused": refused, "killed": killed, "deaf": deaf, "network": network,
    }[scenario](program, url, token, name, version)


if __name__ == "__main__":
    main()
