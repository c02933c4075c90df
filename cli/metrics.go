package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

const metricsLong = `Show figures of the daemon in the text format of Prometheus. The names are stable:

  causeway_build_info{version,go}           always 1
  causeway_state{state}                     1 for the present state, 0 for the others
  causeway_wanted_up                        1 while the tunnel is wanted up
  causeway_control_connected                1 while the control plane is connected
  causeway_control_connections_total        connections made to it; more than one are
                                            reconnections
  causeway_names_answer                     1 while a lookup through the system is answered
  causeway_names_failures_total             times that names stopped answering
  causeway_problems                         problems that causeway status tells
  causeway_agents{path}                     agents by path: direct, relayed, idle
  causeway_agents_reachable                 agents that answered in the last minutes
  causeway_received_bytes_total             from agents
  causeway_sent_bytes_total                 to agents
  causeway_home_relay_latency_seconds       if it was measured
  causeway_token_expiry_timestamp_seconds   if the sign-in ends, and it is known when
  causeway_log_entries_total
  causeway_start_time_seconds
  causeway_goroutines
  causeway_resident_memory_bytes            on Linux

Connections and failures are counted as they are seen, at most once a second.`

func (a *app) metrics() *cobra.Command {
	command := &cobra.Command{
		Use: "metrics", Short: "Show figures of the daemon for Prometheus: print, write", Long: metricsLong,
		Example: "  causeway metrics\n  causeway metrics write /var/lib/node_exporter/causeway.prom",
		Args:    cobra.ArbitraryArgs,
	}
	print := func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		text, err := a.askMetrics(cmd.Context())
		if err == nil {
			_, err = io.WriteString(a.env.Stdout, text)
		}
		return err
	}
	command.RunE = print
	command.AddCommand(
		&cobra.Command{Use: "print", Short: "Print them", Args: args(0, 0, ""), Example: "  causeway metrics print | grep causeway_state", RunE: print},
		&cobra.Command{
			Use: "write <file>", Short: "Write them into a file, whole or not at all", Args: args(1, 1, "a file"),
			Long: `Write the figures into a file that everybody may read, whole or not at all, as the
textfile collector of node_exporter wants it. Run it from a timer.`,
			Example: "  causeway metrics write /var/lib/node_exporter/causeway.prom",
			RunE: func(cmd *cobra.Command, args []string) error {
				text, err := a.askMetrics(cmd.Context())
				if err != nil {
					return err
				}
				return writeWhole(args[0], []byte(text), 0o644)
			},
		},
	)
	return command
}

func (a *app) askMetrics(ctx context.Context) (string, error) {
	client, err := a.dial(ctx)
	if err != nil {
		return "", err
	}
	defer client.Close()
	answer, err := call(ctx, a, answerLimit, client.GetMetrics, &localv1.GetMetricsRequest{})
	return answer.GetText(), err
}

// writeWhole writes a file whole or not at all. What is in its place goes, and a
// link there is not followed.
func writeWhole(path string, content []byte, mode os.FileMode) error {
	failed := func(err error) error {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: fmt.Sprintf("write %s: %s", path, plainCause(err)), Remedy: "name a file in a directory that this user can write to"}
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return failed(errors.New("it is not a regular file"))
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return failed(err)
	}
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return failed(err)
	}
	return nil
}

// plainCause leaves out the path of an error, which is said already.
func plainCause(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err.Error()
	}
	return err.Error()
}
