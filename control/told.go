package control

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	// hintFloor and hintCeiling bound what the control plane may ask us to
	// wait: no longer than we would by ourselves, and never in a tight loop.
	hintFloor   = backoffFloor
	hintCeiling = backoffCeiling
	// toldLimit bounds the text of the control plane in our logs and in the
	// status, in bytes.
	toldLimit = 500
)

// toldError is the control plane's own word on why it ended a connection.
type toldError struct {
	text string
	hint time.Duration // when to come back; zero: not said
}

func told(text string) *toldError {
	return &toldError{text: printable(text), hint: hintOf(text)}
}

func (e *toldError) Error() string {
	text := "control plane says: " + e.text
	if e.text == replacedText {
		text += "; another client or agent uses this identity"
	}
	return text
}

// ErrTold is matched by errors in the control plane's own words on why it ended
// the connection, other than that it will be back soon.
var ErrTold = errors.New("told by the control plane")

// Is makes an error that is no mere hint match ErrTold, and ErrReplaced too if
// it is that one.
func (e *toldError) Is(target error) bool {
	return target == ErrTold && e.hint == 0 || target == ErrReplaced && e.text == replacedText
}

// hintMark stands before the time in a close reason such as "server is
// shutting down; retry after 1.7s".
const hintMark = "; retry after "

// hintOf reads the time at the end of a close reason; zero when there is none
// that makes sense.
func hintOf(reason string) time.Duration {
	_, text, found := strings.Cut(reason, hintMark)
	if !found {
		return 0
	}
	wait, err := time.ParseDuration(text)
	if err != nil || wait < 0 {
		return 0
	}
	return min(max(wait, hintFloor), hintCeiling)
}

// retryAfter reads the header of a refusal, whole seconds; zero when there is
// none that makes sense.
func retryAfter(header http.Header) time.Duration {
	// Nothing longer than the ceiling matters, so that no number is too big.
	text := header.Get("Retry-After")
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return time.Duration(min(max(seconds, 1), uint64(hintCeiling/time.Second))) * time.Second
}

// printable makes a foreign text fit for a line of a log or a terminal.
func printable(text string) string {
	cut := len(text) > toldLimit
	if cut {
		text = text[:toldLimit]
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	if cut {
		text += "..."
	}
	return text
}
