// Package vt keeps the state of a terminal: what xterm would show and how it
// would behave after the same bytes. From the state it makes a snapshot, bytes
// that bring any terminal of the family into that state.
//
// Bytes are UTF-8; C1 controls exist only as escape sequences, as in xterm's
// UTF-8 mode. Every figure below bounds what a program in the terminal can make
// us keep.
package vt

// What a terminal keeps at most. A cell takes 32 bytes and up to maxText of
// text, so that two screens and the history stay below 16 MiB whatever a program
// prints, and below 3 MiB at 200 by 50.
const (
	maxColumns = 1000
	maxRows    = 500
	maxArea    = 1 << 16 // cells of a screen

	maxHistory      = 1000    // lines
	maxHistoryCells = 1 << 15 // of all lines

	maxText      = 32      // bytes of one cell: a character with its marks
	maxLinks     = 256     // hyperlinks in use
	maxLink      = 2083    // bytes of one, as VTE limits it
	maxTitle     = 512     // bytes
	maxTitles    = 10      // on the stack, as in xterm
	maxColours   = 256 + 3 // palette and dynamic colours
	maxColour    = 64      // bytes that specify one
	maxKeyboards = 8       // keyboard modes on the stack

	maxParameters = 32
	maxParameter  = 1<<16 - 1
	// maxHeld is how much of an unfinished sequence is held back. A longer string
	// (an image, a clipboard) is passed on in pieces; its content past this is not
	// looked at. Anything else that is longer is dropped.
	maxHeld = 4096
)

// Clamp brings a size within the limits; nothing given means 80 by 80.
func Clamp(columns, rows int) (int, int) {
	if columns <= 0 {
		columns = 80
	}
	if rows <= 0 {
		rows = 80
	}
	columns = min(columns, maxColumns)
	return columns, min(rows, maxRows, maxArea/columns)
}
