package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/causewayhq/causeway/client"
)

var discard = slog.New(slog.DiscardHandler)

func TestSignInScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/signin",
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		UpdateScripts: os.Getenv("CAUSEWAY_UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			dir, err := os.MkdirTemp("", "cw")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			env.Setenv("CAUSEWAY_SOCKET", filepath.Join(dir, "s"))
			env.Setenv("TOKEN", goodToken)
			env.Setenv("FRONT", frontSecret)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": startFake, "profiles": startProfiles, "deployment": startDeployment, "code": expectCode, "schema": checkSchema,
		},
	})
}

// The picture, read back module by module, is the code.
func TestDraw(t *testing.T) {
	const size = 21
	black := func(x, y int) bool { return x >= 0 && y >= 0 && x < size && y < size && (x*7+y*3)%5 < 2 }
	for _, colour := range []bool{false, true} {
		lines := strings.Split(strings.TrimSuffix(draw(size, black, colour), "\n"), "\n")
		if len(lines) != (size+2*quietZone+1)/2 {
			t.Fatalf("%d lines", len(lines))
		}
		for row, line := range lines {
			if colour {
				line = strings.TrimSuffix(strings.TrimPrefix(line, "\x1b[97;40m"), "\x1b[0m")
			}
			for column, r := range []rune(line) {
				x, y := column-quietZone, 2*row-quietZone
				upper, lower := r == '█' || r == '▀', r == '█' || r == '▄'
				if upper == black(x, y) || lower == black(x, y+1) {
					t.Fatalf("at %d,%d: %q", x, y, r)
				}
			}
			if width := len([]rune(line)); width != size+2*quietZone {
				t.Errorf("line of %d", width)
			}
		}
	}
}

// What is said while waiting is over with the sign-in, though the command goes
// on, as with --up.
func TestWaitingEndsWithTheSignIn(t *testing.T) {
	server := fakeDeployment("approve")
	defer server.Close()
	access, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	way, err := client.Network{}.Options()
	if err != nil {
		t.Fatal(err)
	}
	var stderr output
	a := &app{env: Env{Stdin: strings.NewReader(""), Stderr: &stderr, LookupEnv: noEnv}}
	token, err := a.obtain(t.Context(), &signInFlags{device: true, qr: qrNever}, access, way)
	if err != nil || token != goodToken || !strings.Contains(stderr.String(), "waiting for") {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	waitFor(t, "the end of the wait", func() bool {
		stacks := make([]byte, 1<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "signingIn).waits")
	})
}

// Ctrl-C ends a wait for the browser and leaves no listener behind.
func TestInterruptedSignIn(t *testing.T) {
	server := fakeDeployment("approve")
	defer server.Close()
	for _, flag := range []string{"--browser", "--device"} {
		socket := filepath.Join(t.TempDir(), "s")
		serveFake(t, socket, "signed-out")
		ctx, cancel := context.WithCancel(t.Context())
		var stdout, stderr output
		code := make(chan int, 1)
		go func() {
			code <- Main(ctx, Env{
				Args:  []string{"causeway", "--socket", socket, "login", server.URL, flag, "--no-browser"},
				Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr, LookupEnv: noEnv,
			})
		}()
		waitFor(t, "word of the wait", func() bool { return strings.Contains(stderr.String(), "waiting for") })
		cancel()
		if got := <-code; got != interrupted || stdout.String() != "" {
			t.Errorf("%s: exit code %d, want %d; %s", flag, got, interrupted, stdout.String())
		}
	}
}

func TestParseHeader(t *testing.T) {
	for line, want := range map[string]string{
		"X-Front: a b": "X-Front|a b", "X-Front=a=b:c": "X-Front|a=b:c", "Authorization:Basic eA==": "Authorization|Basic eA==",
		"X-Front": "", ": planted": "", "X Front: planted": "", "Host: planted": "", "X-Front:": "",
	} {
		header, err := parseHeader(line)
		if got := header.GetName() + "|" + header.GetValue(); (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("parseHeader(%q) = %s, %v", line, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("the error shows the value: %v", err)
		}
	}
}

func TestWithoutSecrets(t *testing.T) {
	got := strings.Join(withoutSecrets([]string{
		"causeway", "login", "u@host", "--header", "X-A=planted", "--header=X-B: planted", "--header", "planted", "--proxy", "http://u:planted@p:1", "--proxy=http://u:planted@p:1",
	}), " ")
	if want := "causeway login u@host --header X-A=... --header=X-B:... --header ... --proxy http://u:xxxxx@p:1 --proxy=http://u:xxxxx@p:1"; got != want {
		t.Errorf("withoutSecrets() = %s\nwant %s", got, want)
	}
}

func TestAccessURL(t *testing.T) {
	for text, want := range map[string]string{
		"coder.example.com": "https://coder.example.com", " http://x/ ": "http://x", "https://x/base/": "https://x/base",
		"ftp://x": "", "https://": "", "https://u:planted@x": "", "https://x?planted": "", "https://x#planted": "", "https://%zz-planted": "",
	} {
		access, err := accessURL(text)
		if (err == nil) != (want != "") || err == nil && access.String() != want {
			t.Errorf("accessURL(%q) = %v, %v", text, access, err)
		}
		if err != nil && strings.Contains(err.Error(), "planted") {
			t.Errorf("the error shows what was pasted: %v", err)
		}
	}
}

func TestMinutes(t *testing.T) {
	for d, want := range map[time.Duration]int{10*time.Minute - time.Second: 10, 20 * time.Second: 1, -time.Second: 1} {
		if got := minutes(d); got != want {
			t.Errorf("minutes(%s) = %d, want %d", d, got, want)
		}
	}
}
