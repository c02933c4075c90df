package system

import (
	"fmt"
	"os"
	"strings"

	kardianos "github.com/kardianos/service"

	"github.com/causewayhq/causeway/packaging/darwin"
)

func open(options Options) (backend, error) {
	return &launchd{
		program: options.Program, run: runProgram, trusted: trusted, register: registerJob,
		own: func(path string) error { return os.Chown(path, 0, 0) }, // root:wheel
	}, nil
}

// registerJob has the property list written under the job's name.
func registerJob(content []byte) (registration, error) {
	if strings.Contains(string(content), "{{") {
		return nil, fmt.Errorf("register job: %q would be read as a template", content)
	}
	return kardianos.New(nil, &kardianos.Config{Name: darwin.Label, Option: kardianos.KeyValue{"LaunchdConfig": string(content)}})
}

// visible: launchd has no sandbox that would hide a program.
func visible(string) error { return nil }
