package cli

// here is the system that this program is built for.
var here = linuxSystem
