package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"time"
)

// The octal fields of a portable cpio header hold so much (cpio(5), "odc").
const (
	cpioMagic   = "070707"
	cpioTrailer = "TRAILER!!!"
	cpioBlock   = 512
	maxSixOctal = 0o777777
	maxEleven   = 0o77777777777
)

// archive is the payload or the scripts of a package: portable cpio in gzip.
// Inode numbers count up, as those of a file system do not fit their field.
func archive(entries []entry, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	children := map[string]int{}
	for _, e := range entries {
		if e.dir() && e.Path != "." {
			children[e.parent()]++
		}
	}
	for number, e := range entries {
		links := 1
		if e.dir() {
			links = 2 + children[e.Path]
		}
		if err := cpioHeader(&out, e.Path, number+1, e.Mode, links, at.Unix(), len(e.Data)); err != nil {
			return nil, err
		}
		out.Write(e.Data)
	}
	if err := cpioHeader(&out, cpioTrailer, 0, 0, 1, 0, 0); err != nil {
		return nil, err
	}
	out.Write(make([]byte, (cpioBlock-out.Len()%cpioBlock)%cpioBlock))

	var zipped bytes.Buffer
	// No name and no time in its header: the same bytes each time.
	writer := gzip.NewWriter(&zipped)
	if _, err := writer.Write(out.Bytes()); err != nil {
		return nil, fmt.Errorf("compress archive: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("compress archive: %w", err)
	}
	return zipped.Bytes(), nil
}

func cpioHeader(out *bytes.Buffer, name string, inode int, mode uint32, links int, mtime int64, size int) error {
	if inode > maxSixOctal || links > maxSixOctal || size > maxEleven || mtime > maxEleven {
		return fmt.Errorf("archive %s: too large for a portable cpio", name)
	}
	const device, owner, group, special = 0, 0, 0, 0
	fmt.Fprintf(out, "%s%06o%06o%06o%06o%06o%06o%06o%011o%06o%011o%s\x00",
		cpioMagic, device, inode, mode, owner, group, links, special, mtime, len(name)+1, size, name)
	return nil
}
