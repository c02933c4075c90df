package platform

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	netwatch "github.com/causewayhq/causeway/netcfg/watch"
)

// fileEvents are what can change what a name in a directory stands for,
// from inotify(7). Files are replaced by renaming, so directories are watched.
const fileEvents = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_CREATE | unix.IN_ONLYDIR

// anyFile as the last element of a path stands for every file in the directory.
const anyFile = "*"

// maxLinks is the kernel's limit of symbolic links in a path.
const maxLinks = 40

// fileWatch tells of changes to a few files, by whoever and in whatever way.
type fileWatch struct {
	paths map[string]netwatch.Notice // what a change of each means
	file  *os.File

	mu    sync.Mutex
	names map[int32]map[string]netwatch.Notice // by watch descriptor
}

func openFileWatch(paths map[string]netwatch.Notice) (*fileWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open inotify: %w", err)
	}
	w := &fileWatch{paths: paths, file: os.NewFile(uintptr(fd), "inotify")}
	w.refresh()
	return w, nil
}

// refresh follows the symbolic links anew. A directory that is not there or
// cannot be watched is left for the next time; the audit sees what it hides.
func (w *fileWatch) refresh() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names = map[int32]map[string]netwatch.Notice{}
	connection, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	_ = connection.Control(func(fd uintptr) {
		for path, notice := range w.paths {
			for _, hop := range hops(path) {
				// Watching a directory again gives the same descriptor.
				wd, err := unix.InotifyAddWatch(int(fd), filepath.Dir(hop), fileEvents)
				if err != nil {
					continue
				}
				if w.names[int32(wd)] == nil {
					w.names[int32(wd)] = map[string]netwatch.Notice{}
				}
				w.names[int32(wd)][filepath.Base(hop)] = notice
			}
		}
	})
}

// hops are the path and what it leads to, link by link.
func hops(path string) []string {
	list := []string{path}
	for range maxLinks {
		link, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = link
		list = append(list, path)
	}
	return list
}

// concerns tells what a batch of events means, 0 if it is about none of the files.
func (w *fileWatch) concerns(batch []byte) (notice netwatch.Notice) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range fileChanges(batch) {
		names := w.names[e.wd]
		n := cmp.Or(names[e.name], names[anyFile])
		if e.wd == -1 || n == netwatch.Own { // -1: events were lost (IN_Q_OVERFLOW)
			return netwatch.Own
		}
		notice = cmp.Or(notice, n)
	}
	return notice
}

// fileChange is the part of struct inotify_event that is of use.
type fileChange struct {
	wd   int32
	name string
}

// fileChanges reads a batch; whatever is damaged ends it.
func fileChanges(batch []byte) []fileChange {
	var list []fileChange
	for len(batch) >= unix.SizeofInotifyEvent {
		length := uint64(binary.NativeEndian.Uint32(batch[12:]))
		end := unix.SizeofInotifyEvent + length
		if end > uint64(len(batch)) {
			break
		}
		name := batch[unix.SizeofInotifyEvent:end]
		if i := bytes.IndexByte(name, 0); i >= 0 {
			name = name[:i]
		}
		list = append(list, fileChange{wd: int32(binary.NativeEndian.Uint32(batch)), name: string(name)})
		batch = batch[end:]
	}
	return list
}

// watchFiles reads until the watch is closed.
func (o *OS) watchFiles(ctx context.Context, w *fileWatch, notices chan<- netwatch.Notice) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, os.ErrClosed) {
				o.log.Error("lost the messages of changed files", slog.String("error", err.Error()))
			}
			return
		}
		notice := w.concerns(buffer[:n])
		if notice == 0 {
			continue
		}
		w.refresh()
		select {
		case notices <- notice:
		case <-ctx.Done():
			return
		}
	}
}
