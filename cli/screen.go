package cli

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// What a terminal understands, from xterm's control sequences: the alternate
// screen keeps what was there before, and between the two marks of synchronised
// output nothing is shown that is half done.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	beginFrame  = "\x1b[?2026h\x1b[H"
	endFrame    = "\x1b[J\x1b[?2026l"
	endLine     = "\x1b[K"
)

// tty is a terminal with a keyboard.
type tty interface {
	io.ReadWriter
	// raw has keys come one by one, without an echo, until restore.
	raw() (restore func() error, err error)
	size() (width, height int)
	// resized tells of changes of the size until stop.
	resized() (changes <-chan struct{}, stop func())
}

// screen is the whole of a terminal. Enter and leave it in turn.
type screen struct {
	tty     tty
	restore func() error // nil: not entered
	last    string
}

func (s *screen) enter() error {
	restore, err := s.tty.raw()
	if err != nil {
		return fmt.Errorf("prepare the terminal: %w", err)
	}
	s.restore, s.last = restore, ""
	_, err = io.WriteString(s.tty, enterScreen)
	return err
}

// leave puts the terminal back as it was; again is nothing.
func (s *screen) leave() error {
	if s.restore == nil {
		return nil
	}
	_, err := io.WriteString(s.tty, leaveScreen)
	restore := s.restore
	s.restore = nil
	if failed := restore(); failed != nil {
		return fmt.Errorf("restore the terminal: %w", failed)
	}
	return err
}

// draw shows the lines by one write, if they are not shown already.
func (s *screen) draw(lines []string) error {
	frame := beginFrame + strings.Join(lines, endLine+"\r\n") + endLine + endFrame
	if s.restore == nil || frame == s.last {
		return nil
	}
	s.last = frame
	_, err := io.WriteString(s.tty, frame)
	return err
}

// keysOf splits what came from the keyboard; arrows are "up" and "down".
func keysOf(input []byte) []string {
	arrows := strings.NewReplacer("\x1b[A", "\x00", "\x1bOA", "\x00", "\x1b[B", "\x01", "\x1bOB", "\x01")
	var keys []string
	for _, r := range arrows.Replace(string(input)) {
		switch r {
		case '\x00', 'k':
			keys = append(keys, "up")
		case '\x01', 'j':
			keys = append(keys, "down")
		case '\x03': // Ctrl-C is a key like any other now
			keys = append(keys, "q")
		default:
			keys = append(keys, string(r))
		}
	}
	return keys
}

// realTTY is the terminal of this process.
type realTTY struct{ in, out *os.File }

// tty is the terminal that input and output both are, if they are one.
func (a *app) tty() (tty, bool) {
	_, reads := terminal(a.env.Stdin)
	_, writes := terminal(a.env.Stdout)
	if !reads || !writes || a.getenv("TERM") == "dumb" {
		return nil, false
	}
	return realTTY{a.env.Stdin.(*os.File), a.env.Stdout.(*os.File)}, true
}

func (t realTTY) Read(data []byte) (int, error)  { return t.in.Read(data) }
func (t realTTY) Write(data []byte) (int, error) { return t.out.Write(data) }

func (t realTTY) raw() (func() error, error) {
	before, err := term.MakeRaw(int(t.in.Fd()))
	if err != nil {
		return nil, err
	}
	undo, err := interpret(t.out)
	if err != nil {
		return nil, fmt.Errorf("%w (restored: %v)", err, term.Restore(int(t.in.Fd()), before) == nil)
	}
	return func() error {
		undo()
		return term.Restore(int(t.in.Fd()), before)
	}, nil
}

// size of a terminal that does not tell is the usual one.
func (t realTTY) size() (width, height int) {
	width, height, err := term.GetSize(int(t.out.Fd()))
	if err != nil || width < 1 || height < 1 {
		return 80, 24
	}
	return width, height
}
