package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fixedInfo begins the part of a program's resources that says its version
// (VS_FIXEDFILEINFO: its mark, and 1.0, the structure's own version).
var fixedInfo = []byte{0xbd, 0x04, 0xef, 0xfe, 0x00, 0x00, 0x01, 0x00}

// fileVersion is what a program says of itself; "" if it says nothing.
func fileVersion(content []byte) string {
	at := bytes.Index(content, fixedInfo)
	if at < 0 || len(content) < at+16 {
		return ""
	}
	high, low := binary.LittleEndian.Uint32(content[at+8:]), binary.LittleEndian.Uint32(content[at+12:])
	return fmt.Sprintf("%d.%d.%d.%d", high>>16, high&0xffff, low>>16, low&0xffff)
}

const english = "1033" // the language of such a program

// versions completes what wixl leaves out: the versions of the files in dir, in
// the table File. Without them an upgrade takes the older file, which says its
// version, for the newer one and installs nothing in its place.
func versions(table, dir string) (string, error) {
	t, err := parse(table)
	if err != nil {
		return "", err
	}
	found := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			return "", err
		}
		if version := fileVersion(content); version != "" {
			found[entry.Name()] = version
		}
	}
	const name, version, language = 2, 4, 5 // columns of File
	for i, row := range t.rows {
		fields := strings.Split(row, "\t")
		if len(fields) <= language {
			return "", fmt.Errorf("row %d is not of the table File", i+1)
		}
		_, long, isShort := strings.Cut(fields[name], "|")
		if !isShort {
			long = fields[name]
		}
		if fields[version] = found[long]; fields[version] != "" {
			fields[language] = english
		}
		t.rows[i] = strings.Join(fields, "\t")
	}
	return strings.Join(append(t.header[:], t.rows...), "\r\n") + "\r\n", nil
}
