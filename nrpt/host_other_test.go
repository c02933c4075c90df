//go:build !windows

package nrpt

import "testing"

func newHost(testing.TB) host { return newMemory() }

// scenarios of the property test: in memory they are cheap.
const scenarios = 150
