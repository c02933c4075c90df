package service

import (
	"errors"
	"maps"
	"testing"

	"github.com/causewayhq/causeway/proto/localv1"
)

func TestExamine(t *testing.T) {
	r := newRig(t)
	environment := map[string]string{
		"HTTPS_PROXY": "http://alice:p@ss@proxy.example:3128", "no_proxy": ".example.com", "http_proxy": "bob:secret@127.0.0.1:9", "HOME": "/root", "NO_PROXY": "",
	}
	r.config.LookupEnv = func(name string) (string, bool) {
		value, found := environment[name]
		return value, found
	}
	_, call, stop := r.start(t)
	answer, err := call.Examine(t.Context(), &localv1.ExamineRequest{})
	if err != nil || answer.GetStatus().GetState() != localv1.State_SIGNED_OUT || answer.GetRelayAsked() {
		t.Errorf("Examine() signed out = %v, %v", answer, err)
	}
	got := map[string]string{}
	for _, variable := range answer.GetProxyVariables() {
		got[variable.GetName()] = variable.GetValue()
	}
	if want := map[string]string{"HTTPS_PROXY": "http://proxy.example:3128", "no_proxy": ".example.com", "http_proxy": "127.0.0.1:9"}; !maps.Equal(got, want) {
		t.Errorf("variables %v, want %v", got, want)
	}
	tunnel := upAs(t, r, call)
	tunnel.relay = errors.New("dial\ntimeout")
	answer, err = call.Examine(t.Context(), &localv1.ExamineRequest{})
	if err != nil || !answer.GetRelayAsked() || answer.GetRelayError() != "dial: timeout" || !answer.GetStatus().GetWantedUp() {
		t.Errorf("Examine() = %v, %v", answer, err)
	}
	if err := stop(); err != nil {
		t.Errorf("Run() = %v", err)
	}
}
