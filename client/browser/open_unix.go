//go:build unix

package browser

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// settle is how long a program that opens a page may take to say that it
// cannot. One that still runs then is the browser itself.
const settle = 3 * time.Second

// Available says whether Open would open something that the user sees.
func (o Opener) Available() bool {
	return o.getenv("CAUSEWAY_BROWSER") != "" || o.desktop() && len(o.candidates()) > 0
}

func (o Opener) open(page string) error {
	err := ErrNone
	for _, line := range o.candidates() {
		if err = o.run(line, page); err == nil {
			return nil
		}
	}
	return fmt.Errorf("open the browser: %w", err)
}

// candidates are the command lines to try; "%s" in one stands for the page.
func (o Opener) candidates() [][]string {
	if program := o.getenv("CAUSEWAY_BROWSER"); program != "" {
		return [][]string{{program}}
	}
	var lines [][]string
	for _, line := range strings.Split(o.getenv("BROWSER"), ":") {
		if words := strings.Fields(line); len(words) > 0 {
			lines = append(lines, words)
		}
	}
	if program, err := exec.LookPath(systemOpener); err == nil {
		lines = append(lines, []string{program})
	}
	return lines
}

// run starts the program. It outlives us: the browser is the user's.
func (o Opener) run(line []string, page string) error {
	path, err := exec.LookPath(line[0])
	if err != nil {
		return err
	}
	if path, err = filepath.Abs(path); err != nil {
		return err
	}
	words, placed := []string{path}, false
	for _, word := range line[1:] {
		placed = placed || strings.Contains(word, "%s")
		words = append(words, strings.ReplaceAll(word, "%s", page))
	}
	if !placed {
		words = append(words, page)
	}
	// A file, since a pipe would be held open by the browser.
	said, err := os.CreateTemp("", "causeway-browser")
	if err != nil {
		return err
	}
	os.Remove(said.Name())
	defer said.Close()
	command := &exec.Cmd{Path: path, Args: words, Stdout: said, Stderr: said, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err := o.asInvoker(command); err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	timer := time.NewTimer(settle)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case err := <-ended:
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w%s", path, err, tail(said))
	}
}

// tail is what the program said, on one line.
func tail(said *os.File) string {
	data := make([]byte, 300)
	n, err := said.ReadAt(data, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	text := strings.Join(strings.FieldsFunc(string(data[:n]), func(r rune) bool { return !unicode.IsPrint(r) }), " ")
	if text == "" {
		return ""
	}
	return ": " + text
}
