package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// openSSHStandIn shows what it was run with.
func openSSHStandIn() {
	fmt.Println(strings.Join(os.Args[1:], " "))
	if slices.Contains(os.Args, "fail") {
		os.Exit(7)
	}
}
