package sshd

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

// bannerLimit bounds each text that a login shell shows first.
const bannerLimit = 64 << 10

// preface is what a login shell shows before anything else: the deployment's
// banners, then the workspace's message of the day, which people silence with
// a file in their home directory.
func (s *Server) preface() string {
	var text strings.Builder
	if s.config.Banners != nil {
		for _, banner := range s.config.Banners() {
			writeLines(&text, banner)
			text.WriteString("\r\n")
		}
	}
	if s.config.MOTD == nil {
		return text.String()
	}
	if _, err := os.Stat(filepath.Join(s.home(), ".hushlogin")); err == nil {
		return text.String()
	}
	writeLines(&text, readText(s.config.MOTD()))
	return text.String()
}

// readText is the begin of a regular file; what cannot be read is not shown.
func readText(path string) string {
	if info, err := os.Stat(path); path == "" || err != nil || !info.Mode().IsRegular() {
		return ""
	}
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, bannerLimit))
	if err != nil {
		return ""
	}
	return string(content)
}

// writeLines ends each line as a terminal in raw mode needs it.
func writeLines(to *strings.Builder, text string) {
	if text == "" {
		return
	}
	text = strings.TrimSuffix(text[:min(len(text), bannerLimit)], "\n")
	for line := range strings.SplitSeq(text, "\n") {
		to.WriteString(strings.TrimSuffix(line, "\r") + "\r\n")
	}
}
