package tailnetsvc

import "github.com/causewayhq/causeway/proto/agentv2"

// AgentHandler is what the control plane does for one connected agent. Its
// methods may be called at the same time, and their errors go to the agent. One
// that embeds agentv2.DRPCAgentUnimplementedServer answers every call that it
// does not have with Unimplemented.
type AgentHandler = agentv2.DRPCAgentServer
