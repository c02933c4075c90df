package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// openSSHStandIn shows what it was run with, and is of the version that
// SSH_VERSION names.
func openSSHStandIn() {
	if version := os.Getenv("SSH_VERSION"); version != "" && slices.Equal(os.Args[1:], []string{"-V"}) {
		fmt.Fprintln(os.Stderr, version)
		return
	}
	fmt.Println(strings.Join(os.Args[1:], " "))
	if slices.Contains(os.Args, "fail") {
		os.Exit(7)
	}
}
