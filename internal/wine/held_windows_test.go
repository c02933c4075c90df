package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc/mgr"

	"github.com/causewayhq/causeway/hosts"
	"github.com/causewayhq/causeway/netcfg"
	"github.com/causewayhq/causeway/nrpt"
	platform "github.com/causewayhq/causeway/platform_windows"
)

const holdVariable = "CAUSEWAY_HOLD_FILE"

// TestHolder is the other program of TestHostsFileHeld.
func TestHolder(t *testing.T) {
	path := os.Getenv(holdVariable)
	if path == "" {
		t.Skip("not the other program")
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		t.Fatal(err)
	}
	handle, err := windows.CreateFile(name, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(handle)
	os.Stdout.WriteString("held\n")
	io.Copy(io.Discard, os.Stdin) // until told to let go
}

// hold has another process open a file without sharing, until release.
func hold(t *testing.T, path string) (release func()) {
	t.Helper()
	holder := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	holder.Env = append(os.Environ(), holdVariable+"="+path)
	input, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || strings.TrimSpace(line) != "held" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	return func() {
		input.Close()
		if err := holder.Wait(); err != nil {
			t.Error(err)
		}
	}
}

// stoppedClient makes a service of that name, which Wine lacks.
func stoppedClient(t *testing.T) {
	t.Helper()
	manager, err := mgr.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Disconnect()
	service, err := manager.CreateService("Dnscache", `C:\windows\system32\svchost.exe`, mgr.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Delete(); err != nil {
			t.Error(err)
		}
		service.Close()
	})
}

const (
	foreignLine = "127.0.0.1 localhost\r\n"
	ourLine     = "fd60:627a:a42b::a main.myws.me.coder\r\n"
)

func wanted() netcfg.Config {
	return netcfg.Config{Interface: "causeway", DNS: netcfg.DNS{
		Nameservers: []netip.Addr{netip.MustParseAddr("fd60:627a:a42b::53")}, Suffixes: []string{"coder"},
		Hosts: netcfg.ListHosts(netcfg.Host{Name: "main.myws.me.coder", Addr: netip.MustParseAddr("fd60:627a:a42b::a")}),
	}}
}

// newHost is the whole platform on a hosts file that has a line of others.
func newHost(t *testing.T, path string) *platform.OS {
	t.Helper()
	if os.Getenv("CAUSEWAY_WINE") != "1" {
		t.Skip("changes the machine; scripts/wine.sh runs it")
	}
	if err := os.WriteFile(path, []byte(foreignLine), 0o644); err != nil {
		t.Fatal(err)
	}
	host, err := platform.New(platform.Options{
		Logger: slog.New(slog.DiscardHandler), StateDir: t.TempDir(), Hosts: path,
		Adapter: windows.GUID{Data1: 0x7c1d}, // there is no adapter
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	return host
}

// apply must not wait for the hosts file.
func apply(t *testing.T, host *platform.OS, mode string) {
	t.Helper()
	began := time.Now()
	host.Apply(t.Context(), wanted()) // its error says that there is no adapter
	took := time.Since(began)
	t.Logf("Apply took %v, mode %s", took.Round(time.Millisecond), host.DNSMode())
	if took > 2*time.Second || host.DNSMode() != mode {
		t.Errorf("Apply waited for the hosts file, or the mode is not %s", mode)
	}
}

// becomes waits for the file to have our line behind that of others, or theirs alone.
func becomes(t *testing.T, path string, section bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		content, err := os.ReadFile(path)
		text := string(content)
		if err == nil && (section && strings.HasPrefix(text, foreignLine) && strings.Contains(text, ourLine) || !section && text == foreignLine) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("with our section: %v is wanted; the file is %q, %v", section, content, err)
		}
	}
}

// checkRules counts ours in the registry.
func checkRules(t *testing.T, want int) {
	t.Helper()
	rules, _, err := nrpt.OpenRegistry(registry.LOCAL_MACHINE, "").List(nrpt.Local)
	if err != nil || len(rules) != want {
		t.Errorf("rules %q, %v; want %d", rules, err, want)
	}
}

// TestHostsFileHeld has the whole platform set names while another program
// holds the hosts file: the rules stand at once, and the section comes when the
// file is free. The DNS client is stopped, so that names go both ways. Then it
// is not, rules are enough, and the section goes in the same manner.
func TestHostsFileHeld(t *testing.T) {
	path := hosts.SystemPath()
	host := newHost(t, path)
	t.Run("comes", func(t *testing.T) {
		stoppedClient(t)
		release := hold(t, path)
		apply(t, host, platform.ModeHosts)
		checkRules(t, 1)
		time.Sleep(3 * time.Second)
		release()
		becomes(t, path, true)
	})
	release := hold(t, path)
	apply(t, host, platform.ModeNRPT)
	checkRules(t, 1)
	time.Sleep(time.Second)
	release()
	becomes(t, path, false)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := host.Cleanup(ctx); err != nil {
		t.Error(err)
	}
	becomes(t, path, false)
	checkRules(t, 0)
}
