package sshd

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// Groups of terminal modes by their numbers on the wire (RFC 4254, 8).
var (
	controlModes = map[byte]int{
		1: unix.VINTR, 2: unix.VQUIT, 3: unix.VERASE, 4: unix.VKILL, 5: unix.VEOF, 6: unix.VEOL, 7: unix.VEOL2,
		8: unix.VSTART, 9: unix.VSTOP, 10: unix.VSUSP, 12: unix.VREPRINT, 13: unix.VWERASE, 14: unix.VLNEXT, 18: unix.VDISCARD,
	}
	inputModes = map[byte]uint32{
		30: unix.IGNPAR, 31: unix.PARMRK, 32: unix.INPCK, 33: unix.ISTRIP, 34: unix.INLCR, 35: unix.IGNCR, 36: unix.ICRNL,
		37: unix.IUCLC, 38: unix.IXON, 39: unix.IXANY, 40: unix.IXOFF, 41: unix.IMAXBEL, 42: unix.IUTF8,
	}
	localModes = map[byte]uint32{
		50: unix.ISIG, 51: unix.ICANON, 52: unix.XCASE, 53: unix.ECHO, 54: unix.ECHOE, 55: unix.ECHOK, 56: unix.ECHONL,
		57: unix.NOFLSH, 58: unix.TOSTOP, 59: unix.IEXTEN, 60: unix.ECHOCTL, 61: unix.ECHOKE, 62: unix.PENDIN,
	}
	outputModes = map[byte]uint32{
		70: unix.OPOST, 71: unix.OLCUC, 72: unix.ONLCR, 73: unix.OCRNL, 74: unix.ONOCR, 75: unix.ONLRET,
	}
)

// noCharacter is what the wire says for a control character that is off.
const noCharacter = 255

// applyModes gives the terminal the modes of the client's own. A mode that is
// unknown here is skipped; a list that breaks off counts up to there.
func applyModes(terminal *os.File, modes string) {
	settings, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	if err != nil {
		return
	}
	setModes(settings, []byte(modes))
	// Without them the terminal works, with its defaults.
	_ = unix.IoctlSetTermios(int(terminal.Fd()), unix.TCSETS, settings)
}

func setModes(settings *unix.Termios, modes []byte) {
	// Numbers from 160 on carry no known arguments: reading stops there (RFC 4254, 8).
	for len(modes) >= 5 && modes[0] != 0 && modes[0] < 160 {
		mode, value := modes[0], binary.BigEndian.Uint32(modes[1:5])
		modes = modes[5:]
		if at, found := controlModes[mode]; found {
			settings.Cc[at] = byte(value)
			if value == noCharacter {
				settings.Cc[at] = 0
			}
		}
		setFlag(&settings.Iflag, inputModes[mode], value)
		setFlag(&settings.Lflag, localModes[mode], value)
		setFlag(&settings.Oflag, outputModes[mode], value)
	}
}

func setFlag(flags *uint32, bit, value uint32) {
	if value == 0 {
		*flags &^= bit
	} else {
		*flags |= bit
	}
}
