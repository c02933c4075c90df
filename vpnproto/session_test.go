package vpnproto

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/proto/vpnv1"
	"github.com/causewayhq/causeway/tunnel"
)

// TestStartFailures: each failure in its words, and after each of them the tunnel
// can be started.
func TestStartFailures(t *testing.T) {
	refused := up()
	refused.status = tunnel.Status{State: tunnel.Failed, Problems: []tunnel.Problem{{Code: tunnel.CodeSignedOut, Cause: "the token is refused"}}}
	away := up()
	away.status = unreachable(tunnel.Starting)
	kept := up()
	kept.status = tunnel.Status{State: tunnel.Degraded, Problems: []tunnel.Problem{{Code: tunnel.CodeSignedOut, Cause: "the token is refused, though names are known"}}}
	noDevice := up()
	noDevice.status = tunnel.Status{State: tunnel.Starting}
	noDevice.broke <- errors.New("TUN device cannot be opened")
	works := up()
	m := begin(t, Version{1, 3}, silent, refused, away, kept, noDevice, works)
	long := &vpnv1.StartRequest{CoderUrl: "https://coder.example", ApiToken: "t", Headers: []*vpnv1.StartRequest_Header{{Name: "X-Y", Value: "a\r\nEvil: b"}}}
	for _, step := range []struct {
		request *vpnv1.StartRequest
		failure string
	}{
		{&vpnv1.StartRequest{}, "missing coder url"},
		{&vpnv1.StartRequest{ApiToken: "t"}, "missing coder url"},
		{&vpnv1.StartRequest{CoderUrl: "https://coder.example"}, "missing api token"},
		{&vpnv1.StartRequest{CoderUrl: "https://coder.example:port", ApiToken: "t"}, `parse "https://coder.example:port": invalid port ":port" after host`},
		{&vpnv1.StartRequest{CoderUrl: "coder.example", ApiToken: "t"}, `parse "coder.example": it is not http://HOST or https://HOST`},
		{&vpnv1.StartRequest{CoderUrl: "ftp://u:p@coder.example", ApiToken: "t"}, `parse "ftp://u:xxxxx@coder.example": it is not http://HOST or https://HOST`},
		{long, `header "X-Y" is no HTTP header`},
		{startMessage("https://coder.example", "bad").GetStart(), "the token is refused"},
		{startMessage("https://coder.example", "t").GetStart(), "connection refused"},
		{startMessage("https://coder.example", "t").GetStart(), "the token is refused, though names are known"},
		{startMessage("https://coder.example", "t").GetStart(), "TUN device cannot be opened"},
	} {
		reply, _ := m.ask(&vpnv1.ManagerMessage{Msg: &vpnv1.ManagerMessage_Start{Start: step.request}})
		if got := reply.GetStart(); got.GetSuccess() || got.GetErrorMessage() != step.failure {
			t.Errorf("%v: %v, want the failure %q", step.request, got, step.failure)
		}
	}
	if got := m.start(); !got.GetSuccess() || !works.waitRunning() {
		t.Errorf("started at last: %v", got)
	}
	for _, c := range []*core{refused, away, kept, noDevice} {
		if c.isRunning() || c.runs != 1 {
			t.Error("a tunnel that was not started runs, or ran twice")
		}
	}
	if got, _ := m.stop(); !got.GetSuccess() || works.isRunning() {
		t.Errorf("stop: %v", got)
	}
}

// TestStartWithoutControlPlane: what an earlier process knew is a start.
func TestStartWithoutControlPlane(t *testing.T) {
	c := up()
	c.status = unreachable(tunnel.Degraded)
	m := begin(t, Version{1, 3}, silent, c)
	if got := m.start(); !got.GetSuccess() {
		t.Errorf("%v", got)
	}
	m.stop()
}

