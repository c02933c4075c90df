package logs

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// TestDrainWithAGap: the line that tells of lines left out is queued in the moment
// in which the last of the others was taken; who drains waits for it as well, and
// no longer.
func TestDrainWithAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p, id := newSender(), &plane{}, uuid.New()
		source := s.Source(id)
		half := strings.Repeat("x", Limit/2-Overhead)
		for range 3 {
			source.Add(agentv2.Log_INFO, half)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		drained := make(chan struct{})
		go func() {
			s.Drain(ctx)
			close(drained)
		}()
		synctest.Wait()
		defer connect(t, s, p)()
		began := time.Now()
		<-drained
		if took := time.Since(began); took > time.Second {
			t.Errorf("drained after %s", took)
		}
		texts := p.texts(id)
		if len(texts) != 3 || !strings.Contains(texts[2], "1 lines were left out") {
			t.Errorf("%d lines, the last %.80q", len(texts), texts[len(texts)-1])
		}
	})
}
