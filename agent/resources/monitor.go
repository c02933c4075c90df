package resources

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// The control plane can choose anything up to these: a window of a thousand
// datapoints of 64 volumes is some megabytes.
const (
	maxDatapoints            = 1000
	maxVolumes               = 64
	minInterval, maxInterval = time.Second, 24 * time.Hour
	// volumeLimit is how long one volume has to answer: those of a server that is
	// away never do.
	volumeLimit = 2 * time.Second
)

// plan is what is to be measured.
type plan struct {
	datapoints int
	interval   time.Duration
	memory     bool
	volumes    []string
}

// planOf reads what the control plane wants; false if that is nothing.
func planOf(answer *agentv2.GetResourcesMonitoringConfigurationResponse) (plan, bool) {
	p := plan{
		datapoints: min(int(answer.GetConfig().GetNumDatapoints()), maxDatapoints),
		interval:   time.Duration(answer.GetConfig().GetCollectionIntervalSeconds()) * time.Second,
		memory:     answer.GetMemory().GetEnabled(),
	}
	p.interval = min(max(p.interval, minInterval), maxInterval)
	for _, volume := range answer.GetVolumes() {
		path := volume.GetPath()
		if volume.GetEnabled() && path != "" && !slices.Contains(p.volumes, path) && len(p.volumes) < maxVolumes {
			p.volumes = append(p.volumes, path)
		}
	}
	return p, p.datapoints > 0 && (p.memory || len(p.volumes) > 0)
}

func (p plan) equal(other plan) bool {
	return p.datapoints == other.datapoints && p.interval == other.interval && p.memory == other.memory &&
		slices.Equal(p.volumes, other.volumes)
}

// volumeResult is what a volume answered.
type volumeResult struct {
	amount Amount
	err    error
}

// measure makes a datapoint. What cannot be measured is left out.
func (m *Monitor) measure(p plan) *agentv2.PushResourcesMonitoringUsageRequest_Datapoint {
	point := &agentv2.PushResourcesMonitoringUsageRequest_Datapoint{CollectedAt: timestamppb.Now()}
	if p.memory {
		if amount, _, err := m.memory(false); m.works("memory", err) {
			point.Memory = &agentv2.PushResourcesMonitoringUsageRequest_Datapoint_MemoryUsage{Used: amount.Used, Total: amount.Total}
		}
	}
	point.Volumes = m.measureVolumes(p.volumes)
	return point
}

// measureVolumes asks all at once.
func (m *Monitor) measureVolumes(paths []string) (result []*agentv2.PushResourcesMonitoringUsageRequest_Datapoint_VolumeUsage) {
	asked := make([]chan volumeResult, len(paths))
	for i, path := range paths {
		asked[i] = m.ask(path)
	}
	limit, cancel := context.WithTimeout(context.Background(), volumeLimit)
	defer cancel()
	for i, path := range paths {
		answer := volumeResult{err: errNoAnswer}
		select {
		case answer = <-asked[i]:
		default:
			select {
			case answer = <-asked[i]:
			case <-limit.Done():
			}
		}
		if !errors.Is(answer.err, errNoAnswer) {
			delete(m.pending, path)
		}
		if m.works(path, answer.err) {
			result = append(result, &agentv2.PushResourcesMonitoringUsageRequest_Datapoint_VolumeUsage{
				Volume: path, Used: answer.amount.Used, Total: answer.amount.Total,
			})
		}
	}
	return result
}

// errNoAnswer is what a volume says that does not answer in time.
var errNoAnswer = errors.New("no answer from the file system")

// ask measures a volume, unless it has not answered the last question yet: then
// the answer to that one is waited for. An answer that came since is too old.
func (m *Monitor) ask(path string) chan volumeResult {
	if pending := m.pending[path]; pending != nil && len(pending) == 0 {
		return pending
	}
	answer := make(chan volumeResult, 1)
	m.pending[path] = answer
	go func() {
		amount, err := m.volume(path)
		answer <- volumeResult{amount, err}
	}()
	return answer
}

// works says whether something could be measured, and logs when that changes.
func (m *Monitor) works(what string, err error) bool {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if m.failing[what] == text {
		return err == nil
	}
	if m.failing[what] = text; err != nil {
		m.logger.Warn("cannot be measured", slog.String("resource", what), slog.String("error", text))
	} else {
		delete(m.failing, what)
		m.logger.Info("can be measured again", slog.String("resource", what))
	}
	return err == nil
}
