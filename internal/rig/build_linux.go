package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds the programs, the probe and the intruder into a directory, with
// the tags that they are shipped with and some more.
func Build(ctx context.Context, dir string, more ...string) error {
	tags, err := Tags(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", strings.Join(append(tags, more...), ","), "-o", dir+"/",
		"github.com/causewayhq/causeway/cmd/...", "github.com/causewayhq/causeway/internal/probe", "github.com/causewayhq/causeway/internal/intruder")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build programs: %w\n%s", err, output)
	}
	return nil
}

// Tags are the build tags of every program that is shipped, as packaging/tags.txt
// of this module lists them.
func Tags(ctx context.Context) (tags []string, err error) {
	module, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/causewayhq/causeway").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(module)), "packaging", "tags.txt"))
	if err != nil {
		return nil, fmt.Errorf("read build tags: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			tags = append(tags, line)
		}
	}
	return tags, nil
}
