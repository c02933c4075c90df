package platform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/causewayhq/causeway/tun"
)

// resolvedVar names a systemd-resolved binary that is not installed, for
// example from an unpacked package.
const resolvedVar = "CAUSEWAY_TEST_RESOLVED"

// startResolved runs the real systemd-resolved on a bus of the test, with a
// /run of its own.
func startResolved(t *testing.T, address string) (stop func()) {
	t.Helper()
	binary := os.Getenv(resolvedVar)
	for _, path := range []string{"/lib/systemd/systemd-resolved", "/usr/lib/systemd/systemd-resolved"} {
		if _, err := os.Stat(path); binary == "" && err == nil {
			binary = path
		}
	}
	if binary == "" {
		t.Skip("needs systemd-resolved: apt-get install systemd-resolved, or set " + resolvedVar)
	}
	service := exec.Command(binary)
	service.Env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + address, "SYSTEMD_LOG_TARGET=console"}
	var complaint output
	service.Stdout, service.Stderr = &complaint, &complaint
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if !ended {
			ended = true
			_ = service.Process.Kill()
			_ = service.Wait()
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			t.Log("systemd-resolved: ", complaint.String())
		}
	})
	system := &bus{address: address, timeout: time.Second}
	r := resolved{bus: system}
	var silence error
	t.Cleanup(func() {
		if t.Failed() && silence != nil {
			t.Log(silence)
		}
	})
	eventually(t, "systemd-resolved answers", func() bool { silence = r.ping(t.Context(), false); return silence == nil })
	if err := system.close(); err != nil {
		t.Fatal(err)
	}
	return stop
}

// furnishRun gives the test a /run of its own and the user that resolved
// wants to be.
func furnishRun(t *testing.T) {
	t.Helper()
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount("/run", unix.MNT_DETACH) })
	for path, line := range map[string]string{
		"/etc/passwd": fmt.Sprintf("systemd-resolve:x:%d:%d::/:/usr/sbin/nologin\n", resolvedUser, resolvedUser),
		"/etc/group":  fmt.Sprintf("systemd-resolve:x:%d:\n", resolvedUser),
	} {
		if content := readFile(t, path); !strings.Contains(content, "systemd-resolve:") {
			writeFile(t, path, content+line)
		}
	}
	furnishNetif(t)
	writeFile(t, "/etc/systemd/resolved.conf", "[Resolve]\nDNSOverTLS=yes\nDNSSEC=yes\nLLMNR=yes\n")
}

// answerNames plays the tunnel: it answers AAAA queries for names under coder
// that come out of the device, and nothing else.
func answerNames(t *testing.T, device tun.Device, answer netip.Addr) {
	t.Helper()
	const offset = 16
	go func() {
		buffers, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
		for i := range buffers {
			buffers[i] = make([]byte, offset+65535)
		}
		for {
			n, err := device.Read(buffers, sizes, offset)
			if err != nil {
				return
			}
			for i := range n {
				if reply := replyTo(buffers[i][offset:offset+sizes[i]], answer); reply != nil {
					_, _ = device.Write([][]byte{append(make([]byte, offset), reply...)}, offset)
				}
			}
		}
	}()
}

// replyTo makes the answering packet to an IPv6 UDP query, nil if it is none.
func replyTo(packet []byte, answer netip.Addr) []byte {
	const header = 40 + 8
	if len(packet) < header || packet[0]>>4 != 6 || packet[6] != 17 || binary.BigEndian.Uint16(packet[42:]) != 53 {
		return nil
	}
	var query dnsmessage.Message
	if query.Unpack(packet[header:]) != nil || len(query.Questions) != 1 {
		return nil
	}
	q := query.Questions[0]
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true, RecursionDesired: query.RecursionDesired},
		Questions: query.Questions,
	}
	if q.Type == dnsmessage.TypeAAAA {
		reply.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 2},
			Body:   &dnsmessage.AAAAResource{AAAA: answer.As16()},
		}}
	}
	body, err := reply.Pack()
	if err != nil {
		return nil
	}
	out := append(append([]byte{}, packet[:header]...), body...)
	copy(out[8:24], packet[24:40])
	copy(out[24:40], packet[8:24])
	binary.BigEndian.PutUint16(out[4:], uint16(8+len(body)))
	copy(out[40:42], packet[42:44])
	copy(out[42:44], packet[40:42])
	binary.BigEndian.PutUint16(out[44:], uint16(8+len(body)))
	out[46], out[47] = 0, 0
	binary.BigEndian.PutUint16(out[46:], checksum(out))
	return out
}

// checksum is that of UDP over IPv6 (RFC 8200, 8.1).
func checksum(packet []byte) uint16 {
	sum := uint32(len(packet)-40) + 17
	for i := 8; i < len(packet); i += 2 {
		sum += uint32(packet[i]) << 8
		if i+1 < len(packet) {
			sum += uint32(packet[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// TestRealResolved goes the whole way: getent, the stub, systemd-resolved, the
// interface. The host forces DNS-over-TLS and DNSSEC on everything else.
func TestRealResolved(t *testing.T) {
	needNest(t)
	stubFiles(t)
	furnishRun(t)
	bus := startBus(t)
	stop := startResolved(t, bus)
	o, log := newTestOS(t, t.TempDir(), bus)
	device := openTUN(t, "cwreal0")
	before := snapshot(t)
	want := netip.MustParseAddr("fd60:627a:a42b:1::2")
	answerNames(t, device, want)
	watch(t, o)
	if err := o.Apply(t.Context(), testConfig("cwreal0")); err != nil {
		t.Fatal(err)
	}
	same(t, o.DNSMode(), ModeResolved)
	found := func(name string) func() bool {
		return func() bool {
			got, err := o.Lookup(t.Context(), name)
			return err == nil && len(got) == 1 && got[0] == want
		}
	}
	eventually(t, "the name resolves", found("main.myws.me.coder"))
	if got, err := o.Lookup(t.Context(), "main.example.com"); err == nil {
		t.Errorf("a foreign name was asked through our link: %v", got)
	}
	if sent, err := o.resolved.set(t.Context(), linkIndex(t, o, "cwreal0"), testConfig("cwreal0").DNS); sent || err != nil {
		t.Errorf("resolved does not show what it was told: sent again %v, %v", sent, err)
	}

	// A resolved that is killed and started anew, with its memory lost.
	stop()
	eventually(t, "names go to the hosts file", found("main.myws.me.coder"))
	if err := os.RemoveAll("/run/systemd/resolve/netif"); err != nil {
		t.Fatal(err)
	}
	furnishNetif(t)
	startResolved(t, bus)
	eventually(t, "the new one has our names", func() bool {
		return o.DNSMode() == ModeResolved && found("other.myws.me.coder")()
	})
	if err := o.Cleanup(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found("third.myws.me.coder")() {
		t.Error("a name resolves after the cleanup")
	}
	if saved, _ := filepath.Glob("/run/systemd/resolve/netif/*"); len(saved) != 0 {
		t.Errorf("resolved still has settings of links: %v", saved)
	}
	same(t, snapshot(t), before)
	mustContain(t, log.String(), "split DNS taken out of systemd-resolved")
}

// resolvedUser is the numeric user and group that furnishRun gives resolved
// where the machine has none.
const resolvedUser = 64999

// furnishNetif makes the directories that the unit of resolved would make.
func furnishNetif(t *testing.T) {
	t.Helper()
	owner, err := user.Lookup("systemd-resolve")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	for _, dir := range []string{"/run/systemd/resolve", "/run/systemd/resolve/netif"} {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, uid, gid)); err != nil {
			t.Fatal(err)
		}
	}
}
