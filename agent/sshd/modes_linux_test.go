package sshd

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func mode(number byte, value uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte{number}, value))
}

func TestTerminalModes(t *testing.T) {
	start := unix.Termios{Iflag: unix.ICRNL, Lflag: unix.ECHO | unix.ICANON, Oflag: unix.OPOST}
	tests := []struct {
		name, modes string
		check       func(unix.Termios) bool
	}{
		{"none", "", func(s unix.Termios) bool { return s == start }},
		{"end first", "\x00" + mode(53, 0), func(s unix.Termios) bool { return s == start }},
		{"echo off", mode(53, 0), func(s unix.Termios) bool { return s.Lflag == unix.ICANON }},
		{"UTF-8 on", mode(42, 1), func(s unix.Termios) bool { return s.Iflag == unix.ICRNL|unix.IUTF8 }},
		{"output raw", mode(70, 0), func(s unix.Termios) bool { return s.Oflag == 0 }},
		{"erase is ^H", mode(3, 8), func(s unix.Termios) bool { return s.Cc[unix.VERASE] == 8 }},
		{"interrupt off", mode(1, 255), func(s unix.Termios) bool { return s.Cc[unix.VINTR] == 0 }},
		{"speed and unknown are skipped", mode(128, 9600) + mode(99, 1) + mode(53, 0), func(s unix.Termios) bool { return s.Lflag == unix.ICANON }},
		{"stop at 160", mode(160, 1) + mode(53, 0), func(s unix.Termios) bool { return s == start }},
		{"cut short", mode(53, 0)[:4], func(s unix.Termios) bool { return s == start }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			settings := start
			setModes(&settings, []byte(test.modes))
			if !test.check(settings) {
				t.Errorf("got %+v", settings)
			}
		})
	}
}

func FuzzTerminalModes(f *testing.F) {
	f.Add([]byte(mode(53, 0) + mode(3, 8) + "\x00"))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(_ *testing.T, modes []byte) { setModes(&unix.Termios{}, modes) })
}
