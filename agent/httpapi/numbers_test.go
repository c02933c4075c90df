package httpapi

import (
	"testing"
	"time"
)

// TestNumbers are the protocol's (5.4).
func TestNumbers(t *testing.T) {
	if keptLog != 10*1024*1024 || exchangeLimit != 20*time.Second {
		t.Errorf("%d bytes of the log, %s for an exchange", keptLog, exchangeLimit)
	}
	s := newServer(t)
	if s.http.ReadTimeout != 20*time.Second || s.http.WriteTimeout != 20*time.Second {
		t.Errorf("reads may take %s, writes %s", s.http.ReadTimeout, s.http.WriteTimeout)
	}
}
