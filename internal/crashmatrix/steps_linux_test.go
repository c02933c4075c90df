package crashmatrix

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
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

// mark is a step that a daemon can be told to die at: the how many-th of its
// text, from the arming on. The number that it had in another run says nothing: how
// many steps there are depends on what the daemon notices first.
type mark struct {
	text string // "": none
	nth  int
}

// arm forgets the steps so far and has the daemon kill itself at the mark.
func (b *bench) arm(at mark) error {
	all, err := b.stepsOf(daemonSteps)
	if err != nil {
		return err
	}
	b.armed = len(all)
	order := ""
	if at.text != "" {
		order = fmt.Sprintf("%d %d %s", b.armed, at.nth, at.text)
	}
	// A daemon that runs reads the old order or the new one.
	path := filepath.Join(b.system.Share, daemonSteps+".at")
	if err := os.WriteFile(path+".new", []byte(order), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// came tells whether the mark is among the steps since the last arm.
func (b *bench) came(at mark) (bool, error) {
	steps, err := b.steps()
	return countOf(steps, at.text) >= at.nth, err
}

func countOf(steps []string, text string) int {
	count := 0
	for _, step := range steps {
		if step == text {
			count++
		}
	}
	return count
}

const (
	// quietTime is how long no step comes when the daemon is at rest, and
	// missTime when it is certain that one will not come any more.
	quietTime = time.Second
	missTime  = 3 * time.Second
)

// quiet tells that there was no step for that long.
func (b *bench) quiet(since time.Time, limit time.Duration) (bool, error) {
	all, err := b.stepsOf(daemonSteps)
	if len(all) > 0 && all[len(all)-1].at.After(since) {
		since = all[len(all)-1].at
	}
	return time.Since(since) >= limit, err
}

// rest waits until everything works and no step comes any more.
func (b *bench) rest(ctx context.Context) error {
	if err := b.works(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	began := time.Now()
	if err := rig.Eventually(ctx, func() error {
		quiet, err := b.quiet(began, quietTime)
		if err == nil && !quiet {
			err = fmt.Errorf("there are steps without end: no %v without one", quietTime)
		}
		return err
	}); err != nil {
		return err
	}
	return b.works(ctx)
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
