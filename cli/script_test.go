package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/causewayhq/causeway/localapi"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){
		"causeway": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := Main(ctx, Env{
				Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
				LookupEnv: os.LookupEnv, Version: "v1.2.3", Lookup: scriptLookup, UserID: scriptUser, dialAgent: scriptAgent,
			})
			stop()
			os.Exit(code)
		},
		"open-page": openPage,
		// A stand-in for OpenSSH that shows what it was run with.
		"ssh": openSSHStandIn, "scp": openSSHStandIn, "relay": relay,
		// And the programs beside this one.
		"causewayd": besideStandIn, "causeway-tray": besideStandIn,
	})
}

type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	// Most of these tests wait for something, not for a processor. The flag, if
	// it is given, counts more.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	code := l.m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// scriptLookup is the operating system's resolver of the scripts: SYSTEM_DNS
// holds what it answers.
func scriptLookup(_ context.Context, kind dnsmessage.Type, _ string) ([]string, bool, error) {
	if kind != dnsmessage.TypeAAAA {
		return nil, false, errors.New("not asked: no call")
	}
	if text := os.Getenv("SYSTEM_DNS"); text != "" {
		return strings.Fields(text), true, nil
	}
	if text := os.Getenv("SYSTEM_DNS_FAILS"); text != "" {
		return nil, true, errors.New(text)
	}
	return nil, true, errNoSuchName
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// Sockets have short paths; the script's directory may be long.
			dir, err := os.MkdirTemp("", "cw")
			if err != nil {
				return err
			}
			env.Defer(func() { os.RemoveAll(dir) })
			env.Setenv("CAUSEWAY_SOCKET", filepath.Join(dir, "s"))
			env.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
			env.Setenv("SHORT", dir)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon":    startFake,
			"agent":     startAgentPorts,
			"hostkeys":  startHostKeys,
			"terminals": startTerminals,
			"code":      expectCode,
			"schema":    checkSchema,
		},
	})
}

// expectCode runs a command and compares its exit code: code 3 causeway status.
func expectCode(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		// testscript wraps nothing: its text ends in "exit status N".
		if _, scanErr := fmt.Sscanf(err.Error(), "exit status %d", &got); scanErr != nil {
			ts.Fatalf("run %v: %v", args[1:], err)
		}
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d of %v, want %s\n%s", got, args[1:], args[0], ts.ReadFile("stderr"))
	}
}

// checkSchema compares the last standard output with a schema: schema status.
func checkSchema(ts *testscript.TestScript, _ bool, args []string) {
	data, err := os.ReadFile(filepath.Join(packageDir, "schema", args[0]+".json"))
	ts.Check(err)
	var schema map[string]any
	ts.Check(json.Unmarshal(data, &schema))
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	if err := conforms(schema, schema, value, "$"); err != nil {
		ts.Fatalf("schema %s: %v", args[0], err)
	}
}

// packageDir is where the tests run; scripts run elsewhere.
var packageDir = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

// startFake serves a handler in the state of the name until the script ends:
// daemon connected.
func startFake(ts *testscript.TestScript, _ bool, args []string) {
	listener, err := localapi.Listen(ts.Getenv("CAUSEWAY_SOCKET"))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	var served sync.WaitGroup
	authorize := func(localapi.Caller, localapi.Access) error { return nil }
	if args[0] == "forbidden" {
		rule := localapi.Rule{
			Daemon: localapi.User{UID: 1}, Owner: func() (localapi.User, bool) { return localapi.User{UID: 1000}, true },
			Operator: func(localapi.User) bool { return true },
		}
		authorize = func(_ localapi.Caller, access localapi.Access) error {
			if access == localapi.Operate {
				access = localapi.Steer // as the handlers decide while somebody else has the tunnel
			}
			return rule.Authorize(localapi.Caller{UID: 1001}, access)
		}
	}
	handler := &fakeDaemon{status: fakeStatus(args[0])}
	served.Go(func() {
		if err := localapi.Serve(ctx, listener, handler, authorize, slog.New(slog.DiscardHandler)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	ts.Defer(func() {
		cancel()
		served.Wait()
	})
}

// conforms is the part of JSON Schema that our schemas use.
func conforms(root, schema map[string]any, value any, at string) error {
	if ref, ok := schema["$ref"].(string); ok {
		definitions, _ := root["$defs"].(map[string]any)
		target, ok := definitions[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		if !ok {
			return fmt.Errorf("%s: no definition %s", at, ref)
		}
		return conforms(root, target, value, at)
	}
	if !typeFits(schema["type"], value) {
		return fmt.Errorf("%s: %T is not %v", at, value, schema["type"])
	}
	if allowed, ok := schema["enum"].([]any); ok && !slices.Contains(allowed, value) {
		return fmt.Errorf("%s: %v is none of %v", at, value, allowed)
	}
	switch value := value.(type) {
	case []any:
		items, _ := schema["items"].(map[string]any)
		for i, item := range value {
			if err := conforms(root, items, item, fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for _, name := range schema["required"].([]any) {
			if _, ok := value[name.(string)]; !ok {
				return fmt.Errorf("%s: %s is missing", at, name)
			}
		}
		for name, item := range value {
			property, ok := properties[name].(map[string]any)
			if more, open := schema["additionalProperties"].(map[string]any); open && !ok {
				property, ok = more, true
			}
			if !ok {
				return fmt.Errorf("%s: %s is not in the schema", at, name)
			}
			if err := conforms(root, property, item, at+"."+name); err != nil {
				return err
			}
		}
	}
	return nil
}

func typeFits(want, value any) bool {
	if several, ok := want.([]any); ok {
		return slices.ContainsFunc(several, func(one any) bool { return typeFits(one, value) })
	}
	switch value := value.(type) {
	case nil:
		return want == "null"
	case bool:
		return want == "boolean"
	case string:
		return want == "string"
	case float64:
		return want == "number" || want == "integer" && value == float64(int64(value))
	case []any:
		return want == "array"
	case map[string]any:
		return want == "object"
	}
	return false
}

var agentAddress = netip.MustParseAddr("fd60:627a:a42b::7")
