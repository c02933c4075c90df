package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// maxEntries of a directory are told, the rest is not; a picker shows no more.
	maxEntries = 10_000
	// maxDepth and maxName are what systems have: 255 bytes or letters in a name,
	// and 4 KiB in a path.
	maxDepth, maxName = 512, 1024
	// maxListings run at once, each for listingLimit: a file system that hangs
	// keeps its place until it answers, and no more than these.
	maxListings  = 8
	listingLimit = 10 * time.Second
)

type listRequest struct {
	Path       []string `json:"path"`
	Relativity string   `json:"relativity"` // home or root
}

type listing struct {
	AbsolutePath       []string `json:"absolute_path"`
	AbsolutePathString string   `json:"absolute_path_string"`
	Contents           []entry  `json:"contents"`
	// Truncated says that there are more than Limit.
	Truncated bool `json:"truncated"`
	Limit     int  `json:"limit"`
}

type entry struct {
	Name               string `json:"name"`
	AbsolutePathString string `json:"absolute_path_string"`
	IsDir              bool   `json:"is_dir"`
}

// errRequest is a request that makes no sense.
var errRequest = errors.New("wrong request")

// listDirectory tells what is in a directory, as the agent's user sees it. The
// request names it element by element, and each element is one step down: none
// leads up, aside, or to another kind of thing. Symbolic links on the way are
// followed, as they are by every program of the user.
func (s *Server) listDirectory(w http.ResponseWriter, r *http.Request) {
	var request listRequest
	decoder := json.NewDecoder(r.Body)
	if err := decoder.Decode(&request); err != nil {
		fail(w, http.StatusBadRequest, "The request is not the JSON that is expected.", err)
		return
	}
	select {
	case s.lists <- struct{}{}:
	default:
		fail(w, http.StatusServiceUnavailable, "Too many directories are being read.", nil)
		return
	}
	type outcome struct {
		listing listing
		err     error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-s.lists }()
		result, err := list(request)
		done <- outcome{result, err}
	}()
	ctx, cancel := context.WithTimeout(r.Context(), listingLimit)
	defer cancel()
	select {
	case result := <-done:
		if result.err != nil {
			fail(w, statusOf(result.err), "The directory cannot be listed.", result.err)
			return
		}
		write(w, http.StatusOK, result.listing)
	case <-ctx.Done():
		fail(w, http.StatusGatewayTimeout, "The file system does not answer.", nil)
	}
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errRequest):
		return http.StatusBadRequest
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, fs.ErrPermission):
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

func list(request listRequest) (listing, error) {
	path, err := resolve(request)
	if err != nil {
		return listing{}, err
	}
	if path == "" {
		return drives()
	}
	return read(path, maxEntries)
}

// resolve is the path that a request means; "" is above all drives.
func resolve(request listRequest) (string, error) {
	if len(request.Path) > maxDepth {
		return "", fmt.Errorf("%w: the path has more than %d elements", errRequest, maxDepth)
	}
	switch request.Relativity {
	case "root":
		return fromRoot(request.Path)
	case "home":
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find home directory: %w", err)
		}
		return below(home, request.Path)
	}
	return "", fmt.Errorf("%w: relativity is %.20q, want home or root", errRequest, request.Relativity)
}

// below goes down from a directory.
func below(base string, elements []string) (string, error) {
	for _, element := range elements {
		if element == "" || len(element) > maxName || element == "." || element == ".." || strings.ContainsAny(element, separators) || !filepath.IsLocal(element) {
			return "", fmt.Errorf("%w: %.40q is not the name of a file", errRequest, element)
		}
	}
	return filepath.Join(append([]string{base}, elements...)...), nil
}

func read(path string, limit int) (listing, error) {
	// A pipe or device would block whoever opens it.
	if about, err := os.Stat(path); err != nil {
		return listing{}, fmt.Errorf("look at directory: %w", err)
	} else if !about.IsDir() {
		return listing{}, fmt.Errorf("%w: %s is not a directory", errRequest, path)
	}
	directory, err := os.Open(path)
	if err != nil {
		return listing{}, fmt.Errorf("open directory: %w", err)
	}
	defer directory.Close()
	entries, err := directory.ReadDir(limit + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return listing{}, fmt.Errorf("read directory: %w", err)
	}
	result := listing{
		AbsolutePath: split(path), AbsolutePathString: path, Contents: []entry{}, Limit: limit, Truncated: len(entries) > limit,
	}
	for _, each := range entries[:min(len(entries), limit)] {
		full := filepath.Join(path, each.Name())
		result.Contents = append(result.Contents, entry{Name: each.Name(), AbsolutePathString: full, IsDir: isDirectory(full, each)})
	}
	slices.SortFunc(result.Contents, func(a, b entry) int { return strings.Compare(a.Name, b.Name) })
	return result, nil
}

// isDirectory follows links, as the next request would.
func isDirectory(path string, each fs.DirEntry) bool {
	if each.Type()&fs.ModeSymlink == 0 {
		return each.IsDir()
	}
	about, err := os.Stat(path)
	return err == nil && about.IsDir()
}
