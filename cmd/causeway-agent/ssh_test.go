package main

import (
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/causewayhq/causeway/agent"
)

// TestSSHVariables: a variable stands in for a flag that is not given.
func TestSSHVariables(t *testing.T) {
	for name, value := range map[string]string{
		"BLOCK_FILE_TRANSFER": "true", "BLOCK_LOCAL_PORT_FORWARDING": "1", "BLOCK_REVERSE_PORT_FORWARDING": "true",
		"TERMINAL_IDLE_TIMEOUT": "2h", "SSH_IDLE_TIMEOUT": "5m", "SSH_MAX_SESSION": "8h", "SSH_MAX_TIMEOUT": "30s",
	} {
		t.Setenv(envPrefix+name, value)
	}
	var got agent.SSH
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	var idle time.Duration
	addSSHFlags(flags, &got, &idle)
	if idle != 5*time.Minute || got.MaxTimeout != 72*time.Hour || got.IdleTimeout != 0 {
		t.Errorf("without variables: %+v", got)
	}
	if err := flags.Parse([]string{"--ssh-max-session=1h", "--block-local-port-forwarding=false"}); err != nil {
		t.Fatal(err)
	}
	if err := readSSHVariables(flags); err != nil {
		t.Fatal(err)
	}
	want := agent.SSH{
		BlockFileTransfer: true, BlockReverseForward: true,
		IdleTimeout: 5 * time.Minute, MaxSession: time.Hour, MaxTimeout: 30 * time.Second,
	}
	if got != want || idle != 2*time.Hour {
		t.Errorf("got %+v, %s, want %+v", got, idle, want)
	}
	if err := flags.Parse([]string{"--terminal-idle-timeout=0"}); err != nil {
		t.Fatal(err)
	}
	if err := readSSHVariables(flags); err == nil {
		t.Error("terminals that end at once")
	}
}
