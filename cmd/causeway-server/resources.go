package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/causewayhq/causeway/server/store"
)

// resourcesOutput is what was in use of the workspace's memory and volumes when
// the agent last looked; see resources in the definition.
type resourcesOutput struct {
	CollectedAt time.Time      `json:"collected_at"`
	Memory      *usageOutput   `json:"memory"`
	Volumes     []volumeOutput `json:"volumes"`
}

// usageOutput is in bytes.
type usageOutput struct {
	Used  int64 `json:"used"`
	Total int64 `json:"total"`
}

type volumeOutput struct {
	Volume string `json:"volume"`
	usageOutput
}

// readResources is the newest of the points that are kept, nil if there is none.
func readResources(values []store.AgentValue) (*resourcesOutput, error) {
	for _, value := range values {
		if value.Kind != store.ValueResources {
			continue
		}
		var points []resourcesOutput
		if err := json.Unmarshal(value.Value, &points); err != nil {
			return nil, fmt.Errorf("read resources: %w", err)
		}
		if len(points) == 0 {
			continue
		}
		last := points[len(points)-1]
		last.Volumes = append([]volumeOutput{}, last.Volumes...)
		return &last, nil
	}
	return nil, nil
}

// rows are those of a table for people.
func (r *resourcesOutput) rows() (rows [][]string) {
	if r == nil {
		return nil
	}
	row := func(name string, of usageOutput) {
		rows = append(rows, []string{name, size(of.Used), size(of.Total), when(&r.CollectedAt)})
	}
	if r.Memory != nil {
		row("memory", *r.Memory)
	}
	for _, each := range r.Volumes {
		row(printable(each.Volume), each.usageOutput)
	}
	return rows
}
