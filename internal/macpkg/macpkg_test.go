package main

import (
	"bytes"
	"crypto/sha256"
	"debug/macho"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// stage is a tree to install: more than one leaf of paths, every kind of entry,
// names that sort differently by path and by directory.
func stage(t *testing.T) (root, scripts string) {
	t.Helper()
	root, scripts = filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "scripts")
	put(t, filepath.Join(root, "usr/local/bin/causeway"), "#!/bin/sh\necho program\n", 0o775)
	put(t, filepath.Join(root, "Library/LaunchDaemons/x.plist"), "<plist/>", 0o600)
	put(t, filepath.Join(root, "empty"), "", 0o644)
	for number := range 700 {
		put(t, filepath.Join(root, "a-b", fmt.Sprintf("f%03d", number)), strings.Repeat("x", number*7), 0o644)
	}
	put(t, filepath.Join(root, "a/z"), "1", 0o644)
	put(t, filepath.Join(scripts, "preinstall"), "#!/bin/sh\n", 0o755)
	put(t, filepath.Join(scripts, "postinstall"), "#!/bin/sh\n", 0o755)
	return root, scripts
}

func put(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

const epoch = 1793491200

func makePackage(t *testing.T, root, scripts string) string {
	t.Helper()
	t.Setenv("SOURCE_DATE_EPOCH", strconv.Itoa(epoch))
	out := filepath.Join(t.TempDir(), "p.pkg")
	err := run([]string{"pkg", "-id", "com.example.p", "-version", "1.2.3", "-title", "P & Q", "-root", root, "-scripts", scripts, "-o", out})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("needs %s: apt-get install libarchive-tools cpio", name)
	}
	return path
}

func sh(t *testing.T, dir, script string, args ...string) string {
	t.Helper()
	command := exec.Command("/bin/sh", append([]string{"-euc", script, "sh"}, args...)...)
	command.Dir = dir
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// TestOtherToolsReadIt has libarchive unpack the archive, whose checksums it
// verifies, and GNU cpio the payload, and compares every file.
func TestOtherToolsReadIt(t *testing.T) {
	tool(t, "bsdtar")
	tool(t, "cpio")
	root, scripts := stage(t)
	pkg := makePackage(t, root, scripts)
	dir := t.TempDir()
	sh(t, dir, `bsdtar -xf "$1"`, pkg)
	sh(t, dir, `mkdir payload scripts; cd payload; gzip -dc ../com.example.p.pkg/Payload | cpio -idm --quiet; cd ../scripts; gzip -dc ../com.example.p.pkg/Scripts | cpio -idm --quiet`)
	sh(t, dir, `diff -r payload "$1"; diff -r scripts "$2"`, root, scripts)
	if got := strings.Count(sh(t, dir, `find payload`), "\n"); got != 712 {
		t.Errorf("%d paths unpacked, want 712", got)
	}
	if got := sh(t, dir, `stat -c '%a %Y' payload/usr/local/bin/causeway payload/Library/LaunchDaemons/x.plist payload/empty`); got != fmt.Sprintf("755 %d\n644 %d\n644 %d\n", epoch, epoch, epoch) {
		t.Errorf("modes and times: %s", got)
	}
	info := sh(t, dir, `cat com.example.p.pkg/PackageInfo Distribution`)
	for _, want := range []string{`numberOfFiles="712"`, `version="1.2.3"`, `relocatable="false"`, `./preinstall`, `./postinstall`, "P &amp; Q", "x86_64,arm64", "#com.example.p.pkg"} {
		if !strings.Contains(info, want) {
			t.Errorf("%q is missing in %s", want, info)
		}
	}

	// One bit of the heap.
	data, err := os.ReadFile(pkg)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-5000] ^= 1
	put(t, filepath.Join(dir, "bad.pkg"), string(data), 0o644)
	if out, err := exec.Command("bsdtar", "-xOf", filepath.Join(dir, "bad.pkg")).CombinedOutput(); err == nil {
		t.Errorf("a damaged archive was unpacked: %d bytes", len(out))
	}
}

// TestBillOfMaterials compares each line with the file, whose checksum
// cksum(1) makes.
func TestBillOfMaterials(t *testing.T) {
	root, _ := stage(t)
	entries, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	data, err := billOfMaterials(entries, time.Unix(epoch, 0))
	if err != nil {
		t.Fatal(err)
	}
	reader, err := openBom(data)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := reader.list()
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 712 {
		t.Fatalf("%d lines, want 712", len(lines))
	}
	sums := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(sh(t, root, `find . -type f -exec cksum {} +`)), "\n") {
		fields := strings.Fields(line)
		sums[filepath.Clean(fields[2])] = fields[0] + " " + fields[1]
	}
	files := 0
	for _, line := range lines {
		info, err := os.Stat(filepath.Join(root, line.path))
		if err != nil {
			t.Fatal(err)
		}
		if line.owner != 0 || line.group != 0 || line.mtime != epoch {
			t.Errorf("%+v", line)
		}
		switch {
		case info.IsDir() && (line.kind != 2 || line.mode != 0o040755 || line.size != 0 || line.checksum != 0):
			t.Errorf("directory %+v", line)
		case !info.IsDir():
			files++
			if got := fmt.Sprintf("%d %d", line.checksum, line.size); got != sums[line.path] || line.kind != 1 || line.mode&^0o111 != 0o100644 {
				t.Errorf("%+v, cksum says %s", line, sums[line.path])
			}
		}
	}
	if files != 704 {
		t.Errorf("%d files compared", files)
	}
	for _, name := range []string{"BomInfo", "HLIndex", "Size64", "VIndex"} {
		if reader.roots[name] == 0 {
			t.Errorf("no %s", name)
		}
	}
	if rows, _, err := reader.tree(binary.BigEndian.Uint32(reader.block(reader.roots["VIndex"])[4:]), 128); rows != 0 || err != nil {
		t.Errorf("VIndex: %d rows, %v", rows, err)
	}
}

