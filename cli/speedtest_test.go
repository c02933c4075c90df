package cli

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// halves is an in-memory connection, whose near end can end its direction.
type halves struct {
	net.Conn
	ended chan struct{}
}

func (h halves) CloseWrite() error {
	close(h.ended)
	return nil
}

// measured runs a test against an agent of the test's own.
func measured(t *testing.T, ctx context.Context, direction string, duration time.Duration, agent func(net.Conn, <-chan struct{})) (*speedRun, speedJSON, time.Duration, error) {
	t.Helper()
	near, far := net.Pipe()
	ended := make(chan struct{})
	a := &app{env: Env{LookupEnv: noEnv, dialAgent: func(context.Context, string, string) (net.Conn, error) { return halves{near, ended}, nil }}}
	served := make(chan struct{})
	go func() {
		defer close(served)
		defer far.Close()
		request := make([]byte, 1000)
		count, _ := far.Read(request)
		if want := map[string]string{"down": `"direction":0}`, "up": `"direction":1}`}[direction]; !strings.Contains(string(request[:count]), `{"version":2,"time":3000000000,`+want) {
			t.Errorf("request %q", request[:count])
		}
		agent(far, ended)
	}()
	run := &speedRun{
		agentPort: &agentPort{app: a, agent: &localv1.AgentStatus{Name: "main", Workspace: "myws"}, addr: agentAddress, port: speedtestPort, what: "measure the speed of"},
		direction: direction, duration: duration, say: func(speedJSON) {},
	}
	began := time.Now()
	total, err := run.measure(ctx)
	took := time.Since(began)
	near.Close()
	<-served
	return run, total, took, err
}

// exitOf is the exit code of an error.
func exitOf(err error) localapi.Code {
	var known *localapi.Error
	if errors.As(err, &known) {
		return known.Code
	}
	return 0
}

// TestSpeedIsMeasured: the clock of the test makes the figures exact.
func TestSpeedIsMeasured(t *testing.T) {
	t.Run("down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			run, total, _, err := measured(t, t.Context(), "down", 3*time.Second, func(conn net.Conn, _ <-chan struct{}) {
				io.WriteString(conn, "{}\n")
				for range 6 { // 1000 bytes each half second, and nothing for two
					time.Sleep(500 * time.Millisecond)
					conn.Write(make([]byte, 1000))
				}
				// Beside the clock of the intervals: a pipe that has ended takes no
				// deadline, which a connection does.
				time.Sleep(2250 * time.Millisecond)
			})
			if err != nil {
				t.Fatal(err)
			}
			if total.Bytes != 6000 || total.End != 5.25 || math.Round(total.Mbits*1e6) != 9143 {
				t.Errorf("total %+v", total)
			}
			var bytes int64
			for i, one := range run.intervals {
				if one.End-one.Start != 1 && i < len(run.intervals)-1 || i > 0 && one.Start != run.intervals[i-1].End {
					t.Errorf("interval %+v", one)
				}
				bytes += one.Bytes
			}
			if bytes != total.Bytes || len(run.intervals) < 4 {
				t.Errorf("%d bytes in %d intervals", bytes, len(run.intervals))
			}
		})
	})
	t.Run("up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, total, _, err := measured(t, t.Context(), "up", 3*time.Second, func(conn net.Conn, ended <-chan struct{}) {
				io.WriteString(conn, "{}\n")
				go io.Copy(io.Discard, slowly{conn})
				<-ended
				time.Sleep(time.Second) // the rest is on its way
			})
			if err != nil {
				t.Fatal(err)
			}
			// The total counts until everything has arrived, not until it was handed over.
			if total.End != 4 || total.Bytes == 0 {
				t.Errorf("total %+v", total)
			}
		})
	})
}

// slowly reads once in 100 ms.
type slowly struct{ io.Reader }

func (s slowly) Read(to []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return s.Reader.Read(to)
}

// TestStuckAgents: whatever an agent does not do, the command ends in time.
func TestStuckAgents(t *testing.T) {
	for name, test := range map[string]struct {
		direction, says string
		wait, ends      time.Duration
		code            localapi.Code
	}{
		"no answer":           {"down", "", time.Hour, reachLimit, localapi.CodeTimeout},
		"half an answer":      {"down", `{"error`, time.Hour, reachLimit, localapi.CodeTimeout},
		"sends nothing":       {"down", "{}\n", time.Hour, 3*time.Second + speedtestGrace, localapi.CodeTimeout},
		"takes nothing":       {"up", "{}\n", time.Hour, 3*time.Second + speedtestGrace, localapi.CodeTimeout},
		"goes at once":        {"down", "{}\n", 0, 0, localapi.CodeGeneric},
		"goes before the end": {"down", "{}\n", time.Second, time.Second, localapi.CodeGeneric},
		"is something else":   {"down", "220 mail\n", 0, 0, localapi.CodeGeneric},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, _, took, err := measured(t, t.Context(), test.direction, 3*time.Second, func(conn net.Conn, _ <-chan struct{}) {
					io.WriteString(conn, test.says)
					select {
					case <-time.After(test.wait):
					case <-t.Context().Done():
					}
				})
				if exitOf(err) != test.code || took != test.ends {
					t.Errorf("%v after %s, want the code %d after %s", err, took, test.code, test.ends)
				}
			})
		})
	}
}

// TestSpeedtestIsInterrupted: Ctrl-C ends it at once.
func TestSpeedtestIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		_, _, took, err := measured(t, ctx, "down", 3*time.Second, func(conn net.Conn, _ <-chan struct{}) {
			io.WriteString(conn, "{}\n")
			io.Copy(io.Discard, conn)
		})
		if err == nil || took != 1500*time.Millisecond {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// TestAgentIsOffline: an agent that nobody sees is not waited for.
func TestAgentIsOffline(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serveFake(t, path, "agent-offline")
	for _, line := range []string{"speedtest myws", "ports myws"} {
		stdout, stderr, code := command(t, path, line)
		if got := <-code; got != int(localapi.CodeDegraded) || !strings.Contains(stderr.String(), "agent is not online") {
			t.Errorf("%s: exit code %d, %s%s", line, got, stdout.String(), stderr.String())
		}
	}
}
