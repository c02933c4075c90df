//go:build unix

package relay

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/derp/derpserver"
	"tailscale.com/net/netmon"
	"tailscale.com/types/key"
)

// BenchmarkRelay sends packets of 1280 bytes through this relay, with and
// without a policy, and through upstream's handler in the same rig. What is
// compared is the time, and the CPU time of the whole process (both clients
// included), for each packet that arrives; the relay drops what a receiver
// does not take.
func BenchmarkRelay(b *testing.B) {
	ours := func(policy Policy) func() (http.Handler, func()) {
		return func() (http.Handler, func()) {
			r := New(Config{Logger: slog.New(slog.DiscardHandler), Key: key.NewNode(), Policy: policy})
			return r, func() {
				done, cancel := context.WithCancel(context.Background())
				cancel()
				r.Close(done)
			}
		}
	}
	for _, variant := range []struct {
		name string
		make func() (http.Handler, func())
	}{
		{"upstream", func() (http.Handler, func()) {
			s := derpserver.New(key.NewNode(), quietLog)
			return derpserver.Handler(s), func() { s.Close() }
		}},
		{"open", ours(nil)},
		{"policy", ours(everybody{})},
	} {
		b.Run(variant.name, func(b *testing.B) { benchmarkRelay(b, variant.make) })
	}
}

func benchmarkRelay(b *testing.B, build func() (http.Handler, func())) {
	handler, stop := build()
	server := httptest.NewServer(handler)
	defer server.Close()
	defer stop()
	monitor := netmon.NewStatic()
	defer monitor.Close()
	dial := func(private key.NodePrivate) *derphttp.Client {
		client, err := derphttp.NewClient(private, server.URL+"/derp", quietLog, monitor)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := client.Recv(); err != nil {
			b.Fatal(err)
		}
		return client
	}
	alice, bob := key.NewNode(), key.NewNode()
	from, to := dial(alice), dial(bob)
	defer to.Close()
	var stopped atomic.Bool
	var sent atomic.Int64
	done := make(chan struct{})
	packet := make([]byte, 1280)
	var got atomic.Int64
	go func() {
		defer close(done)
		for !stopped.Load() {
			// As TCP would, stay at most a window ahead.
			if sent.Load()-got.Load() > 24 {
				time.Sleep(20 * time.Microsecond)
				continue
			}
			if from.Send(bob.Public(), packet) != nil {
				return
			}
			sent.Add(1)
		}
	}()
	b.SetBytes(int64(len(packet)))
	cpu := cpuTime()
	for b.Loop() {
		for {
			message, err := to.Recv()
			if err != nil {
				b.Fatal(err)
			}
			if _, ok := message.(derp.ReceivedPacket); ok {
				got.Add(1)
				break
			}
		}
	}
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/packet")
	stopped.Store(true)
	from.Close()
	<-done
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
