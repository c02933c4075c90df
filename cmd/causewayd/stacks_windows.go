package main

import "io"

// dumpStacks does nothing: Windows has no signal for it.
func dumpStacks(io.Writer) (stop func()) { return func() {} }
