package httpapi

import (
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v4/process"
)

// metricsPrefix begins every name; the names are stable.
const metricsPrefix = "causeway_agent_"

// Metric is one measured value. Metrics of one name follow each other.
type Metric struct {
	// Name is without the prefix; Kind is gauge or counter.
	Name, Kind, Help string
	Value            float64
	// Labels are names and values in turn.
	Labels []string
}

// started is when this process began, or nearly so.
var started = time.Now()

// prometheus is the text format, version 0.0.4.
func (s *Server) prometheus(w http.ResponseWriter, _ *http.Request) {
	all := []Metric{
		{"build_info", "gauge", "Always 1; the version is in the labels.", 1, []string{"version", s.config.Version, "go", runtime.Version()}},
		{"start_time_seconds", "gauge", "When the agent started, in seconds since 1970.", float64(started.UnixMilli()) / 1000, nil},
		{"goroutines", "gauge", "Goroutines of the agent.", float64(runtime.NumGoroutine()), nil},
		{"log_entries_total", "counter", "Entries that were logged, as far as they are kept.", float64(s.config.Logs.count()), nil},
	}
	if self, err := process.NewProcess(int32(os.Getpid())); err == nil { //nolint:gosec // the system's process ids fit
		if memory, err := self.MemoryInfo(); err == nil {
			all = append(all, Metric{"resident_memory_bytes", "gauge", "Memory of the agent that is resident.", float64(memory.RSS), nil})
		}
	}
	if s.config.Metrics != nil {
		all = append(all, s.config.Metrics()...)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(exposition(all))) // an error means that the client is gone
}

func exposition(all []Metric) string {
	var out strings.Builder
	before := ""
	for _, metric := range all {
		name := metricsPrefix + metric.Name
		if name != before {
			fmt.Fprintf(&out, "# HELP %s %s\n# TYPE %s %s\n", name, metric.Help, name, metric.Kind)
			before = name
		}
		out.WriteString(name)
		for i := 0; i+1 < len(metric.Labels); i += 2 {
			out.WriteString(map[bool]string{true: "{", false: ","}[i == 0] + metric.Labels[i] + `="` + labelText.Replace(strings.ToValidUTF8(metric.Labels[i+1], "?")) + `"`)
		}
		if len(metric.Labels) > 1 {
			out.WriteByte('}')
		}
		out.WriteString(" " + strconv.FormatFloat(metric.Value, 'g', -1, 64) + "\n")
	}
	return out.String()
}

var labelText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
