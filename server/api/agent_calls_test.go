package api

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"storj.io/drpc"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// anyMessage encodes messages of no particular service.
type anyMessage struct{}

func (anyMessage) Marshal(msg drpc.Message) ([]byte, error) {
	return proto.Marshal(msg.(proto.Message))
}

func (anyMessage) Unmarshal(data []byte, msg drpc.Message) error {
	return proto.Unmarshal(data, msg.(proto.Message))
}

// TestCallsThatAreNotOffered: those of newer agents are told so in the words that
// every client takes for "not implemented", and cost the connection nothing.
func TestCallsThatAreNotOffered(t *testing.T) {
	r := newRig(t)
	alice := r.person("alice")
	_, client := r.open(agentPath, alice.agentKey)
	for name, since := range map[string]string{
		"CreateSubAgent": "2.6", "DeleteSubAgent": "2.6", "ListSubAgents": "2.6", "ReportBoundaryLogs": "2.7", "UpdateAppStatus": "2.8", "PushContextState": "2.10",
	} {
		t.Run(name, func(t *testing.T) {
			if _, response, err := r.dial(agentPath+"?version="+since, alice.agentKey); err == nil || response.StatusCode != http.StatusBadRequest {
				t.Errorf("version %s: %v, %v", since, response, err)
			}
			err := client.Invoke(t.Context(), "/coder.agent.v2.Agent/"+name, anyMessage{}, &emptypb.Empty{}, &emptypb.Empty{})
			if err == nil || !strings.Contains(err.Error(), "unknown rpc: ") {
				t.Errorf("%v", err)
			}
		})
	}
	if _, err := agentv2.NewDRPCAgentClient(client).GetManifest(t.Context(), &agentv2.GetManifestRequest{}); err != nil {
		t.Errorf("the connection is lost: %v", err)
	}
}
