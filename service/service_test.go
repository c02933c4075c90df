package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

func TestLifeOfAProfile(t *testing.T) {
	r := newRig(t)
	_, call, stop := r.start(t)
	if got := statusOf(t, call); got.GetState() != localv1.State_SIGNED_OUT || got.GetVersion() != "v1.2.3" {
		t.Errorf("first status %v", got)
	}
	if r.os.cleanups != 1 {
		t.Errorf("%d cleanups at a start that wants no tunnel", r.os.cleanups)
	}
	_, err := call.Up(t.Context(), &localv1.UpRequest{})
	wantCode(t, err, localapi.CodeNotSignedIn)

	login(t, call)
	if got := statusOf(t, call); got.GetState() != localv1.State_DOWN || got.GetUser() != "alice" ||
		got.GetUrl() != "https://coder.example.com" || int(got.GetOwnerUid()) != os.Getuid() || got.OwnerUid == nil {
		t.Errorf("status after login %v", got)
	}
	_, err = call.Ping(t.Context(), &localv1.PingRequest{Name: "x"})
	wantCode(t, err, localapi.CodeDegraded)

	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	tunnel := r.tunnel(t)
	if string(tunnel.profile.Token) != goodToken || tunnel.profile.User != "alice" {
		t.Errorf("tunnel of the profile %+v", tunnel.profile)
	}
	// The service takes the tunnel up a moment after it was made.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if _, err := call.Ping(t.Context(), &localv1.PingRequest{Name: "ws"}); err == nil {
			break
		}
	}
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil || tunnel.kicks.Load() != 1 {
		t.Errorf("up while up: %v, %d kicks", err, tunnel.kicks.Load())
	}
	if reply, err := call.Ping(t.Context(), &localv1.PingRequest{Name: "ws"}); err != nil || reply.GetName() != "ws" {
		t.Errorf("Ping() = %v, %v", reply, err)
	}
	if reply, err := call.QueryDNS(t.Context(), &localv1.QueryDNSRequest{Message: []byte("q")}); err != nil || string(reply.GetMessage()) != "q" {
		t.Errorf("QueryDNS() = %v, %v", reply, err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run() = %v", err)
	}

	// What the user wants survives the process.
	_, call, _ = r.start(t)
	if r.os.cleanups != 1 {
		t.Error("a start that wants the tunnel cleaned up instead of adopting")
	}
	r.tunnel(t)
	if _, err := call.Down(t.Context(), &localv1.DownRequest{}); err != nil {
		t.Error(err)
	}
	if got := statusOf(t, call); got.GetState() != localv1.State_DOWN || got.GetWantedUp() {
		t.Errorf("status after down %v", got)
	}
	if _, err := call.Logout(t.Context(), &localv1.LogoutRequest{}); err != nil {
		t.Error(err)
	}
	if got := statusOf(t, call); got.GetState() != localv1.State_SIGNED_OUT || got.GetUser() != "" || got.OwnerUid == nil || got.GetProfile() == "" {
		t.Errorf("status after logout %v", got)
	}
	if data, err := os.ReadFile(filepath.Join(r.config.StateDir, stateFile)); err != nil || bytes.Contains(data, []byte(goodToken)) {
		t.Errorf("the token is on disk after logout, or %v", err)
	}
}

func wantCode(t *testing.T, err error, want localapi.Code) {
	t.Helper()
	var got *localapi.Error
	if !errors.As(err, &got) || got.Code != want || got.Remedy == "" {
		t.Errorf("error %#v, want code %d and a remedy", err, want)
	}
}

