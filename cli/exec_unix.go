//go:build unix

package cli

import (
	"fmt"
	"os"
	"syscall"
)

// execute becomes the program: its exit code, its signals and its terminal are
// then its own.
func execute(program string, line []string) error {
	return fmt.Errorf("%w: %w", errExec, syscall.Exec(program, line, os.Environ()))
}
