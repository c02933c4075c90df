package main

import (
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/server/define"
	"github.com/causewayhq/causeway/server/store"
)

type scriptOutput struct {
	Script    string    `json:"script"`
	Stage     string    `json:"stage"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	ExitCode  int32     `json:"exit_code"`
	Status    string    `json:"status"`
}

// unreportedOutput is a script of which no run in this stage has been reported:
// agents do that when one has ended.
type unreportedOutput struct {
	Script string `json:"script"`
	Stage  string `json:"stage"`
}

// lastTimings is the last run of each script in each stage that has been reported.
func lastTimings(agent store.Agent, definition define.Definition, timings []store.ScriptTiming) []scriptOutput {
	names := map[uuid.UUID]string{}
	for _, script := range definition.Scripts {
		names[define.ScriptID(agent.ID, script.Name)] = script.Name
	}
	type place struct {
		script uuid.UUID
		stage  store.ScriptStage
	}
	at := map[place]int{}
	list := []scriptOutput{}
	for _, timing := range timings { // oldest first
		name, defined := names[timing.Script]
		if !defined {
			continue
		}
		output := scriptOutput{name, timing.Stage.String(), timing.Start, timing.End, timing.ExitCode, timing.Status.String()}
		if i, found := at[place{timing.Script, timing.Stage}]; found {
			list[i] = output
			continue
		}
		at[place{timing.Script, timing.Stage}] = len(list)
		list = append(list, output)
	}
	return list
}

// unreported lists what is to run and is not among what has.
func unreported(definition define.Definition, ran []scriptOutput) []unreportedOutput {
	known := map[unreportedOutput]bool{}
	for _, one := range ran {
		known[unreportedOutput{one.Script, one.Stage}] = true
	}
	list := []unreportedOutput{}
	for _, script := range definition.Scripts {
		for stage, wanted := range []bool{script.OnStart, script.OnStop, script.Cron != ""} {
			one := unreportedOutput{script.Name, store.ScriptStage(stage).String()}
			if wanted && !known[one] {
				list = append(list, one)
			}
		}
	}
	return list
}
