package service

import (
	"context"
	"os"
	"strings"

	"github.com/causewayhq/causeway/proto/localv1"
)

// proxyVariables are what net/http reads (http.ProxyFromEnvironment), and with
// it every request of the daemon. Of each pair the first one counts.
var proxyVariables = []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}

// Examine measures now what doctor wants to know.
func (s *Service) Examine(ctx context.Context, in *localv1.ExamineRequest) (*localv1.ExamineResponse, error) {
	out := &localv1.ExamineResponse{Pid: int32(os.Getpid())}
	s.mu.Lock()
	tunnel := s.tunnel
	s.mu.Unlock()
	if tunnel != nil {
		asked, err := tunnel.AskRelay(ctx)
		if out.RelayAsked = asked; asked && err != nil {
			out.RelayError = strings.ReplaceAll(err.Error(), "\n", ": ")
		}
		if in.GetNetwork() {
			out.Network = tunnel.MeasureNetwork(ctx)
		}
	}
	for _, name := range proxyVariables {
		if value, set := s.config.LookupEnv(name); set && value != "" {
			out.ProxyVariables = append(out.ProxyVariables, &localv1.Variable{Name: name, Value: withoutUser(value)})
		}
	}
	out.Status = s.status()
	return out, nil
}

// withoutUser leaves the user's name and password out of a proxy's address,
// whether or not it is one that can be read.
func withoutUser(value string) string {
	if at := strings.LastIndex(value, "@"); at >= 0 {
		scheme, _, found := strings.Cut(value, "://")
		if value = value[at+1:]; found {
			value = scheme + "://" + value
		}
	}
	return value
}
