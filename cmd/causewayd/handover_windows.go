package main

import "os"

// handoverSignals are none: Windows has no signal for it.
var handoverSignals []os.Signal