// TestStartWaits for the control plane's first word, which may come late; and
// gives up when there is none.
func TestStartWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, never := up(), up()
		slow.status, never.status = tunnel.Status{State: tunnel.Starting}, tunnel.Status{State: tunnel.Starting}
		m := begin(t, Version{1, 3}, silent, never, slow)
		began := time.Now()
		if got := m.start(); got.GetErrorMessage() != "no answer from the deployment within 20s" || time.Since(began) != 20*time.Second {
			t.Errorf("after %v: %v", time.Since(began), got)
		}
		number := m.say(startMessage("https://coder.example", "t"))
		time.Sleep(15 * time.Second)
		slow.set(func() { slow.status.ControlConnected = true })
		if reply, _ := m.replyTo(number); !reply.GetStart().GetSuccess() {
			t.Errorf("%v", reply)
		}
		m.stop()
		<-m.ended
	})
}

// TestSecondStart: nothing is made or dialled for it.
func TestSecondStart(t *testing.T) {
	c := up()
	c.status = tunnel.Status{State: tunnel.Starting}
	spare := up()
	m := begin(t, Version{1, 3}, silent, c, spare)
	first := m.say(startMessage("https://coder.example", "t"))
	if reply, _ := m.ask(startMessage("https://coder.example", "t")); reply.GetStart().GetErrorMessage() != "tunnel is being started already" {
		t.Errorf("while starting: %v", reply)
	}
	c.set(func() { c.status.ControlConnected = true })
	if reply, _ := m.replyTo(first); !reply.GetStart().GetSuccess() {
		t.Errorf("the first: %v", reply)
	}
	if reply, _ := m.ask(startMessage("https://coder.example", "t")); !reply.GetStart().GetSuccess() {
		t.Errorf("the same again: %v", reply)
	}
	if reply, _ := m.ask(startMessage("https://other.example", "t")); reply.GetStart().GetErrorMessage() != "tunnel is running already; stop it first" {
		t.Errorf("another: %v", reply)
	}
	if spare.runs != 0 || len(m.cores) != 1 || c.runs != 1 {
		t.Error("a second tunnel was made")
	}
	m.stop()
}

// TestStartAgain: a tunnel that ended by itself makes room.
func TestStartAgain(t *testing.T) {
	first, second := up(), up()
	m := begin(t, Version{1, 3}, slog.LevelError, first, second)
	if !m.start().GetSuccess() {
		t.Fatal("not started")
	}
	first.broke <- errors.New("it broke")
	if got := m.read().GetLog(); got.GetMessage() != "tunnel ended with an error" || got.GetFields()[0].GetValue() != `"it broke"` {
		t.Errorf("%v", got)
	}
	if got := m.start(); !got.GetSuccess() || !second.waitRunning() {
		t.Errorf("%v", got)
	}
	m.stop()
}

// TestHeaders: on every request, whatever the version; the device's only from 1.1.
func TestHeaders(t *testing.T) {
	for name, test := range map[string]struct {
		version                Version
		device, system, number string
		want                   http.Header
	}{
		"1.0 has no device":    {Version{1, 0}, "d", "Linux", "9", http.Header{"X-One": {"1", "2"}}},
		"1.1":                  {Version{1, 1}, "d", "Linux", "9", http.Header{"X-One": {"1", "2"}, "Coder-Desktop-Telemetry": {`{"device_id":"d","device_os":"Linux","coder_desktop_version":"9"}`}}},
		"one of three":         {Version{1, 3}, "", "macOS", "", http.Header{"X-One": {"1", "2"}, "Coder-Desktop-Telemetry": {`{"device_id":"","device_os":"macOS","coder_desktop_version":""}`}}},
		"none, so no header":   {Version{1, 3}, "", "", "", http.Header{"X-One": {"1", "2"}}},
		"a line end in a name": {Version{1, 3}, "a\nb", "", "", http.Header{"X-One": {"1", "2"}, "Coder-Desktop-Telemetry": {`{"device_id":"a\nb","device_os":"","coder_desktop_version":""}`}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := profile(&vpnv1.StartRequest{
				CoderUrl: "https://coder.example", ApiToken: "t", DeviceId: test.device, DeviceOs: test.system, CoderDesktopVersion: test.number,
				Headers: []*vpnv1.StartRequest_Header{{Name: "x-one", Value: "1"}, {Name: "X-One", Value: "2"}},
			}, test.version)
			if err != nil || !reflect.DeepEqual(got.Headers, test.want) {
				t.Errorf("%v: %v, want %v", err, got.Headers, test.want)
			}
		})
	}
}

