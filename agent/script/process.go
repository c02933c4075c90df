package script

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is a running script.
type process struct {
	cmd     *exec.Cmd
	tree    tree
	pipes   [2]*os.File
	exited  chan struct{} // closed when it has ended
	drained chan struct{} // closed when nobody holds its output any more
}

// start runs cmd as the first of its own tree of processes. The outputs are
// closed when their streams end.
func start(cmd *exec.Cmd, outputs [2]io.WriteCloser) (*process, error) {
	p := &process{cmd: cmd, exited: make(chan struct{}), drained: make(chan struct{})}
	theirs, err := p.openPipes()
	if err == nil {
		p.tree, err = startTree(cmd)
	}
	for _, file := range theirs {
		file.Close()
	}
	if err != nil {
		p.closePipes()
		for _, output := range outputs {
			output.Close()
		}
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	var pumps sync.WaitGroup
	for i, output := range outputs {
		pumps.Go(func() { pump(output, p.pipes[i]) })
	}
	go func() {
		pumps.Wait()
		close(p.drained)
	}()
	go func() {
		_ = cmd.Wait() // its state says the same, and more
		close(p.exited)
	}()
	return p, nil
}

// openPipes gives the command its ends, and returns them.
func (p *process) openPipes() ([]*os.File, error) {
	var theirs []*os.File
	for i := range p.pipes {
		read, write, err := os.Pipe()
		if err != nil {
			return theirs, fmt.Errorf("make pipe: %w", err)
		}
		p.pipes[i] = read
		theirs = append(theirs, write)
	}
	p.cmd.Stdout, p.cmd.Stderr = theirs[0], theirs[1]
	return theirs, nil
}

// pump never makes the script wait: its output takes all at once.
func pump(output io.WriteCloser, pipe *os.File) {
	buffer := make([]byte, 32<<10)
	for {
		count, err := pipe.Read(buffer)
		_, _ = output.Write(buffer[:count])
		if err != nil {
			break
		}
	}
	pipe.Close()
	output.Close()
}

func (p *process) closePipes() {
	for _, pipe := range p.pipes {
		if pipe != nil {
			pipe.Close()
		}
	}
}

// end asks the whole tree to end, makes it, and waits for the script's end. Who
// of the tree still holds the output after that ends it too. What runs as another
// user, by sudo for one, cannot be made to: it is not waited for.
func (p *process) end() {
	p.tree.terminate()
	timer := time.NewTimer(killGrace)
	defer timer.Stop()
	for exited, drained := p.exited, p.drained; exited != nil || drained != nil; {
		select {
		case <-exited:
			exited = nil
		case <-drained:
			drained = nil
		case <-timer.C:
			exited, drained = nil, nil
		}
	}
	p.tree.kill()
	_ = p.cmd.Process.Kill() // it may have left the tree
	timer.Reset(killGrace)
	select {
	case <-p.exited:
	case <-timer.C:
	}
}

// ended says whether the script has.
func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}
