package tunnel

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/causewayhq/causeway/client"
	"github.com/causewayhq/causeway/control"
	"github.com/causewayhq/causeway/proto"
	"github.com/causewayhq/causeway/proto/tailnetv2"
	"github.com/causewayhq/causeway/workspace"
)

func profile() Profile {
	return Profile{URL: &url.URL{Scheme: "https", Host: "plane.test"}, Token: "alice-token"}
}

func full(t *testing.T) saved {
	t.Helper()
	kept := fresh(profile())
	kept.User, kept.Suffix = client.User{ID: uuid.New(), Username: "alice"}, "coder"
	kept.Resume = control.ResumeToken{Token: "resume", Expires: time.Now().Round(0).UTC()}
	kept.Relays.RelayMap = proto.RelayMapFromProto(&tailnetv2.DERPMap{Regions: map[int64]*tailnetv2.DERPMap_Region{
		1: {RegionId: 1, EmbeddedRelay: true, Nodes: []*tailnetv2.DERPMap_Region_Node{{Name: "1a", RegionId: 1, ForceHttp: true}}},
	}})
	state, _, err := (&workspace.State{}).Apply(snapshot("main", "myws"), true)
	if err != nil {
		t.Fatal(err)
	}
	kept.Workspaces, kept.AsOf = state, time.Now().Round(0).UTC()
	kept.Active, kept.Nodes = []uuid.UUID{uuid.New()}, map[uuid.UUID][]byte{uuid.New(): {1, 2}}
	return kept
}

func TestSaveAndLoad(t *testing.T) {
	disk, err := openStore(filepath.Join(t.TempDir(), "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if _, found, err := disk.load(); found || err != nil {
		t.Fatalf("an empty directory gave %v, %v", found, err)
	}
	kept := full(t)
	if err := disk.save(kept); err != nil {
		t.Fatal(err)
	}
	back, found, err := disk.load()
	if err != nil || !found {
		t.Fatal(found, err)
	}
	want, _ := json.Marshal(kept)
	got, _ := json.Marshal(back)
	if !bytes.Equal(want, got) {
		t.Errorf("came back as\n%s, want\n%s", got, want)
	}
	if !back.Relays.Equal(kept.Relays.RelayMap) || !back.Relays.PlainHTTP["1a"] || !back.Identity.Disco.Equal(kept.Identity.Disco) {
		t.Error("relay map or keys changed")
	}
	if bytes.Contains(want, []byte("alice-token")) {
		t.Error("the session token is on disk")
	}
	entries, _ := os.ReadDir(disk.dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", entry.Name(), info.Mode())
		}
	}
	if len(entries) != 1 {
		t.Errorf("%d files were left", len(entries))
	}
}

func TestCorruptStateIsIgnoredWhole(t *testing.T) {
	disk, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.save(full(t)); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(disk.path())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]byte{
		"empty":           {},
		"truncated":       good[:len(good)/2],
		"not JSON":        []byte("hello"),
		"flipped letter":  bytes.Replace(good, []byte("myws"), []byte("mywt"), 1),
		"later version":   bytes.Replace(good, []byte(`"version":1`), []byte(`"version":9`), 1),
		"empty body":      []byte(`{"version":1,"sha256":"` + sum([]byte("{}")) + `","body":{}}`),
		"body of a wrong": []byte(`{"version":1,"sha256":"` + sum([]byte("[]")) + `","body":[]}`),
	}
	for name, data := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(disk.path(), data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, found, err := disk.load()
			if found || !errors.Is(err, errCorrupt) || !strings.Contains(err.Error(), disk.path()) {
				t.Errorf("got %v, %v", found, err)
			}
		})
	}
	if err := os.Remove(disk.path()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(disk.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := disk.load(); !errors.Is(err, errCorrupt) {
		t.Errorf("a directory in place of the file: %v", err)
	}
}

func TestStartWithCorruptState(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, newPlane(t), dir).start()
	r.waitState(Connected)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, found, err := (store{dir}).load(); !found || err != nil {
		t.Errorf("afterwards %v, %v", found, err)
	}
}

func TestStateBelongsToItsUser(t *testing.T) {
	kept := full(t)
	other := profile()
	other.Token = "new token"
	elsewhere := profile()
	elsewhere.URL = &url.URL{Scheme: "https", Host: "other.test"}
	known := other
	known.User = kept.User
	stranger := profile()
	stranger.User.ID = uuid.New()
	tests := []struct {
		name    string
		profile Profile
		want    bool
	}{
		{"same token", profile(), true},
		{"another token of an unknown user", other, false},
		{"another token of the same user", known, true},
		{"another deployment", elsewhere, false},
		{"another user", stranger, false},
	}
	for _, test := range tests {
		if got := kept.belongs(test.profile); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestOpenStoreClosesTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := openStore(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version":1,"sha256":"","body":{}}`), []byte(`{"Suffix":"coder","Relays":{"regions":{"1":{"nodes":[{}]}}},"Workspaces":{"version":1}}`))
	f.Fuzz(func(_ *testing.T, file, body []byte) {
		_, _ = decodeSaved(file)
		data, err := json.Marshal(envelope{Version: fileVersion, Sum: sum(body), Body: body})
		if err == nil {
			_, _ = decodeSaved(data)
		}
	})
}
