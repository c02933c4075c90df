//go:build unix

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/agentv2"
)

func (p *plane) ended() []agentv2.Timing_Status {
	p.scripted.mu.Lock()
	defer p.scripted.mu.Unlock()
	var result []agentv2.Timing_Status
	for _, timing := range p.scripted.timings {
		result = append(result, timing.GetStatus())
	}
	return result
}

// script adds one to the manifest.
func (p *plane) script(line string, change func(*agentv2.WorkspaceAgentScript)) *agentv2.WorkspaceAgentScript {
	source, id := uuid.New(), uuid.New()
	message := &agentv2.WorkspaceAgentScript{LogSourceId: source[:], Id: id[:], DisplayName: "test", Script: line}
	change(message)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.manifest.Scripts = append(p.manifest.Scripts, message)
	return message
}

func atStart(message *agentv2.WorkspaceAgentScript) { message.RunOnStart = true }
func atStop(message *agentv2.WorkspaceAgentScript)  { message.RunOnStop = true }

func limited(change func(*agentv2.WorkspaceAgentScript)) func(*agentv2.WorkspaceAgentScript) {
	return func(message *agentv2.WorkspaceAgentScript) {
		change(message)
		message.Timeout = durationpb.New(100 * time.Millisecond)
	}
}

const (
	starting     = agentv2.Lifecycle_STARTING
	ready        = agentv2.Lifecycle_READY
	shuttingDown = agentv2.Lifecycle_SHUTTING_DOWN
	off          = agentv2.Lifecycle_OFF
)

// TestLifecycle is told whole and in order, however scripts end.
func TestLifecycle(t *testing.T) {
	tests := []struct {
		name        string
		start, stop string
		limit       bool
		want        []agentv2.Lifecycle_State
	}{
		{"success", "true", "true", false, []agentv2.Lifecycle_State{starting, ready, shuttingDown, off}},
		{"failure", "exit 1", "exit 2", false, []agentv2.Lifecycle_State{starting, agentv2.Lifecycle_START_ERROR, shuttingDown, agentv2.Lifecycle_SHUTDOWN_ERROR}},
		{"time-out", "sleep 100", "sleep 100", true, []agentv2.Lifecycle_State{starting, agentv2.Lifecycle_START_TIMEOUT, shuttingDown, agentv2.Lifecycle_SHUTDOWN_TIMEOUT}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPlane(t)
			start, stop := atStart, atStop
			if test.limit {
				start, stop = limited(start), limited(stop)
			}
			p.script(test.start, start)
			p.script(test.stop, stop)
			r := p.startAgent("")
			r.wait()
			eventually(t, "the end of the start", func() bool { return len(p.life()) == 2 })
			if err := r.stop(); err != nil {
				t.Error(err)
			}
			if got := p.life(); !slices.Equal(got, test.want) {
				t.Errorf("told %v, want %v", got, test.want)
			}
			if got := p.ended(); len(got) != 2 {
				t.Errorf("told of %v", got)
			}
		})
	}
}

// TestScriptsOutliveTheControlPlane: the server goes when the script has begun,
// and hears everything once, in order, when it is back. Answers are lost too.
func TestScriptsOutliveTheControlPlane(t *testing.T) {
	p := newPlane(t)
	directory := t.TempDir()
	p.scripted.lose = func(batch int) bool { return batch%2 == 1 }
	script := p.script(fmt.Sprintf("cd %s; echo begun >>runs; for i in $(seq 400); do echo line $i; sleep 0.02; done; touch ended", directory), atStart)
	p.startAgent("").wait()
	for range 3 {
		eventually(t, "lines", func() bool { return len(p.printed(script)) > 0 })
		p.down()
		if _, err := os.Stat(filepath.Join(directory, "ended")); err == nil {
			t.Error("the script did not last")
		}
		time.Sleep(time.Second) // of output without a server
		p.up()
	}
	eventually(t, "the end", func() bool {
		return slices.Equal(p.life(), []agentv2.Lifecycle_State{starting, ready}) && len(p.ended()) == 1
	})
	var want []string
	for i := range 400 {
		want = append(want, fmt.Sprintf("line %d", i+1))
	}
	eventually(t, "the last line", func() bool { return len(p.printed(script)) >= len(want) })
	if got := p.printed(script); !slices.Equal(got, want) {
		t.Errorf("got %d lines: %q", len(got), got)
	}
	if text, err := os.ReadFile(filepath.Join(directory, "runs")); err != nil || string(text) != "begun\n" {
		t.Errorf("the script ran %q times, %v", text, err)
	}
}