// TestAlwaysAnswered: before a start too, where there is nothing to tell.
func TestAlwaysAnswered(t *testing.T) {
	c := up()
	c.status = tunnel.Status{State: tunnel.Starting}
	m := begin(t, Version{1, 3}, silent, c)
	empty := func(when string) {
		reply, _ := m.ask(peersMessage())
		if reply.GetPeerUpdate() == nil || len(reply.GetPeerUpdate().GetUpsertedAgents()) != 0 {
			t.Errorf("%s: %v, want an empty update", when, reply)
		}
		if reply, _ := m.ask(wakeMessage()); reply.GetWake() == nil {
			t.Errorf("%s: wake: %v", when, reply)
		}
	}
	empty("before the start")
	number := m.say(startMessage("https://coder.example", "t"))
	empty("while starting")
	c.has(true, agent(1))
	c.set(func() { c.status.ControlConnected = true })
	m.replyTo(number)
	if reply, _ := m.ask(peersMessage()); idsOf(reply.GetPeerUpdate().GetUpsertedAgents()) != "1" {
		t.Errorf("started: %v", reply)
	}
	m.stop()
}

// TestStop: before a start, while starting, with a failure, without rpc.
func TestStop(t *testing.T) {
	t.Run("before a start", func(t *testing.T) {
		m := begin(t, Version{1, 3}, silent)
		if got, _ := m.stop(); !got.GetSuccess() {
			t.Errorf("%v", got)
		}
		if err := m.end(); err != nil {
			t.Error(err)
		}
	})
	t.Run("while starting", func(t *testing.T) {
		c := up()
		c.status = tunnel.Status{State: tunnel.Starting}
		m := begin(t, Version{1, 3}, silent, c)
		number := m.say(startMessage("https://coder.example", "t"))
		got, before := m.stop()
		if !got.GetSuccess() || len(before) != 1 || before[0].GetRpc().GetResponseTo() != number || before[0].GetStart().GetErrorMessage() != "tunnel was stopped" {
			t.Errorf("%v after %v", got, before)
		}
	})
	t.Run("host not put back", func(t *testing.T) {
		c := up()
		c.ended = errors.New("host is not restored: a route stays")
		m := begin(t, Version{1, 3}, silent, c)
		m.start()
		if got, _ := m.stop(); got.GetSuccess() || got.GetErrorMessage() != "host is not restored: a route stays" {
			t.Errorf("%v", got)
		}
		if err := m.end(); !errors.Is(err, c.ended) {
			t.Errorf("session: %v", err)
		}
	})
	t.Run("without rpc", func(t *testing.T) {
		c := up()
		m := begin(t, Version{1, 3}, silent, c)
		m.start()
		m.put(stopMessage0())
		if got := m.read(); got != nil {
			t.Errorf("%v, want the end", got)
		}
		if err := m.end(); err != nil || c.isRunning() {
			t.Errorf("%v, running %v", err, c.isRunning())
		}
	})
}

