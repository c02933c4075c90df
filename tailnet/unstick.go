package tailnet

import "time"

// stuckAfter is how long WireGuard may take to stop peers: microseconds for
// each, unless it waits for ever.
const stuckAfter = 250 * time.Millisecond

// maxPacket is what a packet of the device can have at most.
const maxPacket = 1 << 16

// stopPeers runs what may make WireGuard stop a peer. WireGuard waits, with its
// peers locked, until the peer's receiver has done with its last packets. If a
// TSMP ping is among them, the receiver waits until the reader of the device
// takes the answer (InjectOutbound blocks, whatever upstream v1.102.5 says), and
// the reader may be waiting for that lock, or for the lifecycle's. A peer that
// pings without end and then leaves would stop the data plane for good. So after
// a while somebody else reads, and what is read then is lost.
func (e *Engine) stopPeers(stop func()) {
	done := make(chan struct{})
	timer := time.AfterFunc(stuckAfter, func() { e.drain(done) })
	stop()
	timer.Stop()
	close(done)
}

// drain reads and forgets packets until done is closed, or the device is.
func (e *Engine) drain(done <-chan struct{}) {
	e.logger.Warn("data plane was stuck, packets are dropped until it no longer is")
	device, ended := e.system.Tun.Get(), make(chan struct{})
	go func() {
		<-done
		for {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
				// The reader may wait for a packet that never comes: one for nobody.
				_ = device.InjectOutbound([]byte{6 << 4, 6: 59, 39: 0})
			}
		}
	}()
	defer close(ended)
	packets, sizes := make([][]byte, device.BatchSize()), make([]int, device.BatchSize())
	for i := range packets {
		packets[i] = make([]byte, maxPacket)
	}
	for {
		if _, err := device.Read(packets, sizes, 0); err != nil {
			return
		}
		select {
		case <-done:
			return
		default:
		}
	}
}
