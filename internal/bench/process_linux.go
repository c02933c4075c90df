package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

// ticks is USER_HZ, which Linux fixes at 100 for /proc on every architecture
// that we support.
const ticks = 100

// process is a program that runs until it is stopped.
type process struct {
	name, log string
	cmd       *exec.Cmd
	done      chan struct{}
}

// start runs a program of the bench's directory, or one by its path, on a host. Its errors go to a
// log, and so does its output unless it has a place of its own.
func (b *bench) start(host *testnet.Host, name string, stdin io.Reader, stdout io.Writer, program string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if !filepath.IsAbs(program) {
		program = filepath.Join(b.dir, program)
	}
	cmd := host.Command(b.ctx, program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, log
	if stdout == nil {
		cmd.Stdout = log
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log.Name(), cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // what it said is in the log
		close(p.done)
	}()
	b.processes = append(b.processes, p)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ready waits until the program has said so.
func (p *process) ready(ctx context.Context) error { return p.readyWithin(ctx, 30*time.Second) }

func (p *process) readyWithin(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), "ready\n") {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("wait for %s: it ended:\n%s", p.name, text)
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w:\n%s", p.name, ctx.Err(), text)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop ends the program, by force after 5 s.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stopAll ends what still runs.
func (b *bench) stopAll() {
	for _, p := range b.processes {
		p.stop()
	}
	b.processes = nil
}

// cpu is the CPU time of the processes so far, in seconds.
func cpu(pids ...int) (float64, error) {
	var total float64
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		// After the name, which may hold anything: state is field 3 of the
		// manual's count, utime 14 and stime 15.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) < 13 {
			return 0, errors.New("read CPU time: too few fields")
		}
		for _, field := range fields[11:13] {
			value, err := strconv.Atoi(field)
			if err != nil {
				return 0, fmt.Errorf("read CPU time: %w", err)
			}
			total += float64(value) / ticks
		}
	}
	return total, nil
}

// memory reads a line of /proc/PID/status such as VmRSS, in MB (2^20 bytes).
func memory(pid int, line string) (float64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for found := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(found, line+":"); ok {
			kb, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			return float64(kb) / 1024, err
		}
	}
	return 0, fmt.Errorf("read memory: no line %s", line)
}

// build puts every program of the bench into its directory; the daemon is
// stripped as `make build` does it.
func (b *bench) build() error {
	if err := rig.Build(b.ctx, b.dir); err != nil {
		return err
	}
	tags, err := rig.Tags(b.ctx)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"github.com/causewayhq/causeway/internal/bench/node", "github.com/causewayhq/causeway/internal/bench/wireguard"},
		{"-tags", strings.Join(tags, ","), "-ldflags", "-s -w", "github.com/causewayhq/causeway/cmd/causewayd"},
	} {
		cmd := exec.CommandContext(b.ctx, "go", append([]string{"build", "-trimpath", "-o", b.dir + "/"}, args...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build programs: %w\n%s", err, output)
		}
	}
	return nil
}
