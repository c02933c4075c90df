package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/causewayhq/causeway/localapi"
)

// execute runs the program and ends with its exit code.
func execute(program string, line []string) error {
	child := exec.Command(program, line[1:]...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := child.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return &silentError{localapi.Code(exit.ExitCode())}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errExec, err)
	}
	return nil
}
