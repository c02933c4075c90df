package tailnet

import (
	"bytes"
	"net/http"
)

// PathsPage is upstream's page about its paths to peers, in HTML.
func (e *Engine) PathsPage() []byte {
	// Upstream holds its locks while it writes, so it does not get to write to
	// whoever reads the page.
	page := &page{header: http.Header{}}
	e.magic.ServeHTTPDebug(page, nil)
	return page.Bytes()
}

// SetPathLogging makes upstream log each step on its paths, at level debug.
func (e *Engine) SetPathLogging(on bool) { e.magic.SetDebugLoggingEnabled(on) }

// page is an answer that stays in memory.
type page struct {
	bytes.Buffer
	header http.Header
}

func (p *page) Header() http.Header { return p.header }
func (p *page) WriteHeader(int)     {}
