package logs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"storj.io/drpc/drpcerr"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func TestBatchLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newSender(), &plane{}
		largest := strings.Repeat("x", Limit-Overhead)
		source := s.Source(uuid.New())
		source.Add(agentv2.Log_INFO, largest) // fills the queue to the last byte
		source.Add(agentv2.Log_INFO, "")      // has 21 bytes too many
		defer connect(t, s, p)()
		time.Sleep(5 * time.Second)
		source.Add(agentv2.Log_INFO, largest+"x")
		source.Add(agentv2.Log_INFO, largest+"x")
		source.Add(agentv2.Log_INFO, "next")
		time.Sleep(5 * time.Second)
		long := fmt.Sprintf("causeway-agent: a line of more than %d bytes was left out", Limit-Overhead)
		want := []string{largest, "causeway-agent: 1 lines were left out here: the control plane did not take them in time", long, long, "next"}
		if got := p.texts(source.id); !slices.Equal(got, want) {
			t.Errorf("got %d lines, after the first %q", len(got), got[1:])
		}
		// What is made early goes in batches of at most the limit, none of a second's wait.
		calls, before := p.calls(), time.Now()
		for range 100 {
			for range 30 {
				source.Add(agentv2.Log_INFO, strings.Repeat("y", 10_000))
			}
			synctest.Wait()
		}
		if took := time.Since(before); took != 0 {
			t.Errorf("took %s", took)
		}
		time.Sleep(5 * time.Second)
		if got := len(p.texts(source.id)); got != len(want)+3000 {
			t.Errorf("%d lines came", got-len(want))
		}
		for _, batch := range p.batches[calls:] {
			size := 0
			for _, line := range batch.GetLogs() {
				size += len(line.GetOutput()) + Overhead
			}
			if size > Limit {
				t.Errorf("a batch has %d bytes", size)
			}
		}
	})
}

func TestLimitExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newSender(), &plane{exceeded: true}
		one, other := s.Source(uuid.New()), s.Source(uuid.New())
		disconnect := connect(t, s, p)
		add(one, numbered(0, 10))
		add(other, numbered(0, 10))
		time.Sleep(5 * time.Second)
		add(one, numbered(10, 20))
		disconnect()
		p.exceeded = false // a control plane that changed its mind is not asked
		disconnect = connect(t, s, p)
		add(one, numbered(20, 30))
		time.Sleep(5 * time.Second)
		s.Drain(t.Context())
		disconnect()
		if p.calls() != 1 || s.queued != 0 || len(one.lines)+len(other.lines) != 0 {
			t.Errorf("%d calls, %d bytes wait", p.calls(), s.queued)
		}
	})
}

func TestUnimplementedIsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := newSender(), &plane{}
		p.before = func(call int) error {
			if call == 0 {
				return drpcerr.WithCode(errors.New("no"), drpcerr.Unimplemented)
			}
			return nil
		}
		source := s.Source(uuid.New())
		add(source, numbered(0, 1))
		if err := s.Run(t.Context(), p); err != nil {
			t.Errorf("Run says %v", err)
		}
		s.Drain(t.Context()) // nothing waits
		disconnect := connect(t, s, p)
		synctest.Wait()
		add(source, numbered(1, 2))
		s.Drain(t.Context())
		disconnect()
		if got := p.texts(source.id); !slices.Equal(got, numbered(1, 2)) {
			t.Errorf("got %q", got)
		}
	})
}
