package service

import (
	"bytes"
	"encoding/pem"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
	"github.com/causewayhq/causeway/proto/localv1"
)

// testCA is a certificate in PEM.
func testCA(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// TestFormat1IsTakenOver starts the daemon on a file of the format before.
func TestFormat1IsTakenOver(t *testing.T) {
	r := newRig(t)
	old, err := os.ReadFile("testdata/service-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	putState(t, r, string(old))
	s, _, stop := r.start(t)
	tunnel := r.tunnel(t)
	if string(tunnel.profile.Token) != goodToken || tunnel.profile.Owner.UID != aliceUID || tunnel.profile.Name != "coder.example.com" {
		t.Errorf("tunnel of %+v", tunnel.profile)
	}
	if !may(s, aliceUID, localapi.Operate) || !may(s, aliceUID, localapi.Read) || may(s, bobUID, localapi.Read) {
		t.Error("the owner of format 1 may not operate, or others may")
	}
	// What was kept stays as it was until something changes.
	if now, err := os.ReadFile(filepath.Join(r.config.StateDir, stateFile)); err != nil || !bytes.Equal(now, old) {
		t.Errorf("the file was rewritten without a change, %v", err)
	}
	if _, err := s.Down(as(t, aliceUID), &localv1.DownRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	loaded, err := loadState(r.config.StateDir)
	if err != nil || loaded.up || loaded.profile() == nil || loaded.profile().Name != "coder.example.com" || string(loaded.profile().Token) != goodToken {
		t.Errorf("state after a change %+v, %v", loaded, err)
	}
}

// TestFormat1WithoutAProfile keeps who may sign in.
func TestFormat1WithoutAProfile(t *testing.T) {
	loaded, err := decodeState([]byte(`{"version":1,"owner_uid":4321,"wanted_up":true}`))
	if err != nil || loaded.up || !loaded.operator(localapi.User{UID: aliceUID}) || loaded.profile() != nil {
		t.Errorf("%+v, %v", loaded, err)
	}
	loaded, err = decodeState([]byte(`{"version":1,"owner_sid":"S-1-5-21-1","profile":{"url":"https://h","token":"t"}}`))
	if err != nil || loaded.profile().Owner.SID != "S-1-5-21-1" {
		t.Errorf("%+v, %v", loaded, err)
	}
}

// fullProfile has every field set.
func fullProfile(t *testing.T) Profile {
	t.Helper()
	return Profile{
		ID: "1", Name: "corp", Owner: localapi.User{UID: aliceUID}, URL: &url.URL{Scheme: "https", Host: "h", Path: "/p"}, Token: "tok", User: "u", UserID: "i",
		Headers: Headers{"X-A": {"1", "2"}}, CA: testCA(t), Proxy: &url.URL{Scheme: "http", Host: "p:1", User: url.UserPassword("a", "b")},
		AtLogin: true, Expires: time.Unix(1700000000, 0),
	}
}

// TestStateSurvivesTheDisk writes all there is and reads it again.
func TestStateSurvivesTheDisk(t *testing.T) {
	first := state{up: true}
	other := fullProfile(t)
	other.ID, other.Owner = "2", localapi.User{SID: "S-1-5-21-7"}
	first.activate(other)
	first.activate(fullProfile(t))
	first.allow(localapi.User{UID: bobUID})
	first.allow(localapi.User{SID: "S-1-5-21-7"})
	dir := t.TempDir()
	if err := saveState(dir, first); err != nil {
		t.Fatal(err)
	}
	again, err := loadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range first.profiles {
		got := again.profiles[i]
		if !got.sameTunnel(p) || got.Token != p.Token || got.Name != p.Name || got.AtLogin != p.AtLogin || !got.Expires.Equal(p.Expires) || got.User != p.User {
			t.Errorf("profile %+v\nwant    %+v", got, p)
		}
	}
	if again.active != "1" || !again.up || len(again.operators) != 2 {
		t.Errorf("state %+v", again)
	}
}

// TestStateRefused: what this program would not have written is not believed.
func TestStateRefused(t *testing.T) {
	const profile = `{"id":"1","name":"a","owner":{"uid":7},"url":"https://h","token":"hunter2"`
	many := strings.Repeat(profile+`},`, maxProfiles+1)
	for name, text := range map[string]string{
		"no owner":            `{"version":2,"profiles":[{"id":"1","name":"a","url":"https://h"}]}`,
		"no id":               `{"version":2,"profiles":[{"name":"a","owner":{"uid":7},"url":"https://h"}]}`,
		"bad name":            `{"version":2,"profiles":[{"id":"1","name":"a/b","owner":{"uid":7},"url":"https://h"}]}`,
		"bad URL":             `{"version":2,"profiles":[{"id":"1","name":"a","owner":{"uid":7},"url":"hunter2"}]}`,
		"header with a break": `{"version":2,"profiles":[` + profile + `,"headers":{"X":["a\nhunter2: x"]}}]}`,
		"header of ours":      `{"version":2,"profiles":[` + profile + `,"headers":{"Coder-Session-Token":["hunter2"]}}]}`,
		"proxy of no scheme":  `{"version":2,"profiles":[` + profile + `,"proxy":"hunter2"}]}`,
		"authority is none":   `{"version":2,"profiles":[` + profile + `,"ca_pem":"hunter2"}]}`,
		"connect at what":     `{"version":2,"profiles":[` + profile + `,"connect_at":"noon"}]}`,
		"twice":               `{"version":2,"profiles":[` + profile + `},` + profile + `}]}`,
		"name twice":          `{"version":2,"profiles":[` + profile + `},` + strings.Replace(profile, `"1"`, `"2"`, 1) + `}]}`,
		"active is missing":   `{"version":2,"active":"9","profiles":[` + profile + `}]}`,
		"operator is nobody":  `{"version":2,"operators":[{}]}`,
		"too many":            `{"version":2,"profiles":[` + strings.TrimSuffix(many, ",") + `]}`,
		"field of format 1":   `{"version":2,"owner_uid":7}`,
		"field of format 2":   `{"version":1,"active":"x"}`,
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := decodeState([]byte(text))
			if err == nil {
				t.Fatalf("taken: %+v", loaded)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

// TestSecretsDoNotShow prints a profile in every way that a log or an error may.
func TestSecretsDoNotShow(t *testing.T) {
	p := fullProfile(t)
	p.Headers = Headers{"X-Access": {"hunter2"}}
	p.Token = "hunter2"
	var log bytes.Buffer
	for _, text := range []string{p.Headers.String(), p.Headers.GoString(), p.Headers.LogValue().String(), p.Token.String()} {
		log.WriteString(text)
	}
	if strings.Contains(log.String(), "hunter2") || !strings.Contains(log.String(), "X-Access") {
		t.Errorf("shown: %s", log.String())
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("X-A", "b")
	f.Add("X-A\r\nHost", "b")
	f.Add("transfer-encoding", "chunked")
	f.Add("sec-websocket-key", "x")
	f.Fuzz(func(t *testing.T, name, value string) {
		headers := Headers{}
		if headers.add(name, value) != nil {
			return
		}
		var wire bytes.Buffer
		for key, values := range headers {
			for _, one := range values {
				wire.WriteString(key + ": " + one + "\n")
			}
		}
		if strings.Count(wire.String(), "\n") != 1 || strings.ContainsAny(wire.String(), "\r\x00") {
			t.Errorf("%q=%q is %q on the wire", name, value, wire.String())
		}
	})
}
