package cli

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// scriptUser is the user's number in the scripts: root, unless USER_ID says
// otherwise.
func scriptUser() int {
	number, err := strconv.Atoi(os.Getenv("USER_ID"))
	if err != nil {
		return 0
	}
	return number
}

// besideStandIn shows what a program beside this one was run with, and ends with
// the exit code that EXIT_CODE says.
func besideStandIn() {
	if out := os.Getenv("BESIDE_SAYS"); out != "" {
		fmt.Println(out)
	} else {
		fmt.Println(strings.Join(os.Args[1:], "|"))
	}
	code, _ := strconv.Atoi(os.Getenv("EXIT_CODE"))
	os.Exit(code)
}

func (f *fakeDaemon) WatchLogs(in *localv1.WatchLogsRequest, stream localv1.DRPCLocal_WatchLogsStream) error {
	at := time.Date(2026, 11, 22, 16, 0, 0, 0, time.UTC)
	entries := []*localv1.LogEntry{
		{Time: timestamppb.New(at), Level: "info", Message: "daemon started", Fields: []*localv1.Variable{{Name: "version", Value: "v1.2.3"}}},
		{Time: timestamppb.New(at.Add(time.Second)), Level: "error", Message: "tunnel failed\x1b[2J", Fields: []*localv1.Variable{{Name: "error", Value: "it broke"}, {Name: "none"}}, Dropped: 7},
	}
	for _, entry := range entries {
		if in.GetLevel() == "error" && entry.GetLevel() != "error" || in.GetSince() != nil && entry.GetTime().AsTime().Before(in.GetSince().AsTime()) {
			continue
		}
		if err := stream.Send(entry); err != nil {
			return err
		}
	}
	if in.GetFollow() {
		<-stream.Context().Done()
	}
	return nil
}

func (f *fakeDaemon) SetLogLevel(_ context.Context, in *localv1.SetLogLevelRequest) (*localv1.SetLogLevelResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.levels = append(f.levels, in.GetLevel()+" "+in.GetFor().AsDuration().String())
	return &localv1.SetLogLevelResponse{}, nil
}

func (f *fakeDaemon) GetMetrics(context.Context, *localv1.GetMetricsRequest) (*localv1.GetMetricsResponse, error) {
	return &localv1.GetMetricsResponse{Text: "# HELP causeway_wanted_up Help.\n# TYPE causeway_wanted_up gauge\ncauseway_wanted_up 1\n"}, nil
}

func (f *fakeDaemon) ListChanges(context.Context, *localv1.ListChangesRequest) (*localv1.ListChangesResponse, error) {
	status := f.get()
	if !status.GetWantedUp() && status.GetProfile() != "left" {
		return &localv1.ListChangesResponse{}, nil
	}
	return &localv1.ListChangesResponse{Changes: []*localv1.Change{{Kind: "route", What: "fd60::/48 on causeway0"}, {Kind: "hosts", What: "/etc/hosts"}}}, nil
}

func (f *fakeDaemon) GetSettings(context.Context, *localv1.GetSettingsRequest) (*localv1.GetSettingsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &localv1.GetSettingsResponse{Settings: []*localv1.Setting{
		{Name: "interface", Value: "causeway0", Source: "default", Doc: "name of the TUN interface"},
		{Name: "log-level", Value: "info", Source: "default", Live: true, Doc: "least severe level that is logged"},
		{Name: "telemetry", Value: "false", Source: "file", Locked: true, Live: true, Doc: "tell the control plane"},
		{Name: "ca-file", Source: "default", Doc: "authorities"},
	}}
	for _, setting := range out.GetSettings() {
		if value, set := f.settings[setting.GetName()]; set {
			setting.Value, setting.Source = value, "set"
		}
	}
	return out, nil
}

func (f *fakeDaemon) SetSettings(_ context.Context, in *localv1.SetSettingsRequest) (*localv1.SetSettingsResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, locked := in.GetValues()["telemetry"]; locked {
		return nil, &localapi.Error{Code: localapi.CodePermission, Cause: `set "telemetry": it is set where only an administrator changes it (file)`, Remedy: "change it there, and restart causewayd"}
	}
	if f.settings == nil {
		f.settings = map[string]string{}
	}
	for name, value := range in.GetValues() {
		f.settings[name] = value
	}
	for _, name := range in.GetUnset() {
		delete(f.settings, name)
	}
	return &localv1.SetSettingsResponse{}, nil
}

func (f *fakeDaemon) CollectBundle(in *localv1.CollectBundleRequest, stream localv1.DRPCLocal_CollectBundleStream) error {
	for name, text := range map[string]string{"status.json": `{"state":"CONNECTED"}`, "../../etc/x.txt": "from the daemon, token=planted-token on myws\n"} {
		if err := stream.Send(&localv1.BundleFile{Name: name, Data: []byte(text)}); err != nil {
			return err
		}
	}
	return nil
}
