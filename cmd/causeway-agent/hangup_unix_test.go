//go:build unix

package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// asNohup makes the test binary show what its children do about hang-ups.
const asNohup = "CAUSEWAY_TEST_AS_NOHUP"

// TestHangUpsOfWhatIsStarted: an agent under nohup starts programs that a
// hang-up ends.
func TestHangUpsOfWhatIsStarted(t *testing.T) {
	const child = `sleep 20 & sleep=$!; kill -HUP $sleep; wait $sleep; echo $?`
	if os.Getenv(asNohup) != "" {
		hearHangUps()
		output, err := exec.Command("/bin/sh", "-c", child).Output()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("child: %s", output)
		return
	}
	cmd := exec.Command("/bin/sh", "-c", `trap "" HUP; exec "$0" -test.v -test.run '^TestHangUpsOfWhatIsStarted$'`, os.Args[0])
	cmd.Env = append(os.Environ(), asNohup+"=1")
	output, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "child: 129") {
		t.Errorf("%v: %s", err, output)
	}
}
