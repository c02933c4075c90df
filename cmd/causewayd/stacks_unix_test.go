//go:build unix

package main

import (
	"bufio"
	"io"
	"strings"
	"syscall"
	"testing"
)

func TestStacksAreDumpedOnSIGUSR1(t *testing.T) {
	reader, writer := io.Pipe()
	stop := dumpStacks(writer)
	if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	lines, own := bufio.NewScanner(reader), false
	for lines.Scan() && lines.Text() != "causewayd: end of the stacks" {
		own = own || strings.Contains(lines.Text(), "TestStacksAreDumpedOnSIGUSR1")
	}
	if !own {
		t.Error("the dump does not show this test's goroutine")
	}
	go io.Copy(io.Discard, reader)
	stop()
}
