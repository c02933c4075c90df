package terminal

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
)

// The emulator is vendored: nothing is fetched when the server is built or runs.
// scripts/xterm.sh brings another version, and the sums of what it brought.
//
//go:embed assets pages
var files embed.FS

// served are the files that browsers get, by name, with their types.
var served = map[string]string{
	"xterm.mjs": "text/javascript; charset=utf-8", "addon-fit.mjs": "text/javascript; charset=utf-8", "terminal.mjs": "text/javascript; charset=utf-8",
	"xterm.css": "text/css; charset=utf-8", "terminal.css": "text/css; charset=utf-8", "page.css": "text/css; charset=utf-8",
	"xterm.LICENSE": "text/plain; charset=utf-8", "addon-fit.LICENSE": "text/plain; charset=utf-8",
}

// assetsPath holds the hash of all files, so that browsers may keep each for ever.
var assetsPath = "/terminal-assets/" + assetsHash() + "/"

func assetsHash() string {
	var names []string
	for name := range served {
		names = append(names, name)
	}
	slices.Sort(names)
	sum := sha256.New()
	for _, name := range names {
		sum.Write(mustRead("assets/" + name))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

func mustRead(name string) []byte {
	content, err := fs.ReadFile(files, name)
	if err != nil {
		panic(err) // it is embedded
	}
	return content
}

// serveAsset answers for one file. They are no secret, and need no session.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	kind, found := served[name]
	if !found || strings.TrimPrefix(r.URL.Path, assetsPath) != name || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	head := w.Header()
	head.Set("Content-Type", kind)
	head.Set("Cache-Control", "public, max-age=31536000, immutable")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	// A failure here is the connection's, and there is nobody left to tell.
	_, _ = w.Write(mustRead("assets/" + name))
}
