package system

import (
	"errors"
	"fmt"
	"os"
	"strings"

	kardianos "github.com/kardianos/service"

	"github.com/causewayhq/causeway/service"
)

// systemctls is where systemctl may be; root searches no PATH.
var systemctls = []string{"/usr/bin/systemctl", "/bin/systemctl"}

func open(options Options) (backend, error) {
	for _, path := range systemctls {
		if _, err := os.Stat(path); err == nil && kardianos.Platform() == "linux-systemd" {
			return &systemd{
				program: options.Program, systemctl: path, run: runProgram, trusted: trusted, register: registerUnit,
			}, nil
		}
	}
	return nil, &service.Error{
		Failure: service.FailureService, Remedy: "have your own supervisor run: causewayd run (it stays in the foreground, and SIGTERM ends it)",
		Err: errors.New("find service manager: this system does not run systemd"),
	}
}

// systemPath is where the library that registers the unit finds systemctl.
const systemPath = "/usr/sbin:/usr/bin:/sbin:/bin"

// registerUnit has the text written as the administrator's unit, and enabled.
func registerUnit(text string) (registration, error) {
	if strings.Contains(text, "{{") {
		return nil, fmt.Errorf("register unit: %q would be read as a template", text)
	}
	if err := os.Setenv("PATH", systemPath); err != nil {
		return nil, err
	}
	return kardianos.New(nil, &kardianos.Config{Name: Name, Option: kardianos.KeyValue{"SystemdScript": text}})
}

// hidden are directories that the unit's sandbox does not show to the program
// (ProtectHome=, PrivateTmp= of our unit).
var hidden = []string{"/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/"}

func visible(path string) error {
	for _, dir := range hidden {
		if strings.HasPrefix(path, dir) {
			return &service.Error{
				Failure: service.FailureService, Remedy: "copy causewayd and causeway to /usr/local/bin first, and run that one",
				Err: fmt.Errorf("install service: %s: the service's sandbox hides %s", path, strings.TrimSuffix(dir, "/")),
			}
		}
	}
	return nil
}
