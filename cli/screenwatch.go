package cli

import "io"

// screenWatch passes on what a terminal is shown, and knows whether the
// alternate screen is on.
type screenWatch struct {
	to        io.Writer
	state     watchState
	number    int  // that is being read
	switches  bool // one of the numbers switches screens
	alternate bool
}

// watchState is how much of ESC [ ? numbers h-or-l has been read.
type watchState int

const (
	watchText watchState = iota
	watchEscape
	watchBracket
	watchNumbers
)

// Write passes bytes on.
func (w *screenWatch) Write(data []byte) (int, error) {
	for _, char := range data {
		w.see(char)
	}
	return w.to.Write(data)
}

func (w *screenWatch) see(char byte) {
	switch {
	case char == 0x1b:
		w.state = watchEscape
	case w.state == watchEscape && char == '[':
		w.state = watchBracket
	case w.state == watchBracket && char == '?':
		w.state, w.number, w.switches = watchNumbers, 0, false
	case w.state == watchNumbers && char >= '0' && char <= '9':
		w.number = min(w.number*10+int(char-'0'), 1<<16)
	case w.state == watchNumbers:
		w.switches = w.switches || w.number == 47 || w.number == 1047 || w.number == 1049
		w.number = 0
		if char == ';' {
			return
		}
		if w.switches && (char == 'h' || char == 'l') {
			w.alternate = char == 'h'
		}
		w.state = watchText
	default:
		w.state = watchText
	}
}

// leave is what leaves the alternate screen, "" where that is not on.
func (w *screenWatch) leave() string {
	if !w.alternate {
		return ""
	}
	return "\x1b[?1049l"
}
