package platform

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// nestVar tells a child of this test binary what it is: "nest" for the tests
// themselves inside private namespaces, another word for a role of a test.
const nestVar = "CAUSEWAY_PLATFORM_TEST"

// TestMain runs the whole binary again in a network and a mount namespace of
// its own, with a private copy of /etc: the tests change real interfaces,
// routes and files, and the machine must not notice. Without root they run
// where they are, and those that need more skip.
func TestMain(m *testing.M) {
	flag.Parse()
	// Fuzz targets are pure, and their workers talk over inherited descriptors.
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run())
	}
	switch role := os.Getenv(nestVar); {
	case role == "" && os.Geteuid() == 0:
		os.Exit(nest())
	case role == "nest":
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "prepare namespaces:", err)
			os.Exit(1)
		}
	case role != "":
		os.Exit(play(role))
	}
	goleak.VerifyTestMain(m)
}

func nest() int {
	scratch, err := os.MkdirTemp("", "causeway-platform-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	command := exec.Command("/proc/self/exe", os.Args[1:]...)
	command.Env = append(os.Environ(), nestVar+"=nest", "CAUSEWAY_PLATFORM_SCRATCH="+scratch)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL,
	}
	if err := command.Run(); command.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "start tests in namespaces:", err)
		return 1
	}
	return command.ProcessState.ExitCode()
}

// furnish lays a private, writable layer over /etc and brings loopback up.
func furnish() error {
	scratch := os.Getenv("CAUSEWAY_PLATFORM_SCRATCH")
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", scratch, "tmpfs", 0, ""); err != nil {
		return err
	}
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir=/etc,upperdir="+upper+",workdir="+work); err != nil {
		return fmt.Errorf("lay over /etc: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// needNest skips a test that changes the host where it has no host of its own.
func needNest(t *testing.T) {
	t.Helper()
	if os.Getenv(nestVar) != "nest" {
		t.Skip("needs root, to make network and mount namespaces")
	}
}