func TestLoginRefused(t *testing.T) {
	r := newRig(t)
	_, call, _ := r.start(t)
	for name, test := range map[string]struct {
		url, token string
		code       localapi.Code
	}{
		"wrong token":    {"https://coder.example.com", "bad", localapi.CodeNotSignedIn},
		"no scheme":      {"coder.example.com", goodToken, localapi.CodeUsage},
		"other scheme":   {"ftp://coder.example.com", goodToken, localapi.CodeUsage},
		"no host":        {"https:///x", goodToken, localapi.CodeUsage},
		"password":       {"https://a:hunter2@h", goodToken, localapi.CodeUsage},
		"query":          {"https://h/?token=hunter2", goodToken, localapi.CodeUsage},
		"not a URL":      {"http://[::1", goodToken, localapi.CodeUsage},
		"no token":       {"https://h", " \n", localapi.CodeUsage},
		"token in lines": {"https://h", "a\nb", localapi.CodeUsage},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call.Login(t.Context(), &localv1.LoginRequest{Url: test.url, Token: test.token})
			wantCode(t, err, test.code)
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
	if got := statusOf(t, call); got.GetState() != localv1.State_SIGNED_OUT {
		t.Errorf("status %v", got)
	}
	login(t, call)
	if _, err := call.Login(t.Context(), &localv1.LoginRequest{Url: "https://other", Token: "bad"}); err == nil {
		t.Error("bad token taken")
	}
	if got := statusOf(t, call); got.GetUser() != "alice" || got.GetUrl() != "https://coder.example.com" {
		t.Errorf("a failed login changed the profile: %v", got)
	}
}

func TestTunnelFailureIsAStatusAndIsRetried(t *testing.T) {
	r := newRig(t)
	_, call, _ := r.start(t)
	login(t, call)
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	stream, err := call.WatchStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	// Every try fails until the failure has been seen: on a slow machine the
	// next try may begin before the first one's failure is sent.
	stopFailing := r.failAll(fmt.Errorf("run: %w", fail(FailureTUN, "choose another", "the name is taken")))
	status := &localv1.Status{}
	for status.GetState() != localv1.State_FAILED {
		if status, err = stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	stopFailing()
	problem := status.GetProblems()[0]
	if problem.GetCode() != "tun-failed" || problem.GetRemedy() != "choose another" {
		t.Errorf("problem %v", problem)
	}
	// Asking again tries at once, not after the pause.
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	second := r.tunnel(t)
	second.set(&localv1.Status{State: localv1.State_CONNECTED, Suffix: "coder"})
	for status.GetState() != localv1.State_CONNECTED {
		if status, err = stream.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if status.GetSuffix() != "coder" || status.GetUser() != "alice" || len(status.GetProblems()) != 0 {
		t.Errorf("status %v", status)
	}
}

func TestTunnelThatLeavesSomething(t *testing.T) {
	r := newRig(t)
	r.residue = errors.New("remove route: busy")
	_, call, stop := r.start(t)
	login(t, call)
	if _, err := call.Up(t.Context(), &localv1.UpRequest{}); err != nil {
		t.Fatal(err)
	}
	r.tunnel(t)
	_, err := call.Down(t.Context(), &localv1.DownRequest{})
	wantCode(t, err, localapi.CodeGeneric)
	if got := statusOf(t, call).GetProblems(); len(got) != 1 || got[0].GetCode() != "host-not-restored" {
		t.Errorf("problems %v", got)
	}
	wantFailure(t, stop(), FailureNetwork)
}

func wantFailure(t *testing.T, err error, want Failure) {
	t.Helper()
	var got *Error
	if !errors.As(err, &got) || got.Failure != want {
		t.Errorf("error %v, want failure %d", err, want)
	}
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if err := os.MkdirAll(r.config.StateDir, 0o700); err != nil {
			t.Fatal(err)
		}
		s := New(r.config)
		s.os, s.state = r.os, wantingState()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan struct{})
		go func() { defer close(done); s.supervise(ctx) }()
		last := time.Now()
		for i, limit := range []time.Duration{0, 1, 2, 4, 8, 16, 30, 30, 30} {
			tunnel := <-r.tunnels
			limit *= time.Second
			if took := time.Since(last); took > limit || took < limit*3/4 {
				t.Errorf("try %d came after %v, want %v or up to a quarter less", i, took, limit)
			}
			last = time.Now()
			tunnel.failure <- errors.New("no")
		}
		tunnel := <-r.tunnels
		time.Sleep(steady)
		last = time.Now()
		tunnel.failure <- nil // ending by itself is a failure too
		<-r.tunnels
		if took := time.Since(last); took > firstPause {
			t.Errorf("after a steady run the next try came after %v", took)
		}
		cancel()
		<-done
	})
}

func TestSecondDaemon(t *testing.T) {
	r := newRig(t)
	r.start(t)
	second := r.config
	second.Socket += "2"
	wantFailure(t, New(second).Run(t.Context()), FailureState)
	if _, err := os.Lstat(second.Socket); err == nil {
		t.Error("the refused daemon left a socket")
	}
}

func TestFilesArePrivate(t *testing.T) {
	r := newRig(t)
	_, call, _ := r.start(t)
	login(t, call)
	for name, want := range map[string]os.FileMode{
		r.config.StateDir: 0o700,
		filepath.Join(r.config.StateDir, stateFile): 0o600,
		filepath.Join(r.config.StateDir, lockFile):  0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
	entries, err := os.ReadDir(r.config.StateDir)
	if err != nil || len(entries) != 2 {
		t.Errorf("files %v, %v", entries, err)
	}
}

func TestNotify(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	r.config.LookupEnv = func(name string) (string, bool) { return path, name == "NOTIFY_SOCKET" }
	_, _, stop := r.start(t)
	buffer := make([]byte, 100)
	for _, want := range []string{"READY=1", "STOPPING=1"} {
		n, err := conn.Read(buffer)
		if err != nil || string(buffer[:n]) != want {
			t.Fatalf("notification %q, %v; want %q", buffer[:n], err, want)
		}
		if want == "READY=1" {
			if err := stop(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestGuardShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		var code atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		stop := GuardShutdown(ctx, &text, func(c int) { code.Store(int32(c)) })
		time.Sleep(time.Hour)
		cancel()
		time.Sleep(ShutdownLimit - time.Millisecond)
		synctest.Wait()
		if code.Load() != 0 {
			t.Error("gave up too early")
		}
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		stop()
		if code.Load() != int32(FailureHang) || !strings.Contains(text.String(), "goroutine ") {
			t.Errorf("exit code %d, dump of %d bytes", code.Load(), text.Len())
		}
		code.Store(0)
		ctx, cancel = context.WithCancel(t.Context())
		stop = GuardShutdown(ctx, &text, func(c int) { code.Store(int32(c)) })
		cancel()
		stop()
		time.Sleep(time.Hour)
		if code.Load() != 0 {
			t.Error("gave up although the shutdown ended")
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"version":1,"profile":{"url":"https://h","token":"t","user":"u","user_id":"i"},"owner_uid":7,"wanted_up":true}`))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := decodeState(data)
		if err != nil {
			return
		}
		again, err := encodeState(first)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeState(again); err != nil {
			t.Fatalf("own output %s: %v", again, err)
		}
	})
}
