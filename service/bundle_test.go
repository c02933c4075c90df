package service

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// collected are the files of the daemon's part.
func collected(t *testing.T, call *localapi.Client, in *localv1.CollectBundleRequest) map[string]string {
	t.Helper()
	stream, err := call.CollectBundle(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for {
		file, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[file.GetName()] = string(file.GetData())
	}
}

func TestCollectBundle(t *testing.T) {
	r := newRig(t)
	logger := r.withLogs()
	_, call, _ := r.start(t)
	if _, err := call.Login(t.Context(), &localv1.LoginRequest{
		Url: "https://coder.example.com", Token: goodToken, Profile: "work", Proxy: "http://me:proxy-pass-77@proxy.example.com:3128",
		Headers: []*localv1.Header{{Name: "X-Access", Value: "header-value-88"}},
	}); err != nil {
		t.Fatal(err)
	}
	private := strings.Repeat("5a", 32)
	if err := os.MkdirAll(filepath.Join(r.config.StateDir, "tunnel"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.config.StateDir, "tunnel", "tunnel.json"), []byte(`{"identity":{"node":"privkey:`+private+`","disco":"`+strings.Repeat("6b", 32)+`"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	logger.Info("careless", slog.String("a", "saw "+goodToken), slog.String("b", "x"+hex.EncodeToString([]byte("header-value-88"))),
		slog.String("c", private), slog.String("d", "by proxy-pass-77"), slog.String("name", "alice of coder.example.com at 10.9.8.7"))
	files := collected(t, call, &localv1.CollectBundleRequest{})
	for _, name := range []string{"version.json", "status.json", "settings.json", "log.ndjson", "goroutines.txt", "state-files.txt", "metrics.prom", "network/interfaces.txt"} {
		if files[name] == "" {
			t.Errorf("%s is missing of %v", name, slices.Collect(func(yield func(string) bool) {
				for name := range files {
					yield(name)
				}
			}))
		}
	}
	for name, text := range files {
		for _, secret := range []string{goodToken, "proxy-pass-77", "header-value-88", private, strings.Repeat("6b", 32), hex.EncodeToString([]byte("header-value-88"))} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds %s", name, secret)
			}
		}
		if strings.HasSuffix(name, ".json") && !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON: %s", name, text)
		}
	}
	if !strings.Contains(files["log.ndjson"], "careless") || !strings.Contains(files["log.ndjson"], "alice of coder.example.com at 10.9.8.7") || !strings.Contains(files["goroutines.txt"], "CollectBundle") {
		t.Error("what is no secret has gone too")
	}
	strict := collected(t, call, &localv1.CollectBundleRequest{Strict: true, Salt: []byte("0123456789abcdef")})
	for name, text := range strict {
		for _, known := range []string{"alice", "coder.example.com", "10.9.8.7", goodToken} {
			if strings.Contains(text, known) {
				t.Errorf("strict: %s holds %s", name, known)
			}
		}
	}
	if !strings.Contains(strict["log.ndjson"], "careless") {
		t.Error("strict: the log has gone")
	}
}
