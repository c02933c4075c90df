package system

import (
	"testing"

	"github.com/causewayhq/causeway/service"
)

func TestHiddenPlaces(t *testing.T) {
	if err := visible("/usr/local/bin/causewayd"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{"/home/u/causewayd", "/root/causewayd", "/tmp/causewayd", "/var/tmp/x/causewayd"} {
		failedWith(t, visible(path), service.FailureService, "the service's sandbox hides")
	}
}

func TestTemplatesAreNotRead(t *testing.T) {
	if _, err := registerUnit("ExecStart=/{{Path}}"); err == nil {
		t.Error("it is taken")
	}
}
