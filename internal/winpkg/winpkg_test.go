package main

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayhq/causeway/tun"
)

// TestNumbersSort: what follows is newer to Windows Installer, which compares
// three fields as numbers.
func TestNumbersSort(t *testing.T) {
	var before [3]int
	for _, test := range []struct{ number, want string }{
		{"0.0.0~git7.0123abc", "0.0.7"},
		{"0.0.0~git100000.0123abc.dirty", "0.0.999"},
		{"0.0.1~alpha", "0.0.1000"},
		{"1.2.3~alpha.1", "1.2.3001"},
		{"1.2.3~beta2", "1.2.3102"},
		{"1.2.3~rc.1", "1.2.3201"},
		{"1.2.3~rc.10", "1.2.3210"},
		{"1.2.3", "1.2.3500"},
		{"1.2.3+4.0123abc.dirty", "1.2.3504"},
		{"1.2.3+100000.0123abc", "1.2.3999"},
		{"1.2.4~alpha.1", "1.2.4001"},
		{"1.2.10", "1.2.10500"},
		{"255.255.64+9999.0", "255.255.64999"},
	} {
		got, err := number(test.number)
		if err != nil || got != test.want {
			t.Errorf("%s: %s, %v, want %s", test.number, got, err, test.want)
			continue
		}
		now := fields(t, got)
		if now[2] > 65535 || !less(before, now) {
			t.Errorf("%s is %v, which is not after %v", test.number, now, before)
		}
		before = now
	}
	for _, same := range [][2]string{{"1.2.3~rc.1+5.abc", "1.2.3~rc.1"}, {"1.2.3+dirty", "1.2.3"}} {
		first, err := number(same[0])
		second, other := number(same[1])
		if err != nil || other != nil || first != second {
			t.Errorf("%q are %s and %s, %v, %v", same, first, second, err, other)
		}
	}
	for _, wrong := range []string{"", "1.2", "1.2.3~preview.1", "1.2.3~rc.100", "256.0.0", "1.256.0", "1.2.65", "v1.2.3", "1.2.3-rc.1"} {
		if got, err := number(wrong); err == nil {
			t.Errorf("%q is %s", wrong, got)
		}
	}
}

func fields(t *testing.T, version string) (values [3]int) {
	t.Helper()
	for i, field := range strings.Split(version, ".") {
		for _, digit := range field {
			values[i] = values[i]*10 + int(digit-'0')
		}
	}
	return values
}

func less(a, b [3]int) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

func TestIdentifier(t *testing.T) {
	// Version 5, variant 1: by the name alone, so it may not change with the code.
	if got, want := identifier("causeway 1.2.3 amd64"), identifier("causeway 1.2.3 amd64"); got != want || len(got) != 38 || got[15] != '5' || got != strings.ToUpper(got) {
		t.Errorf("%s and %s", got, want)
	}
	if identifier("causeway 1.2.3 amd64") == identifier("causeway 1.2.3 arm64") {
		t.Error("two names have one identifier")
	}
}

const table = "A\tB\tC\r\ns1\ti2\tS3\r\nT\tA\tB\r\nx\t1\told\r\ny\t2\tkept\r\n"

func TestOverlay(t *testing.T) {
	for name, test := range map[string]struct{ table, rows, want string }{
		"replaces and adds": {table, "A\tB\tC\ns1\ti2\tS3\nT\tA\tB\nx\t1\tnew\nx\t2\tother key\n", "A\tB\tC\r\ns1\ti2\tS3\r\nT\tA\tB\r\nx\t1\tnew\r\nx\t2\tother key\r\ny\t2\tkept\r\n"},
		"no table":          {"", "A\tB\tC\ns1\ti2\tS3\nT\tA\nb\t\t\na\t\t\n", "A\tB\tC\r\ns1\ti2\tS3\r\nT\tA\r\na\t\t\r\nb\t\t\r\n"},
	} {
		if got, err := overlay(test.table, test.rows); err != nil || got != test.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, rows := range map[string]string{
		"another table": "A\tB\tC\ns1\ti2\tS3\nU\tA\tB\n", "other columns": "A\tB\ns1\ti2\nT\tA\tB\n", "short row": "A\tB\tC\ns1\ti2\tS3\nT\tA\tB\nx\t1\n",
		"no heading": "A\tB\tC\n", "unknown key": "A\tB\tC\ns1\ti2\tS3\nT\tD\n",
	} {
		if got, err := overlay(table, rows); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestVersions: a program that says its version gets it into the table, and a
// file that does not keeps none.
func TestVersions(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "causeway.exe"), string(append(append([]byte("MZ..."), fixedInfo...), 2, 0, 1, 0, 0, 0, 0xd4, 0x0d)))
	write(t, filepath.Join(dir, "LICENSE.txt"), "words")
	const heading = "File\tComponent_\tFileName\tFileSize\tVersion\tLanguage\tAttributes\tSequence\r\ns72\ts72\tl255\ti4\tS72\tS20\tI2\ti4\r\nFile\tFile\r\n"
	got, err := versions(heading+"a\tC\tCAUSEW~1.EXE|causeway.exe\t9\t\t\t512\t1\r\nb\tC\tLICENSE.txt\t9\t\t\t512\t2\r\n", dir)
	want := heading + "a\tC\tCAUSEW~1.EXE|causeway.exe\t9\t1.2.3540.0\t1033\t512\t1\r\nb\tC\tLICENSE.txt\t9\t\t\t512\t2\r\n"
	if err != nil || got != want {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := versions(table, dir); err == nil {
		t.Error("another table was taken for that of the files")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestLibrary: there is a sum for each architecture that we have packages for,
// and another file is refused.
func TestLibrary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wintun.dll")
	write(t, path, "not the driver's library")
	for _, arch := range []string{"amd64", "arm64"} {
		if err := checkLibrary(arch, path); err == nil || tun.WintunSum(arch) == "" || !strings.Contains(err.Error(), tun.WintunSum(arch)) {
			t.Errorf("%s: %v", arch, err)
		}
	}
	if err := checkLibrary("amd64", path+".missing"); err == nil {
		t.Error("no file is as good as the right one")
	}
}

func TestArchive(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1793491200")
	dir := filepath.Join(t.TempDir(), "causeway-agent-1.2.3")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "b.exe"), strings.Repeat("program", 1000))
	write(t, filepath.Join(dir, "a.txt"), "words")
	var made [2][]byte
	for i := range made {
		out := filepath.Join(t.TempDir(), "out.zip")
		if err := run([]string{"zip", out, dir}, nil, nil); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = content
	}
	read, err := zip.NewReader(bytes.NewReader(made[0]), int64(len(made[0])))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made[0], made[1]) || len(read.File) != 2 || read.File[1].Name != "causeway-agent-1.2.3/b.exe" || read.File[0].Modified.Unix() != 1793491200 {
		t.Errorf("%d files, of %v", len(read.File), read.File[0].Modified)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{nil, {"number"}, {"uuid", "a", "b"}, {"pack"}} {
		if err := run(args, nil, nil); err == nil {
			t.Errorf("%q was taken", args)
		}
	}
}
