package main

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1" //nolint:gosec // the format's checksum; it guards against damage, not against forgery
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"time"
)

const (
	xarMagic      = "xar!"
	xarHeaderSize = 28
	xarSHA1       = 1
)

// xarFile is a file or directory of the archive.
type xarFile struct {
	Name     string
	Data     []byte
	Packed   bool // is compressed already, and stored as it is
	Children []xarFile
	dir      bool
}

// The table of contents, as far as an installer package needs it.
type (
	xarTOC struct {
		XMLName  xml.Name `xml:"xar"`
		Checksum struct {
			Style  string `xml:"style,attr"`
			Offset int    `xml:"offset"`
			Size   int    `xml:"size"`
		} `xml:"toc>checksum"`
		Created string    `xml:"toc>creation-time"`
		Files   []xarItem `xml:"toc>file"`
	}
	xarItem struct {
		ID    int       `xml:"id,attr"`
		Name  string    `xml:"name"`
		Type  string    `xml:"type"`
		Mode  string    `xml:"mode"`
		UID   int       `xml:"uid"`
		GID   int       `xml:"gid"`
		Data  *xarData  `xml:"data"`
		Files []xarItem `xml:"file"`
	}
	xarData struct {
		Archived  xarSum `xml:"archived-checksum"`
		Extracted xarSum `xml:"extracted-checksum"`
		Encoding  struct {
			Style string `xml:"style,attr"`
		} `xml:"encoding"`
		Size   int `xml:"size"`
		Offset int `xml:"offset"`
		Length int `xml:"length"`
	}
	xarSum struct {
		Style string `xml:"style,attr"`
		Text  string `xml:",chardata"`
	}
)

func sumOf(data []byte) xarSum {
	sum := sha1.Sum(data) //nolint:gosec // as above
	return xarSum{"sha1", hex.EncodeToString(sum[:])}
}

// xarWriter fills the heap, whose first 20 bytes are the table's checksum.
type xarWriter struct {
	heap bytes.Buffer
	next int
}

// xar writes the archive with its files in their order.
func xar(files []xarFile, at time.Time) ([]byte, error) {
	w := &xarWriter{}
	var toc xarTOC
	toc.Checksum.Style, toc.Checksum.Size = "sha1", sha1.Size
	toc.Created = at.UTC().Format("2006-01-02T15:04:05")
	for _, file := range files {
		item, err := w.item(file)
		if err != nil {
			return nil, err
		}
		toc.Files = append(toc.Files, item)
	}
	text, err := xml.MarshalIndent(toc, "", " ")
	if err != nil {
		return nil, fmt.Errorf("write table of contents: %w", err)
	}
	text = append([]byte(xml.Header), text...)
	packedTOC, err := deflate(text)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(packedTOC) //nolint:gosec // as above
	var out bytes.Buffer
	out.Write(packed([]byte(xarMagic), uint16(xarHeaderSize), uint16(1), uint64(len(packedTOC)), uint64(len(text)), uint32(xarSHA1)))
	out.Write(packedTOC)
	out.Write(sum[:])
	out.Write(w.heap.Bytes())
	return out.Bytes(), nil
}

func (w *xarWriter) item(file xarFile) (xarItem, error) {
	w.next++
	item := xarItem{ID: w.next, Name: file.Name, Type: "file", Mode: "0644"}
	if file.dir {
		item.Type, item.Mode = "directory", "0755"
		for _, child := range file.Children {
			below, err := w.item(child)
			if err != nil {
				return xarItem{}, err
			}
			item.Files = append(item.Files, below)
		}
		return item, nil
	}
	stored, style := file.Data, "application/octet-stream"
	if !file.Packed {
		var err error
		if stored, err = deflate(file.Data); err != nil {
			return xarItem{}, err
		}
		style = "application/x-gzip" // which means zlib here
	}
	item.Data = &xarData{
		Archived: sumOf(stored), Extracted: sumOf(file.Data),
		Size: len(file.Data), Length: len(stored), Offset: sha1.Size + w.heap.Len(),
	}
	item.Data.Encoding.Style = style
	w.heap.Write(stored)
	return item, nil
}

func deflate(data []byte) ([]byte, error) {
	var out bytes.Buffer
	writer := zlib.NewWriter(&out)
	if _, err := writer.Write(data); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return out.Bytes(), nil
}
