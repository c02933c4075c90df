package platform

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/causewayhq/causeway/netcfg"
)

// The kinds of change in the journal that concern resolver files. Neither has
// an epoch: files outlive a reboot.
const (
	kindResolver    = "resolver"
	kindResolverDir = "resolver-dir"
)

const (
	// resolverDirMode and resolverFileMode: every process resolves, whatever
	// the umask of the service is.
	resolverDirMode  = 0o755
	resolverFileMode = 0o644
	// maxResolverFile bounds what is read of a file, in bytes.
	maxResolverFile = 64 << 10
	// tempFile is one fixed name, so that crashes do not add up. Nobody else
	// has a reason to use it: the name is its mark.
	tempFile = ".causeway-tmp"
)

// resolverDir is the directory of resolver(5), /etc/resolver.
type resolverDir struct {
	path    string
	journal *netcfg.Journal
	log     *slog.Logger
	// step is called before each operation on the directory, for tests: a
	// crash may come there.
	step func(operation string)
}

// resolverResult is what apply found and did.
type resolverResult struct {
	changed bool
	foreign []string // paths of files that are in the way
}

// apply makes the directory hold a file for each suffix and none else of ours.
// If a file cannot be written nothing is deleted.
func (d *resolverDir) apply(suffixes []string, servers []netip.Addr) (resolverResult, error) {
	var result resolverResult
	var errs []error
	wanted := make([]string, 0, len(suffixes))
	for _, suffix := range suffixes {
		if err := checkFileName(suffix); err != nil {
			errs = append(errs, err)
			continue
		}
		wanted = append(wanted, suffix)
	}
	root, err := d.open(len(wanted) > 0)
	if err != nil || root == nil {
		return result, errors.Join(append(errs, err)...)
	}
	defer root.Close()
	have, err := d.list(root)
	if err != nil {
		return result, errors.Join(append(errs, err)...)
	}
	content := encodeResolver(servers)
	plan := planResolver(have, wanted, content)
	for _, name := range plan.foreign {
		result.foreign = append(result.foreign, filepath.Join(d.path, name))
	}
	result.changed = len(plan.write)+len(plan.remove) > 0
	for _, name := range plan.write {
		errs = append(errs, d.write(root, name, content, known(have, name)))
	}
	if err := errors.Join(errs...); err != nil {
		return result, err
	}
	for _, name := range plan.remove {
		errs = append(errs, d.remove(root, name))
	}
	errs = append(errs, d.forget(root, wanted))
	return result, errors.Join(errs...)
}

func known(have []resolverFile, name string) bool {
	return slices.ContainsFunc(have, func(f resolverFile) bool { return strings.EqualFold(f.name, name) })
}

// open opens the directory, and makes it if that is wanted; nil means that there
// is none and need not be. Nothing in it is reached but through the root, so no
// link in it leads elsewhere.
func (d *resolverDir) open(create bool) (*os.Root, error) {
	root, err := os.OpenRoot(d.path)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return nil, fmt.Errorf("open directory of resolver files: %w", err)
		}
		return root, nil
	}
	if !create {
		return nil, d.journal.Done(d.entries()...)
	}
	if err := d.journal.Record(netcfg.Change{Kind: kindResolverDir, Value: d.path}); err != nil {
		return nil, err
	}
	d.at("mkdir")
	if err := os.Mkdir(d.path, resolverDirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make directory of resolver files: %w", err)
	}
	d.at("chmod directory")
	if err := os.Chmod(d.path, resolverDirMode); err != nil {
		return nil, fmt.Errorf("open directory of resolver files to all: %w", err)
	}
	root, err = os.OpenRoot(d.path)
	if err != nil {
		return nil, fmt.Errorf("open directory of resolver files: %w", err)
	}
	return root, nil
}

// list reads the directory, and takes away the temporary file of a crash. What
// cannot be read, or is no file, is not ours.
func (d *resolverDir) list(root *os.Root) ([]resolverFile, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	var list []resolverFile
	for _, entry := range entries {
		if entry.Name() == tempFile {
			d.at("sweep")
			if err := root.Remove(tempFile); err != nil {
				return nil, fmt.Errorf("remove what a crash left: %w", err)
			}
			continue
		}
		f := resolverFile{name: entry.Name()}
		if entry.Type().IsRegular() {
			if content, err := read(root, f.name); err == nil && isOurs(content) {
				f.ours, f.content = true, content
			}
		}
		list = append(list, f)
	}
	return list, nil
}

