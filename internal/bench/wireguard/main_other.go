//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "wireguard: needs Linux, for namespaces and TUN devices")
	os.Exit(1)
}
