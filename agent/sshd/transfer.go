package sshd

import (
	"path/filepath"
	"slices"
	"strings"
)

// Where file transfer is switched off, programs that do nothing else are
// refused with this status and text (docs of the protocol, 5.3). It is a hint
// to people, and no fence: a shell can copy files in many other ways.
const (
	statusTransfer  = 65
	transferRefused = "File transfer has been disabled."
)

var (
	transferPrograms = []string{"scp", "sftp", "sftp-server", "rsync", "nc", "ncat", "netcat"}
	// What may stand before the program's name in a simple command.
	leadingWords = []string{"exec", "command", "nohup", "env", "sudo", "time", "nice"}
)

// transfers says whether a command line runs a program of file transfer, in any
// of its simple commands. The shell's grammar is read roughly.
func transfers(line string) bool {
	commands := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(";|&()`\n\r{}", r) })
	return slices.ContainsFunc(commands, func(command string) bool {
		return slices.Contains(transferPrograms, programOf(command))
	})
}

// programOf is the name of the program that a simple command starts.
func programOf(command string) string {
	for _, word := range strings.Fields(command) {
		word = strings.NewReplacer(`"`, "", `'`, "", `\`, "/", "$", "").Replace(word)
		if word == "" || strings.Contains(word, "=") || strings.HasPrefix(word, "-") || slices.Contains(leadingWords, word) {
			continue
		}
		return strings.TrimSuffix(strings.ToLower(filepath.Base(word)), ".exe")
	}
	return ""
}