func read(root *os.Root, name string) ([]byte, error) {
	file, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxResolverFile))
}

// write makes a file of ours, or replaces one, in one step. A new one is linked
// into place, which fails if somebody made one of that name meanwhile.
func (d *resolverDir) write(root *os.Root, name string, content []byte, replace bool) error {
	if err := d.journal.Record(d.change(name)); err != nil {
		return err
	}
	err := d.fill(root, content)
	if err == nil && replace {
		d.at("rename " + name)
		if err = replaceOurs(root, name); err != nil {
			err = errors.Join(err, root.Remove(tempFile))
		}
	} else if err == nil {
		d.at("link " + name)
		err = root.Link(tempFile, name)
		d.at("unlink temporary")
		err = errors.Join(err, root.Remove(tempFile))
	}
	if err == nil {
		err = syncDir(root)
	}
	if err != nil {
		return fmt.Errorf("write resolver file %s: %w", filepath.Join(d.path, name), err)
	}
	d.log.Info("resolver file written", slog.String("path", filepath.Join(d.path, name)))
	return nil
}

// errForeign: what was ours when the directory was listed is somebody else's now.
var errForeign = errors.New("another program has replaced it meanwhile")

// replaceOurs puts the temporary file in the place of one of ours, after looking
// once more that it is.
func replaceOurs(root *os.Root, name string) error {
	switch content, err := read(root, name); {
	case err == nil && !isOurs(content):
		return errForeign
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return root.Rename(tempFile, name)
}

// fill makes the temporary file; none is left after a failure.
func (d *resolverDir) fill(root *os.Root, content []byte) error {
	d.at("create")
	file, err := root.OpenFile(tempFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, resolverFileMode)
	if err != nil {
		return err
	}
	d.at("fill")
	_, err = file.Write(content)
	d.at("chmod")
	err = errors.Join(err, file.Chmod(resolverFileMode), file.Sync(), file.Close())
	if err != nil {
		err = errors.Join(err, root.Remove(tempFile))
	}
	return err
}

// remove takes a file of ours away, after looking once more that it is.
func (d *resolverDir) remove(root *os.Root, name string) error {
	content, err := read(root, name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !isOurs(content) {
		return nil
	}
	if err == nil {
		d.at("remove " + name)
		err = root.Remove(name)
	}
	if err != nil {
		return fmt.Errorf("remove resolver file %s: %w", filepath.Join(d.path, name), err)
	}
	d.log.Info("resolver file removed", slog.String("path", filepath.Join(d.path, name)))
	return nil
}

// forget strikes out of the journal what is not there any more, and takes away
// the directory if we made it and nobody uses it.
func (d *resolverDir) forget(root *os.Root, wanted []string) error {
	var gone []netcfg.Change
	for _, c := range d.entries() {
		if c.Kind == kindResolver && !slices.ContainsFunc(wanted, func(s string) bool { return c == d.change(s) }) {
			if content, err := read(root, filepath.Base(c.Value)); err != nil || !isOurs(content) {
				gone = append(gone, c)
			}
		}
	}
	err := syncDir(root)
	made := netcfg.Change{Kind: kindResolverDir, Value: d.path}
	if len(wanted) == 0 && slices.Contains(d.journal.Entries(), made) {
		d.at("rmdir")
		// It fails if others put files there; then it is theirs.
		_ = os.Remove(d.path)
		gone = append(gone, made)
	}
	d.at("strike out")
	return errors.Join(err, d.journal.Done(gone...))
}

// entries are those of the journal that concern this directory.
func (d *resolverDir) entries() []netcfg.Change {
	return slices.DeleteFunc(d.journal.Entries(), func(c netcfg.Change) bool {
		return c.Kind != kindResolver && c.Kind != kindResolverDir
	})
}

func (d *resolverDir) change(name string) netcfg.Change {
	return netcfg.Change{Kind: kindResolver, Value: filepath.Join(d.path, name)}
}

func (d *resolverDir) at(operation string) {
	if d.step != nil {
		d.step(operation)
	}
}

// syncDir makes renames and removals in the directory survive a power cut.
func syncDir(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
