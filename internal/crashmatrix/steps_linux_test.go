package crashmatrix

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The files, on the host's share, to which the daemon and the cleanup verb add
// the steps of the journal.
const (
	daemonSteps  = "steps"
	cleanupSteps = "cleanup-steps"
)

// step is one write of the journal, before it or after it.
type step struct {
	at   time.Time
	text string
}

// arm forgets the steps so far and has the daemon kill itself at the one of
// that number from now; 0: at none.
func (b *bench) arm(at int) error {
	all, err := b.stepsOf(daemonSteps)
	if err != nil {
		return err
	}
	b.armed = len(all)
	line := 0
	if at > 0 {
		line = b.armed + at
	}
	return os.WriteFile(filepath.Join(b.system.Share, daemonSteps+".at"), []byte(strconv.Itoa(line)), 0o600)
}

// steps lists what the daemon did since the last arm.
func (b *bench) steps() ([]string, error) {
	all, err := b.stepsOf(daemonSteps)
	var texts []string
	for _, s := range all[min(b.armed, len(all)):] {
		texts = append(texts, s.text)
	}
	return texts, err
}

func (b *bench) stepsOf(file string) ([]step, error) {
	content, err := os.ReadFile(filepath.Join(b.system.Share, file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var all []step
	for line := range strings.Lines(string(content)) {
		when, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		micro, err := strconv.ParseInt(when, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read step %q: %w", line, err)
		}
		all = append(all, step{time.UnixMicro(micro), text})
	}
	return all, nil
}

// restartKind is in the journal while NetworkManager's dnsmasq has to be started
// anew, and restartNear is how long that may show.
const (
	restartKind = "dnsmasq-reload("
	restartNear = time.Second
)

// restarts are the steps around each start of NetworkManager's dnsmasq, which
// there are only where the user has asked for our drop-in.
func (b *bench) restarts(t *testing.T) []step {
	t.Helper()
	var around []step
	for _, file := range []string{daemonSteps, cleanupSteps} {
		all, err := b.stepsOf(file)
		must(t, err)
		for _, s := range all {
			if strings.Contains(s.text, restartKind) {
				around = append(around, s)
			}
		}
	}
	return around
}

// done tells that dnsmasq has been told to start anew, which is struck out next.
func (s step) done() bool {
	return strings.HasPrefix(s.text, "before") && strings.Contains(s.text, "-"+restartKind)
}
