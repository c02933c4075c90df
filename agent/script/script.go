package script

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/robfig/cron/v3"

	"github.com/causewayhq/causeway/proto/agentv2"
)

// maxScripts bounds how many scripts of a manifest are taken: those that start
// the workspace run side by side.
const maxScripts = 256

// Script is one script of a manifest.
type Script struct {
	// ID names it in reports; the zero value, from a control plane that knows no
	// such reports, means that none are sent.
	ID uuid.UUID
	// Source is the log source of what it prints.
	Source        uuid.UUID
	Name          string
	Line          string
	LogPath, Cron string
	OnStart       bool
	OnStop        bool
	// Timeout ends a run; zero is no limit.
	Timeout time.Duration
}

// key is what there is one run of at a time.
func (s Script) key() uuid.UUID {
	if s.ID == uuid.Nil {
		return s.Source
	}
	return s.ID
}

func (s Script) name() string {
	if s.Name != "" {
		return s.Name
	}
	return s.key().String()
}

// Read takes the scripts of a manifest. Those that make no sense are left out,
// and told in the error; the others are good.
func Read(messages []*agentv2.WorkspaceAgentScript) ([]Script, error) {
	var result []Script
	var problems []error
	for i, message := range messages {
		if len(result) == maxScripts {
			problems = append(problems, fmt.Errorf("read scripts: %d more than the %d that an agent runs", len(messages)-i, maxScripts))
			break
		}
		script, err := read(message)
		if err != nil {
			problems = append(problems, fmt.Errorf("read script %d %q: %w", i, message.GetDisplayName(), err))
			continue
		}
		result = append(result, script)
	}
	return result, errors.Join(problems...)
}

func read(message *agentv2.WorkspaceAgentScript) (Script, error) {
	script := Script{
		Name: message.GetDisplayName(), Line: message.GetScript(), LogPath: message.GetLogPath(), Cron: strings.TrimSpace(message.GetCron()),
		OnStart: message.GetRunOnStart(), OnStop: message.GetRunOnStop(), Timeout: max(0, message.GetTimeout().AsDuration()),
	}
	var err error
	if script.Source, err = uuid.FromBytes(message.GetLogSourceId()); err != nil {
		return Script{}, fmt.Errorf("log source: %w", err)
	}
	if raw := message.GetId(); len(raw) > 0 {
		if script.ID, err = uuid.FromBytes(raw); err != nil {
			return Script{}, fmt.Errorf("id: %w", err)
		}
	}
	if strings.ContainsRune(script.Line, 0) {
		return Script{}, errors.New("it is no text")
	}
	if script.Cron != "" {
		if _, err := parseCron(script.Cron); err != nil {
			return Script{}, err
		}
	}
	return script, nil
}

// parser takes five fields, or six with seconds before them, and @hourly and
// its kin.
var parser = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

func parseCron(text string) (cron.Schedule, error) {
	// The library panics on a time zone that nothing follows.
	if strings.HasPrefix(text, "TZ=") || strings.HasPrefix(text, "CRON_TZ=") {
		if !strings.Contains(text, " ") {
			return nil, fmt.Errorf("schedule %q: there is only a time zone", text)
		}
	}
	schedule, err := parser.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w", text, err)
	}
	return schedule, nil
}
