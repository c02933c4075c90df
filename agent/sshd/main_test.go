package sshd

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// listenVariable makes the test binary a program that listens on a port of
// localhost, with whatever arguments, and says which one.
const listenVariable = "SSHD_TEST_LISTENS"

func TestMain(m *testing.M) {
	if os.Getenv(listenVariable) != "" {
		listen()
	}
	goleak.VerifyTestMain(m)
}

func listen() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.Exit(1)
	}
	fmt.Println(listener.Addr())
	time.Sleep(time.Minute)
	os.Exit(0)
}
