package browser

import (
	"fmt"
	"os/exec"

	"golang.org/x/sys/windows"
)

// Available says whether Open would open something that the user sees: who came
// in by ssh has no desktop.
func (o Opener) Available() bool {
	return o.getenv("CAUSEWAY_BROWSER") != "" || o.getenv("SSH_CONNECTION") == ""
}

func (o Opener) open(page string) error {
	if program := o.getenv("CAUSEWAY_BROWSER"); program != "" {
		path, err := exec.LookPath(program)
		if err == nil {
			err = exec.Command(path, page).Start()
		}
		if err != nil {
			return fmt.Errorf("open the browser: %w", err)
		}
		return nil
	}
	verb, err := windows.UTF16PtrFromString("open")
	if err != nil {
		return fmt.Errorf("open the browser: %w", err)
	}
	target, err := windows.UTF16PtrFromString(page)
	if err != nil {
		return fmt.Errorf("open the browser: %w", err)
	}
	if err := windows.ShellExecute(0, verb, target, nil, nil, windows.SW_SHOWNORMAL); err != nil {
		return fmt.Errorf("open the browser: %w", err)
	}
	return nil
}
