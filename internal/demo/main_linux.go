package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/causewayhq/causeway/internal/rig"
	"github.com/causewayhq/causeway/internal/testnet"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP, os.Interrupt)
	defer stop()
	err := run(ctx)
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything is taken down")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("/var/tmp", "causeway-demo-") // hosts have a /tmp of their own
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	say("building the four programs (the first time takes some minutes)")
	if err := rig.Build(ctx, dir); err != nil {
		return err
	}
	say("making a small internet: a server, and behind a NAT each a desktop and an agent")
	net, err := testnet.New(ctx, testnet.EasyNAT, testnet.EasyNAT)
	if err != nil {
		return err
	}
	defer net.Close()
	stack := rig.New(net, dir, dir)
	defer func() {
		if stopErr := stack.Close(); err == nil {
			err = stopErr
		}
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, stack.Logs())
		}
	}()
	if err := walk(ctx, stack); err != nil {
		return err
	}
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		return shell(ctx, stack)
	}
	say("done; everything is taken down again")
	return nil
}

// walk goes through the main job, each command as a user would type it.
func walk(ctx context.Context, stack *rig.Stack) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	say("starting the control plane, the agent \"main\" of the workspace \"myws\", and the daemon; signing the user admin in")
	if err := stack.StartAll(ctx); err != nil {
		return err
	}
	if err := stack.Net.Client.Write(ctx, "/etc/ssh/ssh_config", sshConfig); err != nil {
		return err
	}
	for _, step := range []struct{ why, command string }{
		{"bring the tunnel up", "causeway up --wait"},
		{"the operating system's resolver knows the name", "getent ahosts " + rig.Name},
		{"first packets, by the relay until a direct path is found", "causeway ping " + rig.Name + " -c 2 --interval 100ms"},
		{"a session, with plain OpenSSH", "ssh " + rig.Name + " hostname"},
		{"through both NATs, without the relay", "causeway ping " + rig.Name + " --until-direct -c 30"},
	} {
		if err := show(ctx, stack, step.why, step.command); err != nil {
			return err
		}
	}
	if err := copyFile(ctx, stack); err != nil {
		return err
	}
	return show(ctx, stack, "what the daemon measured", "causeway status")
}

// say announces a step, in bold on a terminal.
func say(text string) {
	bold, plain := "", ""
	if term.IsTerminal(int(os.Stdout.Fd())) {
		bold, plain = "\033[1m", "\033[0m"
	}
	fmt.Printf("\n%s── %s%s\n", bold, text, plain)
}

// show runs a command on the desktop, with the output as the user sees it.
func show(ctx context.Context, stack *rig.Stack, why, command string) error {
	say(why)
	fmt.Println("$ " + command)
	cmd := desktop(ctx, stack, command)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", command, err)
	}
	return nil
}

// desktop prepares a command line with our programs on the path.
func desktop(ctx context.Context, stack *rig.Stack, command string) *exec.Cmd {
	cmd := stack.On(ctx, "bash", "-c", command)
	cmd.Env = append(os.Environ(), "HOME=/tmp", "PATH="+filepath.Dir(stack.Path("causeway"))+":"+os.Getenv("PATH"))
	return cmd
}

// sshConfig is the desktop's own /etc/ssh/ssh_config: host keys of workspaces
// are taken when first seen, and the user's known_hosts stays as it is.
const sshConfig = `Host *.coder
  User root
  StrictHostKeyChecking accept-new
  UserKnownHostsFile /tmp/known_hosts
  LogLevel ERROR
`

// copyFile copies 100 MB from the workspace and compares the checksums.
func copyFile(ctx context.Context, stack *rig.Stack) error {
	if _, err := stack.Net.Agent.Shell(ctx, "head -c 100000000 /dev/urandom > /tmp/data"); err != nil {
		return err
	}
	want, err := stack.Net.Agent.Run(ctx, "sha256sum", "/tmp/data")
	if err != nil {
		return err
	}
	began := time.Now()
	if err := show(ctx, stack, "a copy of 100 MB", "scp -q "+rig.Name+":/tmp/data /tmp/data"); err != nil {
		return err
	}
	took := time.Since(began)
	got, err := stack.Client(ctx, "sha256sum", "/tmp/data")
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("compare copy: checksum is %s, want %s", strings.TrimSpace(got), strings.TrimSpace(want))
	}
	fmt.Printf("100 MB in %.1f s: %.1f MB/s, checksum equal\n", took.Seconds(), 100/took.Seconds())
	return nil
}

// shell leaves the user on the desktop until they have seen enough.
func shell(ctx context.Context, stack *rig.Stack) error {
	say("you are on the desktop now: try `ssh " + rig.Name + "`, `causeway status`; `exit` takes everything down")
	cmd := stack.On(ctx, "bash", "--norc", "-i")
	cmd.SysProcAttr.Setpgid = false // the terminal is for this one
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "HOME=/tmp", "PS1=desktop# ", "PATH="+filepath.Dir(stack.Path("causeway"))+":"+os.Getenv("PATH"))
	_ = cmd.Run() // the exit code of the user's last command is no failure of ours
	return nil
}
