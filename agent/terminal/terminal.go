// Package terminal runs a command on a terminal of its own: a pseudo-terminal
// on Unix, a pseudo-console on Windows. A terminal is ended with everything
// that the command has started.
package terminal

import (
	"fmt"
	"os/exec"
	"time"
)

// drainQuiet is how long a terminal must be silent, after its command has
// ended, before output is taken as complete although some process still holds
// the terminal open. The kernel hands over what was written long before.
const drainQuiet = 100 * time.Millisecond

// Size of a terminal, in cells and in pixels; pixels are zero when unknown.
type Size struct{ Columns, Rows, XPixels, YPixels uint16 }

// Default is the size where none is given (docs of the protocol, 5.2).
var Default = Size{Columns: 80, Rows: 80}

// orDefault fills in what a terminal cannot do without.
func (s Size) orDefault() Size {
	if s.Columns == 0 {
		s.Columns = Default.Columns
	}
	if s.Rows == 0 {
		s.Rows = Default.Rows
	}
	return s
}

// exit is how a command ended.
type exit struct {
	code   int
	signal string
}

// Start runs cmd, whose streams and attributes of the system are not set, on a
// new terminal, as the leader of a session of its own (Unix) or in a job of its
// own (Windows). The caller reads the terminal until the end of its output, and
// closes it.
func Start(cmd *exec.Cmd, size Size) (*Terminal, error) {
	if cmd.Err != nil {
		return nil, fmt.Errorf("start on a terminal: %w", cmd.Err)
	}
	t, err := start(cmd, size.orDefault())
	if err != nil {
		return nil, fmt.Errorf("start %s on a terminal: %w", cmd.Path, err)
	}
	return t, nil
}

// Done is closed when the command has ended and Exit is valid. Output may still
// be unread, and processes in the background may live on.
func (t *Terminal) Done() <-chan struct{} { return t.done }

// Exit is the command's exit code, or -1 and the name of the signal that ended
// it, without SIG.
func (t *Terminal) Exit() (code int, signal string) { return t.result.code, t.result.signal }

// Kill ends every process of the terminal at once.
func (t *Terminal) Kill() { t.End(0) }
