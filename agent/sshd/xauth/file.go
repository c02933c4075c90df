package xauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	// lockPoll is the time between two looks at a lock that another holds (docs of
	// the protocol, 5.3).
	lockPoll = 100 * time.Millisecond
	// lockDead is the age at which a lock is its dead owner's; xauth(1) takes as
	// much.
	lockDead = 10 * time.Minute
	// fileLimit is far above any file of this kind: an entry has a hundred bytes.
	fileLimit = 1 << 20
)

// File is the path of an Xauthority file, which need not exist.
type File string

// Add puts the entry first, in the place of another one of its display. It
// waits for the file's lock as long as the context lasts.
func (f File) Add(ctx context.Context, entry Entry) error {
	return f.change(ctx, func(entries []Entry) []Entry {
		return slices.Insert(slices.DeleteFunc(entries, entry.sameDisplay), 0, entry)
	})
}

// Remove takes the entry away, if its cookie is still the display's.
func (f File) Remove(ctx context.Context, entry Entry) error {
	return f.change(ctx, func(entries []Entry) []Entry { return slices.DeleteFunc(entries, entry.equal) })
}

func (f File) change(ctx context.Context, edit func([]Entry) []Entry) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("change %s: %w", string(f), err)
		}
	}()
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	entries, err := f.read()
	if err != nil {
		return err
	}
	var content []byte
	for _, entry := range edit(entries) {
		if content, err = Append(content, entry); err != nil {
			return err
		}
	}
	return f.write(content)
}

func (f File) read() ([]Entry, error) {
	file, err := os.Open(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, fileLimit+1))
	if err != nil {
		return nil, err
	}
	if len(content) > fileLimit {
		return nil, fmt.Errorf("it has more than %d bytes", fileLimit)
	}
	return Parse(content)
}

// write replaces the file whole; only its owner can read it.
func (f File) write(content []byte) error {
	next, err := os.CreateTemp(filepath.Dir(string(f)), filepath.Base(string(f))+"-n*") // with mode 0600
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), string(f))
	}
	if err != nil {
		os.Remove(next.Name())
	}
	return err
}

// lock makes the two files by which programs that write an Xauthority file know
// that they are alone: the first one, FILE-c, and a link to it, FILE-l.
func (f File) lock(ctx context.Context) (unlock func(), err error) {
	create, link := string(f)+"-c", string(f)+"-l"
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		err := take(create, link)
		if err == nil {
			return func() {
				os.Remove(create)
				os.Remove(link)
			}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("lock: %w", err)
		}
		if info, err := os.Stat(create); err == nil && time.Since(info.ModTime()) > lockDead {
			os.Remove(create)
			os.Remove(link)
			continue
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("lock: another program holds %s: %w", link, ctx.Err())
		}
	}
}

func take(create, link string) error {
	file, err := os.OpenFile(create, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	file.Close()
	if err := os.Link(create, link); err != nil {
		os.Remove(create)
		return err
	}
	return nil
}
