//go:build unix

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
)

// hideToken takes the token off the command line, which every user can read,
// and puts it into the environment, which only this one can: the process
// becomes the same program again. It returns only when it fails.
func hideToken(token string) error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own executable: %w", err)
	}
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, envPrefix+"TOKEN=")
	})
	environment = append(environment, envPrefix+"TOKEN="+token)
	if err := syscall.Exec(path, withoutToken(os.Args), environment); err != nil {
		return fmt.Errorf("start %s again: %w", path, err)
	}
	return nil
}

// withoutToken drops the flag --token in both its forms.
func withoutToken(arguments []string) []string {
	var kept []string
	for index := 0; index < len(arguments); index++ {
		switch {
		case arguments[index] == "--token":
			index++
		case strings.HasPrefix(arguments[index], "--token="):
		default:
			kept = append(kept, arguments[index])
		}
	}
	return kept
}
