package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// lent is what -hold tells: a program, and the variables that run it.
type lent struct {
	Program     string   `json:"program"`
	Environment []string `json:"environment"`
}

// lend gives another process a program of ours and a Windows to run it, until
// our standard input ends.
func lend(ctx context.Context, dir, overlay, source string, environment []string) error {
	program := filepath.Join(dir, filepath.Base(source)+".exe")
	building := append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if err := command(ctx, building, "go", "build", "-overlay", overlay, "-o", program, source); err != nil {
		return fmt.Errorf("build %s for Wine: %w", source, err)
	}
	stop, err := keep(ctx, environment)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // its end is all that counts
	}()
	err = json.NewEncoder(os.Stdout).Encode(lent{program, environment[len(os.Environ()):]})
	if err == nil {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, stop())
}
