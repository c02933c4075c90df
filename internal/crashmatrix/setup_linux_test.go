package crashmatrix

import (
	"testing"

	"github.com/causewayhq/causeway/internal/rigtest"
)

// bin holds the programs, built once for all tests.
var bin string

func TestMain(m *testing.M) { rigtest.Main(m, &bin, "crashmatrix") }

// What all rigs have, by short names.
var (
	sample = rigtest.Sample
	figure = rigtest.Figure
	must   = rigtest.Must
	within = rigtest.Within
)
