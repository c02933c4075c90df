package service

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/config"
	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// logBatch is how many entries a watcher takes at a time.
const logBatch = 64

// WatchLogs sends what is kept of the log, and goes on if asked to. A watcher that
// is slower than the log is told how much it missed.
func (s *Service) WatchLogs(in *localv1.WatchLogsRequest, stream localv1.DRPCLocal_WatchLogsStream) error {
	least := slog.LevelInfo
	if name := in.GetLevel(); name != "" {
		if err := config.ParseLevel(name, &least); err != nil {
			return &localapi.Error{Code: localapi.CodeUsage, Cause: fmt.Sprintf("show log: level %s", err), Remedy: "give one of debug, info, warn, error"}
		}
	}
	if in.GetSince() != nil && in.GetSince().CheckValid() != nil {
		return &localapi.Error{Code: localapi.CodeUsage, Cause: "show log: the time is not valid"}
	}
	if s.config.Logs == nil {
		return &localapi.Error{Code: localapi.CodeGeneric, Cause: "show log: this daemon keeps none", Remedy: "look at " + daemonLog}
	}
	since := s.readsSince(stream.Context())
	if asked := in.GetSince(); asked != nil && asked.AsTime().After(since) {
		since = asked.AsTime()
	}
	return s.sendLogs(stream, least, since, in.GetFollow())
}

// mayStillRead says that nobody else has got the tunnel meanwhile.
func (s *Service) mayStillRead(ctx context.Context) error {
	if caller, known := localapi.CallerFrom(ctx); known {
		return s.rule().Authorize(caller, localapi.Read)
	}
	return nil
}

func (s *Service) sendLogs(stream localv1.DRPCLocal_WatchLogsStream, least slog.Level, since time.Time, follow bool) error {
	ctx, logs := stream.Context(), s.config.Logs
	batch, at, dropped := make([]logEntry, 0, logBatch), logs.oldest(), uint64(0)
	for ctx.Err() == nil {
		written := logs.written.next()
		if err := s.mayStillRead(ctx); err != nil {
			return err
		}
		found, next, lost := logs.read(at, batch)
		at, dropped = next, dropped+lost
		for _, entry := range found {
			if entry.level < least || entry.time.Before(since) {
				continue
			}
			message := entry.wire()
			message.Dropped, dropped = dropped, 0
			if err := stream.Send(message); err != nil {
				return fmt.Errorf("send log: %w", err)
			}
		}
		switch {
		case len(found) > 0:
		case !follow:
			return nil
		default:
			sleep(ctx, written, 0)
		}
	}
	return ctx.Err()
}

// wire is the entry in the words of the local API.
func (e logEntry) wire() *localv1.LogEntry {
	out := &localv1.LogEntry{Time: timestamppb.New(e.time), Level: levelWord(e.level), Message: validText(e.message)}
	for _, field := range e.fields {
		out.Fields = append(out.Fields, &localv1.Variable{Name: validText(field.name), Value: validText(field.value)})
	}
	return out
}

// levelWord is the level as the setting has it; what lies between two is the
// lower one.
func levelWord(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "debug"
	case level < slog.LevelWarn:
		return "info"
	case level < slog.LevelError:
		return "warn"
	}
	return "error"
}

// validText is what protobuf takes: what is logged may come from anywhere.
func validText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }
