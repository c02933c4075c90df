package main

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayhq/causeway/localapi"
)

// planted are the secrets of the test, by where they are.
var planted = map[string]string{
	"token":                          alicesToken,
	"header of the profile":          "hdr-7Qw2-planted-value",
	"password of the profile":        "prof-pass-5Rt8",
	"password of the machine":        "mach/pass+9Yu3",
	"argument of the header command": "X-Command=cmd-arg-3Kp6",
	"WireGuard key, file of tunnel":  "1f8e2d7c3b6a59480716253443526170fedcba98765432100123456789abcdef",
	"disco key, file of the tunnel":  "a0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeeff",
	"WireGuard key, in base64":       "kM9vXqT2cRzL4hYwPnB7sJ1dFgA6uEoI3tVx8yZrCkQ=",
	"environment of the command":     "cli-env-4Jm1-value",
	"proxy, environment of command":  "cli-proxy-pass-8Nb5",
	"proxy, environment of daemon":   "env-proxy-pass-2Vc7",
	"one-time code in the log":       "BCDF-GHJK-LMNP",
	"bearer in the log":              "bearer-6Hg4-zzzzzz",
	"cookie in the log":              "cookie-1Fd9-yyyyyy",
	"URL in the log":                 "url-pass-0Xs2-wwww",
}

// forms are the ways in which a secret can be written. They are made otherwise
// than by what is tested.
func forms(secret string) [][]byte {
	out := [][]byte{
		[]byte(secret), []byte(hex.EncodeToString([]byte(secret))), []byte(strings.ToUpper(hex.EncodeToString([]byte(secret)))),
		[]byte(url.QueryEscape(secret)), []byte(url.PathEscape(secret)),
	}
	// In base64, with nothing, one or two bytes before it; the last letters depend on
	// what follows.
	for before := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
		from := []int{0, 2, 3}[before]
		whole := (before + len(secret)) / 3 * 4
		out = append(out, []byte(text[from:whole]), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(text[from:whole])))
	}
	if raw, err := hex.DecodeString(secret); err == nil { // a key in other digits
		out = append(out, raw, []byte(base64.StdEncoding.EncodeToString(raw)))
	}
	return out
}

// leaks names the secrets that stand in any file.
func leaks(files map[string][]byte, secrets map[string]string) []string {
	var found []string
	for name, data := range files {
		for where, secret := range secrets {
			if slices.ContainsFunc(forms(secret), func(form []byte) bool { return bytes.Contains(data, form) }) {
				found = append(found, where+" in "+name)
			}
		}
	}
	return found
}

// unpack reads every file of an archive.
func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	archive, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	files := map[string][]byte{}
	for _, file := range archive.File {
		reader, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		files[file.Name] = append([]byte(file.Name+"\n"+file.Comment+"\n"), data...)
	}
	return files
}

// plantCA writes an authority's certificate and its private key beside it, and
// returns the key's lines as secrets.
func plantCA(t *testing.T, dir string) (path string, secrets map[string]string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "planted"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	path = filepath.Join(dir, "ca.pem")
	for name, data := range map[string][]byte{path: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), filepath.Join(dir, "ca.key"): private} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secrets = map[string]string{}
	for i, line := range strings.Split(strings.TrimSpace(string(private)), "\n") {
		if !strings.HasPrefix(line, "-----") {
			secrets[fmt.Sprintf("line %d of the authority's key", i)] = line
		}
	}
	return path, secrets
}

