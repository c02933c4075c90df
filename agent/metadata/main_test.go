package metadata

import (
	"context"
	"maps"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/causewayhq/causeway/proto/agentv2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// plane takes results. It is used in synctest bubbles.
type plane struct {
	mu       sync.Mutex
	failures []error
	block    bool
	// busy is how many reports are under way, and most what that was at most.
	busy, most, calls int
	told              []*agentv2.Metadata
	batches           []int
}

func (p *plane) BatchUpdateMetadata(ctx context.Context, in *agentv2.BatchUpdateMetadataRequest) (*agentv2.BatchUpdateMetadataResponse, error) {
	p.mu.Lock()
	p.calls++
	p.busy++
	p.most = max(p.most, p.busy)
	block := p.block
	var err error
	if len(p.failures) > 0 {
		err, p.failures = p.failures[0], p.failures[1:]
	}
	p.mu.Unlock()
	if block {
		<-ctx.Done()
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if err != nil {
		return nil, err
	}
	p.told = append(p.told, in.GetMetadata()...)
	p.batches = append(p.batches, len(in.GetMetadata()))
	return &agentv2.BatchUpdateMetadataResponse{}, nil
}

// values are the results of a key, in order.
func (p *plane) values(key string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var result []string
	for _, m := range p.told {
		if m.GetKey() == key {
			result = append(result, m.GetResult().GetValue())
		}
	}
	return result
}

func (p *plane) keys() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	keys := map[string]bool{}
	for _, m := range p.told {
		keys[m.GetKey()] = true
	}
	return slices.Sorted(maps.Keys(keys))
}
