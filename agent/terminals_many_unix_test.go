//go:build unix

package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// After a thousand terminals, half of them ended by their programs and half of
// them killed, nothing is left.
func TestThousandTerminals(t *testing.T) {
	s := newTerminalStage(t, time.Minute)
	open := func() int {
		entries, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	run := func(count int) {
		var all sync.WaitGroup
		for worker := range 4 {
			all.Go(func() {
				for i := range count / 4 {
					if err := s.once((worker+i)%2 == 0); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
	run(8)
	settle(t, "terminals", func() int { return len(s.agent.terminals.List()) }, 0)
	files, routines := open(), runtime.NumGoroutine()
	count := 200 // a thousand take a minute, and are for make e2e
	if os.Getenv("CAUSEWAY_RIGS") == "all" {
		count = 1000
	}
	run(count)
	settle(t, "terminals", func() int { return len(s.agent.terminals.List()) }, 0)
	settle(t, "files", open, files)
	settle(t, "goroutines", runtime.NumGoroutine, routines)
	settle(t, "children", func() int {
		out, _ := exec.Command("pgrep", "-P", strconv.Itoa(os.Getpid())).Output()
		return len(strings.Fields(string(out))) - 1 // pgrep itself
	}, 0)
}

func settle(t *testing.T, what string, count func() int, most int) {
	t.Helper()
	now := count()
	for end := time.Now().Add(10 * time.Second); now > most && time.Now().Before(end); now = count() {
		time.Sleep(20 * time.Millisecond)
	}
	if now > most {
		t.Errorf("%s: %d, before %d", what, now, most)
	}
}

// once opens a terminal and waits for its end.
func (s *terminalStage) once(killed bool) error {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	id := uuid.New()
	command := "echo ready"
	if killed {
		command = "echo ready; sleep 300 & sleep 300"
	}
	request, _ := json.Marshal(map[string]any{"ID": id, "Command": command})
	if _, err := conn.Write(append(binary.LittleEndian.AppendUint16(nil, uint16(len(request))), request...)); err != nil {
		return err
	}
	var output strings.Builder
	buffer := make([]byte, 4096)
	for {
		count, err := conn.Read(buffer)
		before := strings.Contains(output.String(), "ready")
		output.Write(buffer[:count])
		if killed && !before && strings.Contains(output.String(), "ready") {
			if err := s.agent.terminals.Kill(id); err != nil {
				return err
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) || !strings.Contains(output.String(), "ready") {
				return fmt.Errorf("%w after %q", err, output.String())
			}
			return nil
		}
	}
}