// TestUnknownRequest is a request whose kind we do not know: in an rpc, and
// without one.
func TestUnknownRequest(t *testing.T) {
	m := begin(t, Version{1, 3}, slog.LevelWarn)
	m.raw("00000006 0a02 0801 7a00")
	if got := m.read().GetLog(); got.GetLevel() != vpnv1.Log_WARN || got.GetMessage() != "unknown request" {
		// The reply may come first: it is the more urgent.
		if got != nil {
			t.Errorf("%v", got)
		}
		m.read()
	} else {
		m.want("00000004 0a02 1001")
	}
	for _, bytes := range []string{"00000002 7a00", "00000004 0a00 7a00", "00000000"} {
		m.raw(bytes)
		if got := m.read().GetLog(); got.GetLevel() != vpnv1.Log_CRITICAL || got.GetMessage() != "unknown request" {
			t.Errorf("%s: %v, want a critical record", bytes, got)
		}
	}
	// A known one without rpc: it is done, the reply is an error.
	m.put(peersMessage())
	if got := m.read().GetLog(); got.GetLevel() != vpnv1.Log_ERROR || got.GetFields()[0].GetValue() != `"a message without rpc takes no reply"` {
		t.Errorf("%v", got)
	}
	m.stop()
}

// TestWakeIsNewInOneThree: below it is unknown like any other.
func TestWakeIsNewInOneThree(t *testing.T) {
	for minor, known := range []bool{false, false, false, true} {
		c := up()
		m := begin(t, Version{1, uint(minor)}, silent, c)
		m.start()
		reply, _ := m.ask(wakeMessage())
		if (reply.GetWake() != nil) != known || (len(c.wakes) == 1) != known {
			t.Errorf("1.%d: %v, %d wakes", minor, reply, len(c.wakes))
		}
		m.stop()
	}
}

// TestWake is acted on at most once in five seconds, and always answered.
func TestWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := up()
		m := begin(t, Version{1, 3}, silent, c)
		m.ask(wakeMessage()) // not running
		m.start()
		began := time.Now()
		var want []time.Duration
		for _, step := range []struct {
			after time.Duration
			acts  bool
		}{{0, true}, {0, false}, {4999 * time.Millisecond, false}, {time.Millisecond, true}, {4 * time.Second, false}, {4 * time.Second, true}} {
			time.Sleep(step.after)
			if step.acts {
				want = append(want, time.Since(began))
			}
			if reply, _ := m.ask(wakeMessage()); reply.GetWake() == nil {
				t.Errorf("not answered: %v", reply)
			}
		}
		var got []time.Duration
		for _, at := range c.wakes {
			got = append(got, at.Sub(began))
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("acted at %v, want %v", got, want)
		}
		m.stop()
		<-m.ended
	})
}

// TestHangUp: the manager is gone without a word, or broke the protocol; the
// tunnel ends with it.
func TestHangUp(t *testing.T) {
	for name, test := range map[string]struct {
		bytes string
		is    error
	}{
		"between messages": {"", ErrHungUp},
		"in a message":     {"00000006 0a02", ErrHungUp},
		"too long":         {"01000001", ErrTooLong},
		"no protobuf":      {"00000003 ffffff", nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := up()
			m := begin(t, Version{1, 3}, silent, c)
			m.start()
			m.raw(test.bytes)
			if errors.Is(test.is, ErrHungUp) {
				m.out.Close()
			}
			rest, err := io.ReadAll(m.in)
			ended := m.end()
			if len(rest) != 0 || err != nil || ended == nil || test.is != nil && !errors.Is(ended, test.is) || c.isRunning() {
				t.Errorf("%x %v, ended with %v, running %v", rest, err, ended, c.isRunning())
			}
			if errors.Is(test.is, ErrHungUp) && !errors.Is(ended, io.ErrUnexpectedEOF) {
				t.Errorf("ended with %v, want an unexpected EOF", ended)
			}
		})
	}
}

