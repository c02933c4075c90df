package api

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/proto/agentv2"
	"github.com/causewayhq/causeway/server/store"
)

// What is taken of one report of an agent. Its messages have 4 MiB at most, by
// the transport; what is above these bounds is cut or dropped, and named in the
// log at debug level.
const (
	versionMost = 128
	// pathMost is the longest path that Linux takes.
	pathMost = 4096
	// metadataMost is how many keys one agent may have, keyMost how long one is.
	metadataMost = 128
	keyMost      = 256
	// metadataValueMost is where agents cut what a script prints, and its error.
	metadataValueMost = 10 << 10
	metadataCut       = "the value had more than 10240 bytes and was cut"
	// resourcesMost is how many points in time are kept of an agent's resources,
	// volumesMost how many volumes each has, volumeMost how long a path is.
	resourcesMost = 100
	volumesMost   = 16
	volumeMost    = 1024
)

// agentTime is a time that an agent gave, kept between the years 2000 and 2100;
// none is now.
func agentTime(given *timestamppb.Timestamp) time.Time {
	if given == nil || given.CheckValid() != nil {
		return time.Now().UTC()
	}
	at := given.AsTime()
	if at.Before(earliest) {
		return earliest
	}
	if at.After(latest) {
		return latest
	}
	return at
}

var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// agentText is a text that an agent gave, without what no database takes, and cut.
func agentText(given string, most int) string {
	text := strings.ReplaceAll(strings.ToValidUTF8(given, "\uFFFD"), "\x00", "\uFFFD")
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// metadataResult is the latest value of one key.
type metadataResult struct {
	CollectedAt time.Time `json:"collected_at"`
	Value       string    `json:"value"`
	Error       string    `json:"error"`
}

// resourcePoint is what was in use at one time.
type resourcePoint struct {
	CollectedAt time.Time     `json:"collected_at"`
	Memory      *usage        `json:"memory,omitempty"`
	Volumes     []volumeUsage `json:"volumes,omitempty"`
}

type usage struct {
	Used  int64 `json:"used"`
	Total int64 `json:"total"`
}

type volumeUsage struct {
	Volume string `json:"volume"`
	usage
}

// BatchUpdateMetadata takes the latest values of keys that the agent was told to
// measure.
func (h *agentHandler) BatchUpdateMetadata(ctx context.Context, req *agentv2.BatchUpdateMetadataRequest) (*agentv2.BatchUpdateMetadataResponse, error) {
	known, err := h.told(ctx)
	if err != nil {
		return nil, err
	}
	state := h.state
	state.mu.Lock()
	defer state.mu.Unlock()
	unknown := 0
	for _, one := range req.GetMetadata() {
		key := one.GetKey()
		if _, measured := known.metadata[key]; !measured {
			unknown++
			continue
		}
		result := metadataResult{
			CollectedAt: agentTime(one.GetResult().GetCollectedAt()),
			Value:       agentText(one.GetResult().GetValue(), metadataValueMost),
			Error:       agentText(one.GetResult().GetError(), metadataValueMost),
		}
		if len(one.GetResult().GetValue()) > metadataValueMost && result.Error == "" {
			result.Error = metadataCut
		}
		state.metadata[key] = result
		state.dirty[valueName{store.ValueMetadata, key}] = struct{}{}
	}
	state.tell()
	h.drop("metadata", unknown)
	return &agentv2.BatchUpdateMetadataResponse{}, nil
}

var healthNames = map[agentv2.AppHealth]string{
	agentv2.AppHealth_DISABLED: "disabled", agentv2.AppHealth_INITIALIZING: "initializing",
	agentv2.AppHealth_HEALTHY: "healthy", agentv2.AppHealth_UNHEALTHY: "unhealthy",
}

// BatchUpdateAppHealths takes the health of apps that the agent was told of.
func (h *agentHandler) BatchUpdateAppHealths(ctx context.Context, req *agentv2.BatchUpdateAppHealthRequest) (*agentv2.BatchUpdateAppHealthResponse, error) {
	known, err := h.told(ctx)
	if err != nil {
		return nil, err
	}
	h.state.mu.Lock()
	defer h.state.mu.Unlock()
	unknown := 0
	for _, update := range req.GetUpdates() {
		id, err := uuid.FromBytes(update.GetId())
		name := healthNames[update.GetHealth()]
		if _, found := known.apps[id]; err != nil || !found || name == "" {
			unknown++
			continue
		}
		if h.state.health[id.String()] != name {
			h.state.health[id.String()] = name
			h.state.dirty[valueName{store.ValueApp, id.String()}] = struct{}{}
		}
	}
	h.drop("app health", unknown)
	return &agentv2.BatchUpdateAppHealthResponse{}, nil
}

// PushResourcesMonitoringUsage takes the use of memory and volumes. An agent
// sends a window of points each time; those that are known are not added again.
func (h *agentHandler) PushResourcesMonitoringUsage(_ context.Context, req *agentv2.PushResourcesMonitoringUsageRequest) (*agentv2.PushResourcesMonitoringUsageResponse, error) {
	h.state.mu.Lock()
	defer h.state.mu.Unlock()
	points := h.state.resources
	known := map[int64]bool{}
	for _, point := range points {
		known[point.CollectedAt.UnixNano()] = true
	}
	for _, given := range req.GetDatapoints() {
		point := resourcePoint{CollectedAt: agentTime(given.GetCollectedAt())}
		if known[point.CollectedAt.UnixNano()] {
			continue
		}
		if memory := given.GetMemory(); memory != nil {
			point.Memory = &usage{positive(memory.GetUsed()), positive(memory.GetTotal())}
		}
		for _, volume := range given.GetVolumes()[:min(len(given.GetVolumes()), volumesMost)] {
			point.Volumes = append(point.Volumes, volumeUsage{
				agentText(volume.GetVolume(), volumeMost), usage{positive(volume.GetUsed()), positive(volume.GetTotal())},
			})
		}
		points = append(points, point)
		if len(points) > resourcesMost {
			points = points[len(points)-resourcesMost:]
		}
	}
	h.state.resources = slices.Clone(points)
	h.state.dirty[valueName{store.ValueResources, ""}] = struct{}{}
	return &agentv2.PushResourcesMonitoringUsageResponse{}, nil
}

// positive bounds a number so that sums of many stay in range.
func positive(value int64) int64 { return min(max(value, 0), math.MaxInt64>>16) }

func (h *agentHandler) drop(what string, count int) {
	if count > 0 {
		h.server.config.Logger.Debug("reports of what the agent was not told of are dropped",
			slog.String("agent", h.agent.Path()), slog.String("what", what), slog.Int("count", count))
	}
}
