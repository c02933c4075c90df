package vpnproto

import (
	"errors"
	"log/slog"
	"net/http"
	"reflect"
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

// TestStartWithoutControlPlane: what an earlier process knew is a start, also when
// the control plane has asked to come again later.
func TestStartWithoutControlPlane(t *testing.T) {
	for _, code := range []string{tunnel.CodeUnreachable, tunnel.CodeTold} {
		c, nothing := up(), up()
		c.status, nothing.status = unreachable(tunnel.Degraded), unreachable(tunnel.Starting)
		c.status.Problems[0].Code, nothing.status.Problems[0].Code = code, code
		m := begin(t, Version{1, 3}, silent, nothing, c)
		if got := m.start(); got.GetSuccess() || got.GetErrorMessage() != "connection refused" {
			t.Errorf("%v, and nothing is known: %v", code, got)
		}
		if got := m.start(); !got.GetSuccess() {
			t.Errorf("%v: %v", code, got)
		}
		m.stop()
	}
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
