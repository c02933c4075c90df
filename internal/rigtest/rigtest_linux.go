package rigtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/causewayhq/causeway/internal/rig"
)

const (
	wishVariable = "CAUSEWAY_RIGS"
	binVariable  = "CAUSEWAY_BIN"
	sampled      = "sample"
	whole        = "all"
)

// Patience bounds what takes a second or so on a machine that is idle.
const Patience = 60 * time.Second

// Main is a package's TestMain: it builds the programs into a directory of its
// own, once for all tests, where rigs are wanted at all.
func Main(m *testing.M, bin *string, tags ...string) {
	os.Exit(run(m, bin, tags))
}

func run(m *testing.M, bin *string, tags []string) int {
	if os.Getenv(wishVariable) == "" {
		return m.Run()
	}
	if *bin = os.Getenv(binVariable); *bin != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("/var/tmp", "causeway-rig-") // hosts have a /tmp of their own
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := rig.Build(context.Background(), dir, tags...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	*bin = dir
	return m.Run()
}

// Need skips a rig that was not asked for.
func Need(t *testing.T, inSample bool) {
	t.Helper()
	switch asked := os.Getenv(wishVariable); {
	case asked == "":
		t.Skip("a rig: make test runs a sample, make e2e all")
	case asked == sampled && !inSample:
		t.Skip("not in the sample: make e2e runs it")
	}
	if os.Geteuid() != 0 {
		t.Fatal("rigs need root")
	}
}

// Sample says whether only the short form of a rig is wanted, and skips it where
// none is.
func Sample(t *testing.T) bool {
	t.Helper()
	Need(t, true)
	return os.Getenv(wishVariable) == sampled
}

// Whole says that this is not the sample.
func Whole() bool { return os.Getenv(wishVariable) == whole }

// Figure prints a number for the report.
func Figure(t *testing.T, format string, args ...any) {
	t.Helper()
	t.Logf("figure: "+format, args...)
}

// Must ends a test that cannot go on.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Within is a context of the test that ends after so long.
func Within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// Eventually polls until it holds, at most for Patience.
func Eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	Must(t, rig.Eventually(Within(t, Patience), func() error {
		if !holds() {
			return errors.New("waited in vain for " + what)
		}
		return nil
	}))
}
