package tailnetsvc

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"storj.io/drpc"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/proto/mux"
	"github.com/causewayhq/causeway/proto/tailnetv2"
)

// logsAgent takes logs when it is let, and says how many it was given.
type logsAgent struct {
	agentv2.DRPCAgentUnimplementedServer
	given chan int
	let   chan struct{}
}

func (l *logsAgent) BatchCreateLogs(ctx context.Context, req *agentv2.BatchCreateLogsRequest) (*agentv2.BatchCreateLogsResponse, error) {
	l.given <- len(req.GetLogs())
	select {
	case <-l.let:
	case <-ctx.Done():
	}
	return &agentv2.BatchCreateLogsResponse{}, nil
}

// plainBytes sends what somebody else has encoded.
type plainBytes struct{ drpc.Encoding }

func (plainBytes) Marshal(msg drpc.Message) ([]byte, error) { return *msg.(*[]byte), nil }
func (plainBytes) Unmarshal([]byte, drpc.Message) error     { return nil }

// logs sends so many empty lines, two bytes each.
func sendLogs(t *testing.T, client *mux.Client, count int) chan error {
	body := bytes.Repeat([]byte{2<<3 | 2, 0}, count)
	ended := make(chan error, 1)
	go func() {
		ended <- client.Invoke(t.Context(), "/coder.agent.v2.Agent/BatchCreateLogs", plainBytes{}, &body, &[]byte{})
	}()
	return ended
}

// TestElementsAreBounded: a message of 4 MiB would take hundreds of MiB to read.
func TestElementsAreBounded(t *testing.T) {
	r := newRig(t)
	agent := &logsAgent{given: make(chan int, 8), let: make(chan struct{}, 8)}
	client := r.agent(uuid.New(), agent)
	if err := <-sendLogs(t, client, elementsMost+1); err == nil || !strings.Contains(err.Error(), "262145 elements are more than 262144") {
		t.Errorf("too many: %v", err)
	}
	agent.let <- struct{}{}
	if err := <-sendLogs(t, client, elementsMost); err != nil {
		t.Errorf("as many as may be: %v", err)
	}
	if given := <-agent.given; given != elementsMost || len(agent.given) != 0 {
		t.Errorf("%d lines arrived, then %d calls", given, len(agent.given))
	}
}

// TestLargeMessagesTakeTurns: one connection holds one large message, and goes on
// with small ones meanwhile.
func TestLargeMessagesTakeTurns(t *testing.T) {
	r := newRig(t)
	agent := &logsAgent{given: make(chan int, 8), let: make(chan struct{})}
	client := r.agent(uuid.New(), agent)
	first := sendLogs(t, client, elementsLarge+1)
	if given := <-agent.given; given != elementsLarge+1 {
		t.Fatalf("%d lines", given)
	}
	second := sendLogs(t, client, elementsLarge+2)
	for range 20 {
		// Each is a call after the second one, and overtakes it.
		small := sendLogs(t, client, elementsLarge)
		if given := <-agent.given; given != elementsLarge {
			t.Fatalf("%d lines while a large message is held", given)
		}
		defer func() { <-small }()
	}
	agent.let <- struct{}{}
	for range 20 {
		agent.let <- struct{}{}
	}
	if given := <-agent.given; given != elementsLarge+2 {
		t.Errorf("then %d lines", given)
	}
	agent.let <- struct{}{}
	for _, ended := range []chan error{first, second} {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestElements(t *testing.T) {
	for name, test := range map[string]struct {
		message proto.Message
		want    int
	}{
		"none":    {&agentv2.BatchCreateLogsRequest{LogSourceId: make([]byte, 16)}, 0},
		"times":   {&agentv2.BatchCreateLogsRequest{Logs: []*agentv2.Log{{Output: "x"}, {CreatedAt: timestamppb.Now()}}}, 3},
		"map":     {&agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{ConnectionsByProto: map[string]int64{"tcp": 1, "udp": 2}}}, 3},
		"nested":  {&agentv2.UpdateStatsRequest{Stats: &agentv2.Stats{Metrics: []*agentv2.Stats_Metric{{Labels: []*agentv2.Stats_Metric_Label{{}, {}}}}}}, 4},
		"strings": {&tailnetv2.Node{Addresses: []string{"a", "b"}, PreferredDerp: 3}, 2},
	} {
		data, err := proto.Marshal(test.message)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := elements(data, test.message.ProtoReflect().Descriptor(), nestingMost); err != nil || got != test.want {
			t.Errorf("%s: %d elements, want %d, %v", name, got, test.want, err)
		}
		if _, err := elements(data, test.message.ProtoReflect().Descriptor(), 0); err == nil {
			t.Errorf("%s: no bound of nesting", name)
		}
	}
}

// FuzzElements holds that what can be read is counted, and never less than it has.
func FuzzElements(f *testing.F) {
	for _, logs := range []*agentv2.BatchCreateLogsRequest{{}, {Logs: []*agentv2.Log{{Output: "x", CreatedAt: timestamppb.Now()}, {}}}} {
		data, err := proto.Marshal(logs)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{2<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var logs agentv2.BatchCreateLogsRequest
		count, err := elements(data, logs.ProtoReflect().Descriptor(), nestingMost)
		if proto.Unmarshal(data, &logs) == nil && (err != nil || count < len(logs.GetLogs())) {
			t.Errorf("%d counted of %d, %v", count, len(logs.GetLogs()), err)
		}
	})
}
