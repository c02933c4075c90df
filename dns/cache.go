package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// cacheDelay gathers the changes of a busy moment into one write.
	cacheDelay = time.Second
	// maxCacheEntries is ten times the largest deployment that we measure.
	maxCacheEntries = 100_000
	// maxCacheBytes is room for as many names of an ordinary length.
	maxCacheBytes = 16 << 20
)

// Why a cache is not used. In each case the file is ignored as a whole: names
// that might belong to another user or deployment are worse than none.
var (
	// ErrCacheCorrupt means that the file is not as it was written.
	ErrCacheCorrupt = errors.New("name cache is corrupt")
	// ErrCacheVersion means that another version of Causeway wrote it.
	ErrCacheVersion = errors.New("name cache has another version")
	// ErrCacheForeign means that it belongs to another deployment or user.
	ErrCacheForeign = errors.New("name cache belongs to another deployment or user")
	// ErrCacheTooLarge means that it has more names or bytes than is allowed.
	ErrCacheTooLarge = errors.New("name cache is too large")
)

// CacheOwner is whose names they are.
type CacheOwner struct {
	// Deployment is what identifies the control plane, such as its access URL.
	Deployment string
	// User is the id of the signed-in user.
	User string
}

// Names is what is kept: the suffixes, and the hosts that the tunnel itself is
// the authority for. Never answers of other servers.
type Names struct {
	Suffixes []string
	Hosts    map[string]netip.Addr
}

// Cache keeps names in a file, so that the first query after a restart can be
// answered at once. Its owner calls Close, which writes what is outstanding.
// Answers from it have the same short TTL as live ones; a name that live data
// lack goes when the caller publishes live data.
type Cache struct {
	path   string
	owner  CacheOwner
	logger *slog.Logger
	wake   chan struct{}
	done   context.Context
	stop   context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	pending *Names
	err     error // of the last background write

	writing sync.Mutex // one write at a time
	last    []byte     // what is in the file, as far as we wrote it
}

// NewCache makes a cache for the file, in a directory that exists and that only
// we can write. It reads and writes nothing yet.
func NewCache(path string, owner CacheOwner, logger *slog.Logger) *Cache {
	c := &Cache{path: path, owner: owner, logger: logger, wake: make(chan struct{}, 1)}
	c.done, c.stop = context.WithCancel(context.Background())
	c.ended.Go(c.run)
	return c
}

// Load reads the names. The error is one of the above, fs.ErrNotExist, or that
// of the file system; all mean to start without names.
func (c *Cache) Load() (Names, error) {
	content, err := readBounded(c.path)
	if err != nil {
		return Names{}, fmt.Errorf("load name cache %s: %w", c.path, err)
	}
	names, err := decodeCache(content, c.owner)
	if err != nil {
		return Names{}, fmt.Errorf("load name cache %s: %w", c.path, err)
	}
	return names, nil
}

func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path) // before opening: a pipe would block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, ErrCacheCorrupt
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxCacheBytes+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxCacheBytes {
		return nil, ErrCacheTooLarge
	}
	return content, nil
}

// Save writes the names at once, in one step, readable by us alone. What is the
// same as last time is not written again.
func (c *Cache) Save(names Names) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.save(names)
}

func (c *Cache) save(names Names) error {
	content, err := encodeCache(names, c.owner)
	if err != nil {
		return fmt.Errorf("save name cache %s: %w", c.path, err)
	}
	if c.last != nil && string(c.last) == string(content) {
		return nil
	}
	if err := writeAtomically(c.path, content); err != nil {
		return fmt.Errorf("save name cache %s: %w", c.path, err)
	}
	c.last = content
	return nil
}

// Put saves the names a second from now, together with what else changes until
// then; the last call wins. It copies the names and does not block on the disk.
func (c *Cache) Put(names Names) {
	own := Names{Suffixes: slices.Clone(names.Suffixes), Hosts: maps.Clone(names.Hosts)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = &own
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Err is the error of the last write in the background, nil if it succeeded.
func (c *Cache) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Remove deletes the file and forgets what is outstanding: for a user who signs
// out. That there is no file is no error.
func (c *Cache) Remove() error {
	c.mu.Lock()
	c.pending = nil
	c.mu.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	c.last = nil
	for _, path := range []string{cacheTemp(c.path), c.path} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove name cache: %w", err)
		}
	}
	return nil
}

// Close writes what is outstanding and ends the goroutine. The error is that
// of the last write.
func (c *Cache) Close() error {
	c.stop()
	c.ended.Wait()
	return c.Err()
}

func (c *Cache) run() {
	for {
		select {
		case <-c.done.Done():
			c.flush()
			return
		case <-c.wake:
		}
		timer := time.NewTimer(cacheDelay)
		select {
		case <-c.done.Done():
		case <-timer.C:
		}
		timer.Stop()
		c.flush()
	}
}

// flush takes what is outstanding while it holds the right to write, so that
// Remove comes either before or after both.
func (c *Cache) flush() {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	names := c.pending
	c.pending = nil
	c.mu.Unlock()
	if names == nil {
		return
	}
	err := c.save(*names)
	c.mu.Lock()
	told := c.err != nil
	c.err = err
	c.mu.Unlock()
	if err != nil && !told { // a row of failures is one message
		c.logger.Warn("names cannot be kept for the next start", slog.Any("error", err))
	}
}

// cacheTemp is one fixed name: what a crash leaves is overwritten by the next
// write.
func cacheTemp(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
}

func writeAtomically(path string, content []byte) error {
	temp := cacheTemp(path)
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		os.Remove(temp)
	}
	return err
}
