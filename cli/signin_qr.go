package cli

import (
	"strings"

	"golang.org/x/term"
	"rsc.io/qr"
)

// When the picture is shown; auto is on a terminal on which it fits.
const (
	qrAuto   = "auto"
	qrAlways = "always"
	qrNever  = "never"
)

// quietZone is the empty border that scanners need, in modules (ISO 18004).
const quietZone = 4

// picture is a QR code of the text to print, "" if none is wanted or fits.
func (a *app) picture(mode, text string) string {
	fd, isTerminal := terminal(a.env.Stderr)
	if mode == qrNever || text == "" || mode == qrAuto && (!isTerminal || a.getenv("TERM") == "dumb" || a.getenv("NO_COLOR") != "") {
		return ""
	}
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return ""
	}
	if mode == qrAuto {
		width, height, err := term.GetSize(fd)
		if side := code.Size + 2*quietZone; err != nil || width < side || height < side/2+6 {
			return ""
		}
	}
	colour := isTerminal && a.getenv("TERM") != "dumb" && a.getenv("NO_COLOR") == ""
	return draw(code.Size, code.Black, colour)
}

// draw puts two modules into each character. With colour the picture is black
// on white whatever the terminal's own colours are; without, it counts on light
// letters on a dark ground.
func draw(size int, black func(x, y int) bool, colour bool) string {
	light := func(x, y int) bool { return !black(x, y) } // outside the code too
	var out strings.Builder
	for y := -quietZone; y < size+quietZone; y += 2 {
		if colour {
			out.WriteString("\x1b[97;40m")
		}
		for x := -quietZone; x < size+quietZone; x++ {
			switch upper, lower := light(x, y), light(x, y+1); {
			case upper && lower:
				out.WriteString("█")
			case upper:
				out.WriteString("▀")
			case lower:
				out.WriteString("▄")
			default:
				out.WriteString(" ")
			}
		}
		if colour {
			out.WriteString("\x1b[0m")
		}
		out.WriteString("\n")
	}
	return out.String()
}