// plant fills the machine with secrets and starts its daemon.
func plant(t *testing.T, m *machine) map[string]string {
	t.Helper()
	authority, secrets := plantCA(t, m.dir)
	for where, secret := range planted {
		secrets[where] = secret
	}
	settings := fmt.Sprintf("ca-file: %s\nproxy: http://me:%s@127.0.0.1:8080\nheader-command: /bin/echo %s\n",
		authority, url.QueryEscape(planted["password of the machine"]), planted["argument of the header command"])
	files := map[string]string{
		filepath.Join(m.dir, "causeway.yaml"): settings,
		filepath.Join(m.state, "tunnel", "old.json"): fmt.Sprintf(`{"version":1,"identity":{"node":"privkey:%s","disco":"%s","port":1}}`,
			planted["WireGuard key, file of tunnel"], planted["disco key, file of the tunnel"]),
		filepath.Join(m.state, "old-wg.conf"): "[Interface]\nPrivateKey = " + planted["WireGuard key, in base64"] + "\n",
	}
	if err := os.MkdirAll(filepath.Join(m.state, "tunnel"), 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("CAUSEWAY_CONFIG", filepath.Join(m.dir, "causeway.yaml"))
	t.Setenv("HTTPS_PROXY", "http://me:"+planted["proxy, environment of daemon"]+"@127.0.0.1:1")
	m.start(t)
	m.ok(t, root, "Login", fmt.Sprintf(`{"url":"http://127.0.0.1:8080","token":%q,"profile":"work","proxy":"http://me:%s@127.0.0.1:8080","headers":[{"name":"X-Access","value":%q}]}`,
		alicesToken, planted["password of the profile"], planted["header of the profile"]), nil)
	m.ok(t, root, "Up", "{}", nil)
	for _, reason := range []string{
		"careless: " + planted["one-time code in the log"] + " and Authorization: Bearer " + planted["bearer in the log"],
		"careless: Cookie: session=" + planted["cookie in the log"], "careless: https://me:" + planted["URL in the log"] + "@host.example/",
		"careless: " + alicesToken + " " + hex.EncodeToString([]byte(planted["header of the profile"])) + " " +
			base64.StdEncoding.EncodeToString([]byte("x"+planted["password of the profile"])) + " " + url.QueryEscape(planted["password of the machine"]),
		"careless: " + planted["WireGuard key, file of tunnel"] + " " + planted["WireGuard key, in base64"],
	} {
		m.ok(t, root, "Down", fmt.Sprintf(`{"reason":%q}`, reason), nil)
	}
	// What the tunnel made of its own counts too.
	if err := filepath.WalkDir(m.state, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for i, key := range regexp.MustCompile(`privkey:([0-9a-f]{64})`).FindAllSubmatch(data, -1) {
			secrets[fmt.Sprintf("key %d in %s", i, filepath.Base(path))] = string(key[1])
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return secrets
}

// TestBundleHoldsNoSecret plants secrets wherever the daemon and the command have
// any, runs the command, and looks for each in every byte of what it made.
func TestBundleHoldsNoSecret(t *testing.T) {
	m := newMachine(t)
	if err := os.Link(filepath.Join(m.bin, "causewayd"), filepath.Join(m.bin, "causeway")); err != nil {
		t.Fatal(err)
	}
	secrets := plant(t, m)
	// The test itself sees what it looks for.
	if logged := leaks(map[string][]byte{"log": []byte(m.log.String())}, planted); len(logged) < 7 {
		t.Errorf("the daemon's own log holds only %v: nothing was planted there", logged)
	}
	for _, level := range []string{"default", "strict"} {
		t.Run(level, func(t *testing.T) {
			path := filepath.Join(m.dir, level+".zip")
			command := exec.CommandContext(t.Context(), filepath.Join(m.bin, "causeway"), "--socket", m.socket, "bundle", "-o", path, "--redact", level)
			command.Env = append(os.Environ(), "MY_API_TOKEN="+planted["environment of the command"], "HTTPS_PROXY=me:"+planted["proxy, environment of command"]+"@127.0.0.1:1")
			output, err := command.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, output)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v: others can read it", info.Mode(), err)
			}
			files := unpack(t, path)
			files["what the command said"] = output
			if found := leaks(files, secrets); len(found) > 0 {
				t.Errorf("it holds %s", strings.Join(found, ", "))
			}
			for name, want := range map[string]string{
				"daemon/log.ndjson": "careless", "daemon/status.json": "state", "daemon/goroutines.txt": "goroutine 1", "daemon/settings.json": "header-command",
				"daemon/state-files.txt": "old-wg.conf", "daemon/metrics.prom": "causeway_wanted_up 0", "daemon/network/interfaces.txt": "lo",
				"daemon/network/routes.txt": "", "daemon/version.json": "causewayd", "cli/doctor.json": "checks", "cli/environment.json": "HTTPS_PROXY", "README.txt": "not sent anywhere",
			} {
				if data, there := files[name]; !there || !bytes.Contains(data, []byte(want)) {
					t.Errorf("%s: there %v, without %q", name, there, want)
				}
			}
			if level == "strict" && bytes.Contains(files["daemon/status.json"], []byte("user-a")) {
				t.Error("the user's name is left")
			}
			// And it would see one that came through, in each form.
			for where, secret := range planted {
				for i, form := range forms(secret) {
					files["daemon/log.ndjson"] = append([]byte("x"), form...)
					if found := leaks(files, map[string]string{where: secret}); len(found) == 0 {
						t.Errorf("form %d of %s is not seen", i, where)
					}
				}
			}
		})
	}
}

// TestBundleOfAnother: who has no right to the tunnel gets nothing of it.
func TestBundleOfAnother(t *testing.T) {
	m := newMachine(t)
	m.start(t)
	m.ok(t, root, "Login", signIn(alicesToken, alice, "work"), nil)
	for _, method := range []string{"CollectBundle", "WatchLogs", "GetMetrics", "ListChanges", "GetSettings"} {
		if answer := m.as(t, carol, method, "{}"); answer.Code != localapi.CodePermission {
			t.Errorf("%s: %+v", method, answer)
		}
		if answer := m.as(t, alice, method, "{}"); answer.Code != 0 {
			t.Errorf("%s by the owner: %+v", method, answer)
		}
	}
}