// TestDeafManager reads nothing more: neither log records nor updates nor a stop
// wait for it for ever.
func TestDeafManager(t *testing.T) {
	for name, over := range map[string]func(*manager, context.CancelFunc){
		"stop":   func(m *manager, _ context.CancelFunc) { m.say(stopMessage0()) },
		"signal": func(_ *manager, cancel context.CancelFunc) { cancel() },
		"gone":   func(m *manager, _ context.CancelFunc) { m.out.Close(); m.in.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				toTunnel, out := io.Pipe()
				in, fromTunnel := io.Pipe()
				m := &manager{t: t, in: in, out: out}
				c := up()
				c.has(true, agent(1))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					ended <- serve(ctx, toTunnel, fromTunnel, Version{1, 3}, Config{
						Log: slog.DiscardHandler, Level: slog.LevelDebug,
						New: func(_ tunnel.Profile, start Start) (Core, error) { c.start = start; return c, nil },
					})
				}()
				m.say(startMessage("https://coder.example", "t"))
				synctest.Wait()
				began := time.Now()
				for range 3 * logsWaiting {
					c.start.Logger.Info("a record")
				}
				c.has(false, agent(1), agent(2))
				time.Sleep(12 * time.Second) // two rounds
				if took := time.Since(began); took != 12*time.Second {
					t.Errorf("logging waited: %v", took)
				}
				over(m, cancel)
				began = time.Now()
				<-ended
				if took := time.Since(began); took > flushLimit || c.isRunning() {
					t.Errorf("the end took %v, running %v", took, c.isRunning())
				}
				c.start.Logger.Info("a late record") // dropped, and no panic
				cancel()
				out.Close()
				in.Close()
			})
		})
	}
}

// TestRepliesAreNotRead: beyond a bound no further request is taken in, and the
// end is an end all the same.
func TestRepliesAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := begin(t, Version{1, 3}, silent)
		taken := make(chan int, 1)
		go func() {
			var count int
			for range 10 * repliesWaiting {
				if _, err := m.out.Write(unhex(t, "00000006 0a02 0801 1200")); err != nil {
					break
				}
				count++
			}
			taken <- count
		}()
		synctest.Wait()
		m.in.Close()
		m.out.Close()
		if err := <-m.ended; err == nil {
			t.Error("no error")
		}
		if got := <-taken; got > 2*repliesWaiting {
			t.Errorf("%d requests taken in, though no reply was read", got)
		}
	})
}

// TestStopWithoutRoom: a start that is answered when no more replies find room does
// not hold up the end.
func TestStopWithoutRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := up()
		c.status = tunnel.Status{State: tunnel.Starting}
		m := begin(t, Version{1, 3}, silent, c)
		m.say(startMessage("https://coder.example", "t"))
		for range repliesWaiting + 1 { // one of them is being written
			m.say(peersMessage())
			synctest.Wait()
		}
		began := time.Now()
		m.say(stopMessage0())
		err := <-m.ended
		if took := time.Since(began); !errors.Is(err, ErrHungUp) || took != flushLimit || c.isRunning() {
			t.Errorf("the end took %v with %v, running %v", took, err, c.isRunning())
		}
	})
}

// TestInterrupted is a signal: the tunnel ends, the stream too, and it is no error.
func TestInterrupted(t *testing.T) {
	toTunnel, out := io.Pipe()
	in, fromTunnel := io.Pipe()
	c := up()
	ctx, cancel := context.WithCancel(t.Context())
	m := &manager{t: t, in: in, out: out, ended: make(chan error, 1)}
	go func() {
		m.ended <- serve(ctx, toTunnel, fromTunnel, Version{1, 3}, Config{
			Log: slog.DiscardHandler, Level: silent, New: func(tunnel.Profile, Start) (Core, error) { return c, nil },
		})
	}()
	m.start()
	cancel()
	if rest, err := io.ReadAll(in); len(rest) != 0 || err != nil {
		t.Errorf("%x %v", rest, err)
	}
	if err := m.end(); err != nil || c.isRunning() {
		t.Errorf("%v, running %v", err, c.isRunning())
	}
	out.Close()
}

