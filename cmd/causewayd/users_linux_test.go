package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// The users of these tests, none of whom the system has a name for.
const (
	root  = 0
	alice = 20001
	bob   = 20002
	carol = 20003
)

// What must not be seen by others: the secrets and the names of a user.
const (
	alicesToken = "aaaa-alicesecret"
	bobsToken   = "bbbb-bobsecret"
)

func init() {
	helpers["local-ask"] = askMain
	helpers["fake-deployment"] = deploymentMain
}

// askMain makes one call as the user who runs it: socket and method, with the
// request on standard input. What comes back is one line of JSON.
func askMain() {
	answer := reply{}
	request, _ := io.ReadAll(os.Stdin)
	if err := ask(os.Args[1], os.Args[2], string(request), &answer); err != nil {
		answer.Code, answer.Cause = 1, err.Error()
		var ours *localapi.Error
		if errors.As(err, &ours) {
			answer.Code, answer.Remedy = ours.Code, ours.Remedy
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(answer)
	os.Exit(0)
}

// reply is what became of a call.
type reply struct {
	Code   localapi.Code
	Cause  string
	Remedy string
	Body   json.RawMessage
}

// askLimit is how long one call may take.
const askLimit = 20 * time.Second

// ask makes a call by its name; of a stream it takes the first message.
func ask(socket, method, request string, answer *reply) error {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	client, err := localapi.Dial(ctx, socket)
	if err != nil {
		return err
	}
	defer client.Close()
	call := reflect.ValueOf(client).MethodByName(method)
	in := reflect.New(call.Type().In(1).Elem())
	if err := protojson.Unmarshal([]byte(request), in.Interface().(proto.Message)); err != nil {
		return err
	}
	out := call.Call([]reflect.Value{reflect.ValueOf(ctx), in})
	if err, failed := out[1].Interface().(error); failed {
		return err
	}
	if _, is := out[0].Interface().(proto.Message); !is {
		if out = out[0].MethodByName("Recv").Call(nil); !out[1].IsNil() {
			return out[1].Interface().(error)
		}
	}
	answer.Body, err = protojson.Marshal(out[0].Interface().(proto.Message))
	return err
}

// deploymentMain is a deployment that knows two users, and no more: it never
// says how agents are reached, so that no tunnel of its comes to touch the host.
func deploymentMain() {
	_ = http.ListenAndServe(os.Args[1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, known := map[string]string{alicesToken: "a", bobsToken: "b"}[r.Header.Get("Coder-Session-Token")]
		switch {
		case !known:
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path != "/api/v2/users/me":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"id":"00000000-0000-0000-0000-00000000000%s","username":"user-%s"}`, who, who)
		}
	}))
}

// machine is a real daemon in a network of its own, with a deployment in it.
type machine struct {
	dir, socket, state string
	bin                string // where the programs are, for every user
	daemon             *exec.Cmd
	log                *safeBuffer
}

type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(data)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// newMachine makes the directories and the programs; start starts the daemon.
func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("it takes root to be several users")
	}
	for _, program := range []string{"unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	dir, err := os.MkdirTemp("", "cwu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &machine{dir: dir, socket: filepath.Join(dir, "run", "s"), state: filepath.Join(dir, "state"), bin: filepath.Join(dir, "bin"), log: &safeBuffer{}}
	for _, made := range []string{dir, m.bin} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.install(t)
	return m
}

// install puts the programs where every user may run them.
func (m *machine) install(t *testing.T) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first := filepath.Join(m.bin, "causewayd")
	for i, name := range []string{"causewayd", "local-ask", "fake-deployment", "hold-connections", "squat"} {
		path := filepath.Join(m.bin, name)
		if i > 0 {
			if err := os.Link(first, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		source, err := os.Open(own)
		if err != nil {
			t.Fatal(err)
		}
		target, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
		if err == nil {
			_, err = io.Copy(target, source)
			err = errors.Join(err, target.Close(), source.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (m *machine) environment() []string {
	return append(os.Environ(), "CAUSEWAY_STATE_DIR="+m.state, "CAUSEWAY_SOCKET="+m.socket, "CAUSEWAY_INTERFACE=cwu0", "CAUSEWAY_LOG_LEVEL=debug")
}

// run runs the daemon to its end, for starts that are refused.
func (m *machine) run(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(m.bin, "causewayd"), append([]string{"run"}, args...)...)
	command.Env = m.environment()
	text, err := command.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(text)
}

// start starts the daemon, and the deployment beside it, until the test ends.
// Nothing of this host's network, hosts file or resolver is within its reach.
func (m *machine) start(t *testing.T) {
	t.Helper()
	const isolated = `mount --make-rprivate / && mount -t tmpfs none /sys/fs/cgroup 2>/dev/null
cp /etc/hosts /etc/resolv.conf $0/ && mount --bind $0/hosts /etc/hosts && mount --bind $0/resolv.conf /etc/resolv.conf
ip link set lo up; exec $0/bin/causewayd run`
	m.daemon = exec.Command("unshare", "-nm", "sh", "-c", isolated, m.dir)
	m.daemon.Env, m.daemon.Stderr = m.environment(), m.log
	if err := m.daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.stop(t) })
	deadline := time.Now().Add(30 * time.Second)
	for m.as(t, root, "GetVersion", "{}").Code != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("the daemon does not answer:\n%s", m.log)
		}
		time.Sleep(20 * time.Millisecond)
	}
	deployment := exec.Command("nsenter", "-t", fmt.Sprint(m.daemon.Process.Pid), "-n", filepath.Join(m.bin, "fake-deployment"), "127.0.0.1:8080")
	if err := deployment.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = deployment.Process.Kill()
		_ = deployment.Wait()
	})
	for m.as(t, root, "Login", `{"url":"http://127.0.0.1:8080","token":"x-wrong"}`).Code != localapi.CodeNotSignedIn {
		if time.Now().After(deadline) {
			t.Fatal("the deployment does not answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (m *machine) stop(t *testing.T) {
	if m.daemon == nil {
		return
	}
	_ = m.daemon.Process.Signal(syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- m.daemon.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the daemon ended with %v:\n%s", err, m.log)
		}
	case <-time.After(20 * time.Second):
		_ = m.daemon.Process.Kill()
		<-ended
		t.Errorf("the daemon did not end:\n%s", m.log)
	}
	m.daemon = nil
}

// command is a program that runs as a user, and with no group of root's.
func (m *machine) command(t *testing.T, uid uint32, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(t.Context(), filepath.Join(m.bin, name), args...)
	command.Dir = "/"
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return command
}

// as makes a call as a user.
func (m *machine) as(t *testing.T, uid uint32, method, request string) reply {
	t.Helper()
	command := m.command(t, uid, "local-ask", m.socket, method)
	command.Stdin = strings.NewReader(request)
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("ask as uid %d: %v\n%s", uid, err, output)
	}
	var answer reply
	if err := json.Unmarshal(output, &answer); err != nil {
		t.Fatalf("ask as uid %d: %v\n%s", uid, err, output)
	}
	return answer
}

// ok makes a call that must succeed, and decodes its answer.
func (m *machine) ok(t *testing.T, uid uint32, method, request string, into proto.Message) {
	t.Helper()
	answer := m.as(t, uid, method, request)
	if answer.Code != 0 {
		t.Fatalf("%s %s as uid %d: %d: %s (%s)\n%s", method, request, uid, answer.Code, answer.Cause, answer.Remedy, m.log)
	}
	if into != nil {
		if err := protojson.Unmarshal(answer.Body, into); err != nil {
			t.Fatal(err)
		}
	}
}

// refused makes a call that must be refused for want of a right.
func (m *machine) refused(t *testing.T, uid uint32, method, request string) reply {
	t.Helper()
	answer := m.as(t, uid, method, request)
	if answer.Code != localapi.CodePermission {
		t.Errorf("%s %s as uid %d: %d: %s %s", method, request, uid, answer.Code, answer.Cause, answer.Body)
	}
	if answer.Remedy == "" {
		t.Errorf("%s as uid %d: no remedy", method, uid)
	}
	return answer
}

func (m *machine) status(t *testing.T, uid uint32) *localv1.Status {
	t.Helper()
	status := &localv1.Status{}
	m.ok(t, uid, "GetStatus", "{}", status)
	return status
}

// alicesHost is what only alice calls the deployment.
const alicesHost = "localhost:8080"

// signIn is a sign-in with all that a profile may hold.
func signIn(token string, owner uint32, profile string) string {
	host := "127.0.0.1:8080"
	if owner == alice {
		host = alicesHost
	}
	return fmt.Sprintf(`{"url":"http://%s","token":%q,"ownerUid":%d,"profile":%q,"headers":[{"name":"X-For-%s","value":"header-%s"}]}`, host, token, owner, profile, profile, token)
}

// methods are all calls of the local API.
func methods() []string {
	description := localv1.DRPCLocalDescription{}
	var names []string
	for i := range description.NumMethods() {
		name, _, _, _, _ := description.Method(i)
		names = append(names, name[strings.LastIndex(name, "/")+1:])
	}
	return names
}

// system is a program of the system's that runs as a user.
func (m *machine) system(t *testing.T, uid uint32, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	command := m.command(t, uid, name, args...)
	command.Path, command.Err = path, nil
	return command
}