// TestShutdownOrder holds a stop script and looks around.
func TestShutdownOrder(t *testing.T) {
	p := newPlane(t)
	id := uuid.UUID(p.manifest.GetAgentId())
	release := filepath.Join(t.TempDir(), "release")
	forever := p.script("trap 'echo told; exit' TERM; echo runs; while :; do sleep 0.05; done", atStart)
	last := p.script(fmt.Sprintf("echo stopping; while [ ! -e %s ]; do sleep 0.05; done; echo stopped", release), atStop)
	r := p.startAgent("")
	r.wait()
	client, _ := sshTo(t, p.newUser().dial(proto.AgentAddrs(id)[1], 22))
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.StdinPipe(); err != nil { // without it the command ends by itself
		t.Fatal(err)
	}
	if err := session.Start("cat"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the start script", func() bool { return len(p.printed(forever)) == 1 })
	r.cancel()
	eventually(t, "lines of the stop script while it runs", func() bool { return slices.Equal(p.printed(last), []string{"stopping"}) })
	if session.Wait() == nil {
		t.Error("the session ended well")
	}
	if p.coordinator.Node(id) != nil {
		t.Error("the agent did not say goodbye before its scripts ran")
	}
	// The start script was ended before, and never became ready.
	if got := p.life(); !slices.Equal(got, []agentv2.Lifecycle_State{starting, shuttingDown}) && !slices.Equal(got, []agentv2.Lifecycle_State{starting, agentv2.Lifecycle_START_ERROR, shuttingDown}) {
		t.Errorf("told %v", got)
	}
	select {
	case err := <-r.ended:
		t.Fatalf("ended before its script: %v", err)
	default:
	}
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if got := p.life(); got[len(got)-1] != off {
		t.Errorf("told %v", got)
	}
	if got := p.printed(last); !slices.Equal(got, []string{"stopping", "stopped"}) {
		t.Errorf("printed %q", got)
	}
	if got := p.printed(forever); !slices.Contains(got, "told") || got[len(got)-1] != "causeway-agent: ended with the agent" {
		t.Errorf("printed %q", got)
	}
	if got := p.ended(); len(got) != 2 {
		t.Errorf("told of %v", got)
	}
}

// TestShutdownReconnects: a connection that breaks while the stop scripts run
// is replaced, so that the end is told; peers are not.
func TestShutdownReconnects(t *testing.T) {
	p := newPlane(t)
	id := uuid.UUID(p.manifest.GetAgentId())
	release := filepath.Join(t.TempDir(), "release")
	last := p.script(fmt.Sprintf("echo stopping; while [ ! -e %s ]; do sleep 0.05; done; echo stopped", release), atStop)
	r := p.startAgent("")
	r.wait()
	eventually(t, "the agent is ready", func() bool { return len(p.life()) == 2 })
	r.cancel()
	eventually(t, "the stop script", func() bool { return len(p.printed(last)) == 1 })
	before := p.dials.Load()
	p.down()
	p.up()
	eventually(t, "the agent is back", func() bool { return p.dials.Load() > before })
	if err := os.WriteFile(release, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if got := p.life(); !slices.Equal(got, []agentv2.Lifecycle_State{starting, ready, shuttingDown, off}) {
		t.Errorf("told %v", got)
	}
	if got := p.printed(last); !slices.Equal(got, []string{"stopping", "stopped"}) {
		t.Errorf("printed %q", got)
	}
	if p.coordinator.Node(id) != nil {
		t.Error("the agent came back to its peers")
	}
}

// TestShutdownWithoutControlPlane runs the stop scripts, and does not wait
// longer than it may.
func TestShutdownWithoutControlPlane(t *testing.T) {
	p := newPlane(t)
	stopped := filepath.Join(t.TempDir(), "stopped")
	p.script("touch "+stopped, atStop)
	r := p.startAgent("")
	r.wait()
	eventually(t, "the agent is ready", func() bool { return len(p.life()) == 2 })
	p.down()
	started := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(started); took > reportEnd+patience/3 {
		t.Errorf("took %s", took)
	}
	if _, err := os.Stat(stopped); err != nil {
		t.Error(err)
	}
	p.up()
}

// TestBlockedControlPlane answers nothing about scripts: the workspace does not
// notice, and what else there is to tell is told.
func TestBlockedControlPlane(t *testing.T) {
	p := newPlane(t)
	p.scripted.hang = true
	p.script("echo line", atStart)
	r := p.startAgent("")
	r.wait()
	eventually(t, "the agent is ready", func() bool { return slices.Equal(p.life(), []agentv2.Lifecycle_State{starting, ready}) })
	client, _ := sshTo(t, p.newUser().dial(proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[1], 22))
	if got := output(t, client, "echo works"); got != "works\n" {
		t.Errorf("got %q", got)
	}
	started := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(started); took < reportEnd || took > reportEnd+patience/3 {
		t.Errorf("the end took %s", took)
	}
	if got := p.life(); !slices.Equal(got, []agentv2.Lifecycle_State{starting, ready, shuttingDown, off}) {
		t.Errorf("told %v", got)
	}
}

// TestScriptsOfLaterManifests are for the end and for times, never for the start.
func TestScriptsOfLaterManifests(t *testing.T) {
	p := newPlane(t)
	r := p.startAgent("")
	r.wait()
	eventually(t, "the agent is ready", func() bool { return len(p.life()) == 2 })
	late := p.script("echo start", atStart)
	timed := p.script("echo tick", func(message *agentv2.WorkspaceAgentScript) { message.Cron = "* * * * * *" })
	last := p.script("echo stop", atStop)
	p.down()
	p.up()
	eventually(t, "the scheduled script", func() bool { return len(p.printed(timed)) > 0 })
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if len(p.printed(late)) != 0 || !slices.Equal(p.printed(last), []string{"stop"}) {
		t.Errorf("printed %q and %q", p.printed(late), p.printed(last))
	}
}

// TestOutputThatIsNoText, of which there is no end, and more than the server
// takes: the script's own limit ends it, and the agent goes on.
func TestOutputThatIsNoText(t *testing.T) {
	p := newPlane(t)
	binary := p.script(`printf 'a\000\377b\n\303\251\n'`, atStart)
	endless := p.script("exec cat /dev/urandom", func(message *agentv2.WorkspaceAgentScript) {
		message.RunOnStart, message.Timeout = true, durationpb.New(2*time.Second)
	})
	p.startAgent("").wait()
	eventually(t, "the end of the scripts", func() bool {
		return slices.Equal(p.life(), []agentv2.Lifecycle_State{starting, agentv2.Lifecycle_START_TIMEOUT})
	})
	if got, want := p.printed(binary), []string{"a\uFFFD\uFFFDb", "é"}; !slices.Equal(got, want) {
		t.Errorf("printed %q, want %q", got, want)
	}
	eventually(t, "the last lines", func() bool {
		got := p.printed(endless)
		return len(got) > 0 && strings.Contains(strings.Join(got[max(0, len(got)-10):], "\n"), "limit of 2s")
	})
}

// TestProgramsOfScripts are found by sessions.
func TestProgramsOfScripts(t *testing.T) {
	p := newPlane(t)
	p.script(`printf '#!/bin/sh\necho hello from the script\n' >"$CODER_SCRIPT_BIN_DIR/hello-causeway" && chmod +x "$CODER_SCRIPT_BIN_DIR/hello-causeway"`, atStart)
	p.startAgent("").wait()
	eventually(t, "the agent is ready", func() bool { return slices.Equal(p.life(), []agentv2.Lifecycle_State{starting, ready}) })
	client, _ := sshTo(t, p.newUser().dial(proto.AgentAddrs(uuid.UUID(p.manifest.GetAgentId()))[1], 22))
	if got := output(t, client, "hello-causeway"); got != "hello from the script\n" {
		t.Errorf("got %q", got)
	}
}

// TestVersion: 2.4 is asked for, and 2.0 of a control plane that is older.
func TestVersion(t *testing.T) {
	for newest, want := range map[string][]string{"": {"2.4"}, "2.0": {"2.4", "2.0"}} {
		p := newPlane(t)
		p.newest = newest
		p.startAgent("").wait()
		p.mu.Lock()
		if !slices.Equal(p.versions, want) {
			t.Errorf("asked for %v, want %v", p.versions, want)
		}
		p.mu.Unlock()
	}
}
