package crashmatrix

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Getenv("CAUSEWAY_RIGS") == "" {
		return m.Run()
	}
	// Programs that are built already, for somebody at work on the tests.
	if bin = os.Getenv("CAUSEWAY_BIN"); bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("/var/tmp", "causeway-crashmatrix-") // hosts have a /tmp of their own
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := rig.Build(context.Background(), dir, "crashmatrix"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	bin = dir
	return m.Run()
}

// sample says whether only the short form is wanted; without any wish for rigs
// the test is skipped.
func sample(t *testing.T) bool {
	t.Helper()
	asked := os.Getenv("CAUSEWAY_RIGS")
	if asked == "" {
		t.Skip("a rig: make test runs a sample, make e2e all")
	}
	if os.Geteuid() != 0 {
		t.Fatal("rigs need root")
	}
	return asked == "sample"
}

// figure prints a number for the report.
func figure(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format, args...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
