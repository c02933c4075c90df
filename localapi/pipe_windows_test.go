package localapi

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"github.com/causewayhq/causeway/proto/localv1"
)

// testPath is a pipe that nobody else has.
func testPath(testing.TB) string { return pipePrefix + "causeway-test-" + rand.Text() }

// listenTest listens. Wine leaves the first client of a new pipe waiting for
// ever, so there it gets one that nobody misses.
func listenTest(t testing.TB, path string) net.Listener {
	t.Helper()
	listener, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if wine() {
		patience := 200 * time.Millisecond
		if conn, err := winio.DialPipe(path, &patience); err == nil {
			conn.Close()
		}
	}
	return listener
}

// wine tells that this Windows is none.
func wine() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// stillThere is an error if a listener left its pipe.
func stillThere(path string) error {
	patience := time.Second
	conn, err := winio.DialPipe(path, &patience)
	if err == nil {
		conn.Close()
		return fmt.Errorf("the pipe %s is still served", path)
	}
	if !errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return fmt.Errorf("dial a pipe that was closed: %w", err)
	}
	return nil
}

// TestCallerIsOurselves has the server see who called.
func TestCallerIsOurselves(t *testing.T) {
	handler := &fake{agents: 4000}
	client := dial(t, serve(t, handler, everybody))
	status, err := client.GetStatus(t.Context(), &localv1.GetStatusRequest{})
	if err != nil || len(status.GetAgents()) != 4000 {
		t.Fatalf("GetStatus() = %d agents, %v", len(status.GetAgents()), err)
	}
	own, err := CurrentUser()
	if err != nil {
		t.Fatal(err)
	}
	var session uint32
	if err := windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &session); err != nil {
		t.Fatal(err)
	}
	want := Caller{
		SID: own.SID, Elevated: windows.GetCurrentProcessToken().IsElevated(), Session: session,
		PID: int32(windows.GetCurrentProcessId()),
	}
	if len(handler.callers) != 1 || handler.callers[0] != want {
		t.Errorf("callers %+v, want %+v", handler.callers, want)
	}
	if !strings.HasPrefix(own.SID, "S-1-5-") {
		t.Errorf("own SID %q", own.SID)
	}
}

// TestSecondServer: whoever comes second is refused, also with a list of access
// rights that would let it in.
func TestSecondServer(t *testing.T) {
	if wine() {
		t.Skip("Wine makes a second first instance of a pipe (it ignores FILE_CREATE)")
	}
	path := testPath(t)
	listener := listenTest(t, path)
	defer listener.Close()
	if second, err := Listen(path); !errors.Is(err, ErrServed) {
		t.Errorf("second listener: %v, %v", second, err)
	}
}

func TestPipeNames(t *testing.T) {
	for _, path := range []string{"", `C:\ProgramData\Causeway\causeway.sock`, `\\server\pipe\Causeway`, pipePrefix} {
		if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "not the name of a pipe") {
			t.Errorf("Listen(%q) = %v", path, err)
		}
		if _, err := Dial(t.Context(), path); err == nil {
			t.Errorf("Dial(%q) succeeded", path)
		}
	}
	var missing *Error
	if _, err := Dial(t.Context(), testPath(t)); !errors.As(err, &missing) || missing.Code != CodeNotRunning {
		t.Errorf("no pipe: %v", err)
	}
	if !protected(`\\.\pipe\ProtectedPrefix\Administrators\Causeway`) || protected(`\\.\pipe\Causeway`) {
		t.Error("protected names are not told from others")
	}
}

// TestDescriptorIsAccepted has the system parse what the type built, and say it
// back: what Wine stores it does not enforce, so the text is all there is to see.
func TestDescriptorIsAccepted(t *testing.T) {
	text := apiSecurity.descriptor()
	descriptor, err := windows.SecurityDescriptorFromString(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := descriptor.String(); !strings.EqualFold(got, text) {
		t.Errorf("got  %s\nwant %s", got, text)
	}
}
