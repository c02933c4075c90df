//go:build !linux && !darwin && !windows

package doctor

// here are the words of a Unix that is none of the three.
var here = darwinWords
