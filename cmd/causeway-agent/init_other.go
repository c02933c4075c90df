//go:build !linux

package main

import "errors"

// isInit: a first process of its own is a matter of Linux's containers.
func isInit() bool { return false }

func asInit() (int, error) { return 0, errors.ErrUnsupported }
