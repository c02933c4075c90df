package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/causewayhq/causeway/proto/localv1"
	"github.com/causewayhq/causeway/redact"
)

const (
	// maxBundleFile bounds one file of a bundle, in bytes; of a longer one the end
	// counts. The log in memory and 10,000 agents stay below it.
	maxBundleFile = 8 << 20
	// maxBundleCrash is what is taken of the stacks of a crash.
	maxBundleCrash = 512 << 10
	// bundleLimit bounds one part that asks the system.
	bundleLimit = 5 * time.Second
)

// part is one file of the daemon's half of a support bundle.
type part struct {
	name string
	make func(context.Context) ([]byte, error)
}

// CollectBundle sends what the daemon knows and only it can read, without
// secrets: files with credentials and keys are left out, and what is sent goes
// through the one redactor. What could not be had is said in errors.txt.
func (s *Service) CollectBundle(in *localv1.CollectBundleRequest, stream localv1.DRPCLocal_CollectBundleStream) error {
	ctx := stream.Context()
	redactor := s.redactor(in.GetStrict(), in.GetSalt())
	var failed bytes.Buffer
	for _, part := range s.parts() {
		limited, cancel := context.WithTimeout(ctx, bundleLimit)
		data, err := part.make(limited)
		cancel()
		if err != nil {
			fmt.Fprintf(&failed, "%s: %s\n", part.name, inOneLine(err))
		}
		if len(data) == 0 {
			continue
		}
		if err := sendPart(stream, redactor, part.name, data); err != nil {
			return err
		}
	}
	s.config.Logger.Info("support bundle collected", slog.Bool("strict", in.GetStrict()))
	if failed.Len() == 0 {
		return nil
	}
	return sendPart(stream, redactor, "errors.txt", failed.Bytes())
}

func sendPart(stream localv1.DRPCLocal_CollectBundleStream, redactor *redact.Redactor, name string, data []byte) error {
	data = redactor.File(name, data)
	if len(data) > maxBundleFile {
		data = data[len(data)-maxBundleFile:]
	}
	if err := stream.Send(&localv1.BundleFile{Name: name, Data: data}); err != nil {
		return fmt.Errorf("send support bundle: %w", err)
	}
	return nil
}

func (s *Service) parts() []part {
	message := func(ask func(context.Context) (proto.Message, error)) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) {
			answer, err := ask(ctx)
			if err != nil {
				return nil, err
			}
			return protojson.Marshal(answer)
		}
	}
	parts := []part{
		{"version.json", s.versions},
		{"status.json", message(func(context.Context) (proto.Message, error) { return s.status(), nil })},
		{"settings.json", message(func(ctx context.Context) (proto.Message, error) { return s.GetSettings(ctx, nil) })},
		{"changes.json", message(func(ctx context.Context) (proto.Message, error) { return s.ListChanges(ctx, nil) })},
		{"metrics.prom", func(ctx context.Context) ([]byte, error) {
			answer, err := s.GetMetrics(ctx, nil)
			return []byte(answer.GetText()), err
		}},
		{"log.ndjson", s.loggedLines},
		{"goroutines.txt", func(context.Context) ([]byte, error) {
			stacks := make([]byte, maxStacks)
			return stacks[:runtime.Stack(stacks, true)], nil
		}},
		{"state-files.txt", s.stateFiles},
	}
	for _, name := range []string{crashBefore, crashFile} {
		parts = append(parts, part{name, func(context.Context) ([]byte, error) {
			data, err := readPrivate(filepath.Join(s.config.StateDir, name), maxBundleCrash)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil
			}
			return data, err
		}})
	}
	return append(parts, networkParts()...)
}

func (s *Service) versions(context.Context) ([]byte, error) {
	return json.Marshal(map[string]any{
		"causewayd": s.config.Version, "api": APIVersion, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		"pid": os.Getpid(), "started": started.UTC(), "now": time.Now().UTC(),
	})
}

// loggedLines is what of the log the caller may read, as lines of JSON.
func (s *Service) loggedLines(ctx context.Context) ([]byte, error) {
	if s.config.Logs == nil {
		return nil, errors.New("this daemon keeps no log; look at " + daemonLog)
	}
	since := s.readsSince(ctx)
	var out bytes.Buffer
	batch := make([]logEntry, 0, maxLogEntries)
	found, _, _ := s.config.Logs.read(0, batch)
	for _, entry := range found {
		if entry.time.Before(since) {
			continue
		}
		fields := map[string]string{}
		for _, field := range entry.fields {
			fields[field.name] = field.value
		}
		line, err := json.Marshal(map[string]any{"time": entry.time.UTC(), "level": levelWord(entry.level), "message": entry.message, "fields": fields})
		if err != nil {
			return nil, err
		}
		out.Write(append(line, '\n'))
	}
	return out.Bytes(), nil
}

// stateFiles lists what is in the state directory; what the files hold stays there.
func (s *Service) stateFiles(context.Context) ([]byte, error) {
	var out bytes.Buffer
	err := filepath.WalkDir(s.config.StateDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		name, err := filepath.Rel(s.config.StateDir, path)
		fmt.Fprintf(&out, "%s %8d %s %s\n", info.Mode(), info.Size(), info.ModTime().UTC().Format(time.RFC3339), name)
		return err
	})
	return out.Bytes(), err
}

// redactor knows every secret that the daemon has.
func (s *Service) redactor(strict bool, salt []byte) *redact.Redactor {
	s.mu.Lock()
	now, machine := s.state.clone(), s.machine
	status := s.statusLocked()
	s.mu.Unlock()
	secrets := keysIn(s.config.StateDir)
	var names, suffixes []string
	add := func(p Profile) {
		secrets = append(secrets, string(p.Token))
		for _, values := range p.Headers {
			secrets = append(secrets, values...)
		}
		secrets = append(secrets, passwordIn(p.Proxy), passwordIn(p.URL))
		names = append(names, p.Name, p.User, p.URL.Hostname(), s.names.of(p.Owner))
	}
	for _, p := range now.profiles {
		add(p)
	}
	secrets = append(secrets, passwordIn(machine.proxy))
	if _, arguments, _ := strings.Cut(machine.headers, " "); arguments != "" {
		secrets = append(secrets, strings.Fields(arguments)...)
	}
	redactor := redact.New(secrets...)
	if !strict {
		return redactor
	}
	for _, agent := range status.GetAgents() {
		names = append(append(names, agent.GetName(), agent.GetWorkspace()), agent.GetNames()...)
	}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	suffixes = append(suffixes, status.GetSuffix())
	if len(salt) == 0 {
		salt = make([]byte, 16)
		rand.Read(salt)
	}
	return redactor.Strict(salt, append(names, searchDomains()...), suffixes)
}
