package crashmatrix

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// lostJournals takes the journal away while systemd keeps the TUN device: once
// the next daemon adopts the device, once the cleanup verb finds it.
func (b *bench) lostJournals(ctx context.Context, t *testing.T) []*outcome {
	t.Helper()
	p := phase{name: "journal lost"}
	adopted := &outcome{cell: cell{phase: p, step: "the device adopted"}, began: time.Now()}
	if err := b.adoptWithoutJournal(ctx); err != nil {
		adopted.fault("%v\n%s", err, b.unitLog(ctx))
	}
	b.stopAndCompare(ctx, adopted)
	adopted.ended = time.Now()
	cleaned := &outcome{cell: cell{phase: p, step: "the device found by cleanup"}, began: adopted.ended}
	if err := b.cleanWithoutJournal(ctx, cleaned); err != nil {
		cleaned.fault("%v\n%s", err, b.unitLog(ctx))
	}
	b.stopAndCompare(ctx, cleaned)
	cleaned.ended = time.Now()
	for _, o := range []*outcome{adopted, cleaned} {
		t.Logf("%5.1f s, %d faults: %s %s", o.ended.Sub(o.began).Seconds(), len(o.faults), o.cell, strings.Join(o.faults, "\n"))
	}
	return []*outcome{adopted, cleaned}
}

// dieWithoutJournal has the daemon die with the journal gone; systemd waits
// that long before it starts the next one.
func (b *bench) dieWithoutJournal(ctx context.Context, pause string) error {
	if err := b.toPhase(ctx, cell{phase: phase{running: true}}); err != nil {
		return err
	}
	_, err := b.system.Run(ctx, "sh", "-ec", `mkdir -p /run/systemd/system/`+unit+`.d
printf '[Service]\nRestartSec=`+pause+`\nRestartSteps=0\n' > /run/systemd/system/`+unit+`.d/pause.conf; systemctl daemon-reload
rm `+journalPath+`; systemctl kill -s KILL --kill-whom=main `+unit)
	return err
}

func (b *bench) adoptWithoutJournal(ctx context.Context) error {
	index, err := b.deviceIndex(ctx)
	if err == nil {
		return fmt.Errorf("device %s is there before the start", index)
	}
	if err := b.dieWithoutJournal(ctx, "3s"); err != nil {
		return err
	}
	if err := b.unitState(ctx, "auto-restart"); err != nil {
		return err
	}
	kept, err := b.deviceIndex(ctx)
	if err != nil {
		return err
	}
	if err := b.unitWorks(ctx); err != nil {
		return err
	}
	index, err = b.deviceIndex(ctx)
	if err == nil && index != kept {
		err = fmt.Errorf("device %s was kept, and the next daemon has %s", kept, index)
	}
	return err
}

// cleanWithoutJournal looks after the cleanup verb alone: the bare device is
// systemd's until the stop, all else is gone.
func (b *bench) cleanWithoutJournal(ctx context.Context, o *outcome) error {
	if err := b.dieWithoutJournal(ctx, "1h"); err != nil {
		return err
	}
	if err := b.unitState(ctx, "auto-restart"); err != nil {
		return err
	}
	if _, err := b.deviceIndex(ctx); err != nil {
		return err
	}
	if err := b.cleanup(ctx); err != nil {
		return err
	}
	after, err := b.snapshot(ctx)
	if err != nil {
		return err
	}
	for _, difference := range compare(b.before, after) {
		if !ofDevice(difference) {
			o.fault("cleanup with the device kept: %s", difference)
		}
	}
	_, err = b.system.Run(ctx, "sh", "-ec", "rm -r /run/systemd/system/"+unit+".d; systemctl daemon-reload")
	return err
}

// deviceIndex is that of our interface.
func (b *bench) deviceIndex(ctx context.Context) (string, error) {
	output, err := b.system.Run(ctx, "cat", "/sys/class/net/causeway0/ifindex")
	return strings.TrimSpace(output), err
}