// TestReproducible builds twice, the second time from files with other times
// and modes, and holds the bytes of a small package for good.
func TestReproducible(t *testing.T) {
	root, scripts := stage(t)
	first, err := os.ReadFile(makePackage(t, root, scripts))
	if err != nil {
		t.Fatal(err)
	}
	sh(t, root, `find . -type f -exec touch -d 2001-01-01 {} +; chmod g+w empty; chmod 700 usr`)
	again, err := os.ReadFile(makePackage(t, root, scripts))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, again) {
		t.Error("two builds differ")
	}
	bom, err := billOfMaterials([]entry{{".", typeDir | 0o755, nil}, {"./a", typeFile | 0o644, []byte("abc")}}, time.Unix(epoch, 0))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(bom)
	const golden = "cf4760d982717023"
	if got := hex.EncodeToString(sum[:8]); got != golden {
		t.Errorf("the bill of materials of one file has the hash %s, want %s", got, golden)
	}
}

func TestRefused(t *testing.T) {
	root, scripts := stage(t)
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	good := map[string]string{"-id": "com.example.p", "-version": "1.2.3", "-title": "P", "-root": root, "-scripts": scripts, "-o": filepath.Join(t.TempDir(), "p.pkg")}
	for name, test := range map[string]struct{ flag, value, want string }{
		"id":      {"-id", "p", "identifier"},
		"version": {"-version", "1.2.3'", "version"},
		"title":   {"-title", "", "title"},
		"no root": {"-root", filepath.Join(root, "missing"), "missing"},
		"no room": {"-o", filepath.Join(root, "missing", "p.pkg"), "missing"},
		"no file": {"-root", t.TempDir(), "no files"},
	} {
		t.Run(name, func(t *testing.T) {
			line := []string{"pkg"}
			for flag, value := range good {
				if flag == test.flag {
					value = test.value
				}
				line = append(line, flag, value)
			}
			if err := run(line); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	if err := os.Symlink("a", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if _, err := readTree(root); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Errorf("a link: %v", err)
	}
	if err := os.Chmod(filepath.Join(scripts, "preinstall"), 0o644); err != nil {
		t.Fatal(err)
	}
	entries, err := readTree(scripts)
	if err != nil {
		t.Fatal(err)
	}
	if err := (product{ID: "a.b", Version: "1.0", Title: "x", Payload: make([]entry, 2), Scripts: entries}).check(); err == nil {
		t.Error("a script that cannot run was taken")
	}
	for _, text := range []string{"", "x", "-1"} {
		if _, err := sourceDate(func(string) (string, bool) { return text, text != "" }); err == nil {
			t.Errorf("SOURCE_DATE_EPOCH=%q was taken", text)
		}
	}
}

// TestFat has Go's own reader take the universal file apart.
func TestFat(t *testing.T) {
	program := func(cpu macho.Cpu, sub uint32, size int) []byte {
		// A header of 32 bytes without load commands is a Mach-O file.
		header := binary.LittleEndian.AppendUint32(nil, macho.Magic64)
		for _, field := range []uint32{uint32(cpu), sub, uint32(macho.TypeExec), 0, 0, 0, 0} {
			header = binary.LittleEndian.AppendUint32(header, field)
		}
		return append(header, bytes.Repeat([]byte{byte(sub + 1)}, size)...)
	}
	intel, apple := program(macho.CpuAmd64, 3, 50_000), program(macho.CpuArm64, 0, 70_001)
	joined, err := fat([][]byte{intel, apple})
	if err != nil {
		t.Fatal(err)
	}
	file, err := macho.NewFatFile(bytes.NewReader(joined))
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range [][]byte{intel, apple} {
		arch := file.Arches[at]
		if arch.Offset%(1<<14) != 0 || !bytes.Equal(joined[arch.Offset:arch.Offset+arch.Size], want) {
			t.Errorf("slice %d: %+v", at, arch.FatArchHeader)
		}
	}
	if _, err := fat([][]byte{intel, intel}); err == nil {
		t.Error("the same processor twice was taken")
	}
	if _, err := fat([][]byte{[]byte("#!/bin/sh")}); err == nil {
		t.Error("a script was taken")
	}
}
