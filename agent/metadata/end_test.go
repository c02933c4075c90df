package metadata

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// TestScriptThatCannotBeEnded: the end of the agent does not wait for one.
func TestScriptThatCannotBeEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Config{
			Logger: slog.New(slog.DiscardHandler),
			Wanted: func() []*agentv2.WorkspaceAgentMetadata_Description {
				return []*agentv2.WorkspaceAgentMetadata_Description{{Key: "key", Script: "sudo sleep 1h", Interval: durationpb.New(time.Second)}}
			},
		})
		release := make(chan struct{})
		c.run = func(context.Context, string, time.Duration) outcome {
			<-release
			return outcome{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		c.Collect(ctx)
		if took := time.Since(began); took != time.Second+endLimit {
			t.Errorf("ended after %s", took)
		}
		close(release)
	})
}