// TestNetworkSettings: asked of the manager, once for each state.
func TestNetworkSettings(t *testing.T) {
	c := up()
	m := begin(t, Version{1, 0}, silent, c)
	m.start()
	apply := func(want Network) <-chan error {
		result := make(chan error, 1)
		go func() { result <- c.start.Apply(t.Context(), want) }()
		return result
	}
	answer := func(number uint64, response *vpnv1.NetworkSettingsResponse) {
		m.put(&vpnv1.ManagerMessage{Rpc: &vpnv1.RPC{ResponseTo: number}, Msg: &vpnv1.ManagerMessage_NetworkSettings{NetworkSettings: response}})
	}
	result := apply(settings())
	asked := m.read()
	if asked.GetRpc().GetMsgId() != 1 || asked.GetNetworkSettings().GetMtu() != 1280 {
		t.Errorf("%v", asked)
	}
	answer(77, &vpnv1.NetworkSettingsResponse{Success: true}) // nobody's
	answer(1, &vpnv1.NetworkSettingsResponse{ErrorMessage: "not allowed"})
	answer(1, &vpnv1.NetworkSettingsResponse{Success: true}) // a second one
	if err := <-result; err == nil || !strings.HasSuffix(err.Error(), ": not allowed") {
		t.Errorf("%v", err)
	}
	// It failed, and so it is sent again; what is there is not.
	result = apply(settings())
	if asked := m.read(); asked.GetRpc().GetMsgId() != 2 {
		t.Errorf("%v", asked)
	}
	answer(2, &vpnv1.NetworkSettingsResponse{Success: true})
	if err := <-result; err != nil {
		t.Error(err)
	}
	if err := <-apply(settings()); err != nil {
		t.Error(err)
	}
	other := settings()
	other.Suffixes = []string{"other"}
	result = apply(other)
	if asked := m.read(); asked.GetRpc().GetMsgId() != 3 || asked.GetNetworkSettings().GetDnsSettings().GetDomainName() != "other" {
		t.Errorf("%v", asked)
	}
	// Who hangs up answers nothing more.
	m.out.Close()
	if err := <-result; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want an unexpected EOF", err)
	}
	if err := <-apply(settings()); err == nil {
		t.Error("settings taken after the end")
	}
}

// TestAskCancelled: who gives up is no longer waited for.
func TestAskCancelled(t *testing.T) {
	toTunnel, out := io.Pipe()
	in, fromTunnel := io.Pipe()
	l := newLink(toTunnel, fromTunnel)
	l.start(slog.New(slog.DiscardHandler))
	m := &manager{t: t, in: in, out: out}
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := l.ask(ctx, &vpnv1.TunnelMessage{})
		result <- err
	}()
	m.want("00000004 0a02 0801")
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || len(l.waiters) != 0 {
		t.Errorf("%v, %d wait", err, len(l.waiters))
	}
	l.answered(&vpnv1.ManagerMessage{Rpc: &vpnv1.RPC{ResponseTo: 1}}) // too late
	if err := l.close(nil); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"ask":   func() error { _, err := l.ask(t.Context(), &vpnv1.TunnelMessage{}); return err }(),
		"push":  l.push(t.Context(), &vpnv1.TunnelMessage{}),
		"reply": l.reply(t.Context(), &vpnv1.RPC{MsgId: 1}, &vpnv1.TunnelMessage{}),
	} {
		if err == nil {
			t.Errorf("%s after the end: no error", name)
		}
	}
	if err := l.close(nil); err != nil {
		t.Errorf("a second close: %v", err)
	}
}

// TestTooLongToSend: an update that is too long is left out, a reply becomes an
// empty one.
func TestTooLongToSend(t *testing.T) {
	toTunnel, _ := io.Pipe()
	in, fromTunnel := io.Pipe()
	l := newLink(toTunnel, fromTunnel)
	l.start(slog.New(slog.DiscardHandler))
	m := &manager{t: t, in: in}
	huge := func() *vpnv1.TunnelMessage {
		return &vpnv1.TunnelMessage{Msg: &vpnv1.TunnelMessage_Log{Log: &vpnv1.Log{Message: strings.Repeat("m", MaxMessage)}}}
	}
	go func() {
		_ = l.push(t.Context(), huge())
		_ = l.reply(t.Context(), &vpnv1.RPC{MsgId: 5}, huge())
	}()
	m.want("00000004 0a02 1005")
	l.end(errEnded)
}
