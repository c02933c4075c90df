package sshd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Packets of SFTP that make, close and name handles
// (draft-ietf-secsh-filexfer-02).
const (
	sftpOpen, sftpClose, sftpOpendir = 3, 4, 11
	sftpStatus, sftpHandle           = 101, 102
	// sftpFailure is the only status that the text of a limit goes with.
	sftpFailure = 4
	// handleLength is above any handle of pkg/sftp, which counts them.
	handleLength = 64
	// maxSFTPWaiting are the requests without an answer. pkg/sftp takes some 30
	// before it waits; those that are refused here do not reach it.
	maxSFTPWaiting = 128
)

var errAnswersEnd = errors.New("the client takes no more answers")

// handles bounds what an SFTP session has open: pkg/sftp does not, and runs
// inside the agent, whose descriptors are everybody's. pkg/sftp answers each
// request once, in their order, which is what the count relies on.
type handles struct {
	to io.Writer
	// places holds one token for each request without an answer; broken is closed
	// when no answer can be sent any more.
	places chan struct{}
	broken chan struct{}

	mu      sync.Mutex
	waiting []sftpRequest
	opening int // of those that wait
	open    map[string]struct{}

	answer packetHead // of Write alone
}

// sftpRequest is one without an answer.
type sftpRequest struct {
	kind byte
	// handle is the one that a request closes.
	handle string
	// refusal is the answer of a request that pkg/sftp does not see.
	refusal []byte
}

func newHandles(to io.Writer) *handles {
	return &handles{
		to: to, places: make(chan struct{}, maxSFTPWaiting), broken: make(chan struct{}), open: map[string]struct{}{},
	}
}

// take notes a request and says whether pkg/sftp is to have it. The body is
// there where the kind has to do with handles. One goroutine calls it.
func (h *handles) take(kind byte, body []byte) (pass bool, err error) {
	select {
	case h.places <- struct{}{}:
	case <-h.broken:
		return false, errAnswersEnd
	}
	request := sftpRequest{kind: kind}
	h.mu.Lock()
	switch {
	case kind == sftpClose:
		request.handle = closedHandle(body)
	case kind != sftpOpen && kind != sftpOpendir:
	case len(body) >= 4 && len(h.open)+h.opening >= maxHandles:
		request.refusal = handleRefusal(body[:4])
	default:
		h.opening++
	}
	h.waiting = append(h.waiting, request)
	first := len(h.waiting) == 1
	h.mu.Unlock()
	if request.refusal != nil && first {
		// Nothing else is to be answered, so nobody else writes.
		return false, h.refuse(request.refusal)
	}
	return request.refusal == nil, nil
}

// closedHandle is the one that the body of a request names as pkg/sftp reads it: by
// its length, whatever follows.
func closedHandle(body []byte) string {
	if len(body) < 8 {
		return ""
	}
	rest, length := body[8:], binary.BigEndian.Uint32(body[4:8])
	if uint64(length) > uint64(min(len(rest), handleLength)) {
		return ""
	}
	return string(rest[:length])
}

func handleRefusal(id []byte) []byte {
	text := fmt.Sprintf("this session has %d files and directories open, and no more are allowed; close some", maxHandles)
	packet := append([]byte{sftpStatus}, id...)
	packet = binary.BigEndian.AppendUint32(packet, sftpFailure)
	packet = append(binary.BigEndian.AppendUint32(packet, uint32(len(text))), text...)
	packet = binary.BigEndian.AppendUint32(packet, 0) // no language
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(packet))), packet...)
}

// Write passes on what pkg/sftp answers. One goroutine at a time calls it.
func (h *handles) Write(data []byte) (int, error) {
	written := 0
	for len(data) > 0 {
		count, whole := h.answer.read(data)
		if whole {
			h.settle(h.answer.end())
		}
		done, err := h.to.Write(data[:count])
		written += done
		if err != nil {
			h.fail()
			return written, err
		}
		data = data[count:]
		if whole {
			if err := h.answered(); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

// settle counts what the answer of the oldest request says. It does so before the
// client has the answer, and with it reason to open another.
func (h *handles) settle(kind byte, handle string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) == 0 { // pkg/sftp does not speak unasked
		return
	}
	switch request := h.waiting[0]; request.kind {
	case sftpClose:
		delete(h.open, request.handle)
	case sftpOpen, sftpOpendir:
		h.opening--
		if kind == sftpHandle {
			h.open[handle] = struct{}{}
		}
	}
}

// answered forgets the oldest request, whose answer has been sent, and gives those
// that follow it theirs, as far as they are refused. As none is forgotten before,
// only one goroutine sends at a time.
func (h *handles) answered() error {
	h.mu.Lock()
	if len(h.waiting) == 0 {
		h.mu.Unlock()
		return nil
	}
	refusal := h.forget()
	h.mu.Unlock()
	return h.refuse(refusal)
}

// refuse sends the answer of the oldest request, which is refused, and those of
// all that follow it and are refused too.
func (h *handles) refuse(refusal []byte) error {
	for refusal != nil {
		if _, err := h.to.Write(refusal); err != nil {
			h.fail()
			return err
		}
		h.mu.Lock()
		refusal = h.forget()
		h.mu.Unlock()
	}
	return nil
}

// forget takes the oldest request off, and gives the refusal of the one that is the
// oldest now. The caller holds mu.
func (h *handles) forget() (refusal []byte) {
	h.waiting = h.waiting[1:]
	<-h.places
	if len(h.waiting) == 0 {
		h.waiting = nil
		return nil
	}
	return h.waiting[0].refusal
}

// fail lets nobody wait for an answer that will not be sent.
func (h *handles) fail() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.broken:
	default:
		close(h.broken)
	}
}

// packetHead follows a stream of packets, and keeps the begin of each.
type packetHead struct {
	head []byte
	left int // bytes of the packet that are to come, once its length is known
}

// read takes what belongs to the packet, and says whether that is its end.
func (p *packetHead) read(data []byte) (count int, whole bool) {
	if missing := 4 - len(p.head); missing > 0 {
		count = min(missing, len(data))
		p.head = append(p.head, data[:count]...)
		if len(p.head) < 4 {
			return count, false
		}
		p.left = int(binary.BigEndian.Uint32(p.head))
	}
	body := data[count:min(len(data), count+p.left)]
	p.left -= len(body)
	// Length, kind, id, length of the handle, handle.
	p.head = append(p.head, body[:min(len(body), max(0, 13+handleLength-len(p.head)))]...)
	return count + len(body), p.left == 0
}

// end is the packet's kind and its handle, where it has one; another begins.
func (p *packetHead) end() (kind byte, handle string) {
	if len(p.head) > 4 {
		kind = p.head[4]
	}
	if kind == sftpHandle && len(p.head) > 13 {
		handle = string(p.head[13:])
	}
	p.head = p.head[:0]
	return kind, handle
}
